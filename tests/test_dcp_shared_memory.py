"""Loading into tensors that share memory: tied weights and views, which no two readers may fill at once."""

from __future__ import annotations

import pytest
import torch

from dcp_states import file_system, load, save
from osstorchconnector.dcp import fetching


@pytest.fixture
def fs(site):
    return file_system(site)


@pytest.fixture(params=[fetching._BATCH_BYTES, 1], ids=["one-batch", "many-batches"])
def _batches(request, monkeypatch):
    monkeypatch.setattr(fetching, "_BATCH_BYTES", request.param)


@pytest.mark.usefixtures("_batches")
def test_tied_weights_are_loaded(fs):
    stored = torch.randn(200, 200)
    save(fs, {"embedding": stored, "head": stored, "other": stored + 1})
    tied, other = torch.zeros(200, 200), torch.zeros(200, 200)
    address = other.data_ptr()
    load(fs, {"embedding": tied, "head": tied, "other": other})
    assert torch.equal(tied, stored)
    assert torch.equal(other, stored + 1)
    assert other.data_ptr() == address


@pytest.mark.usefixtures("_batches")
def test_views_that_overlap_are_loaded(fs):
    stored = torch.randn(200, 200)
    save(fs, {"above": stored[:150].clone(), "below": stored[100:].clone()})
    whole = torch.zeros(200, 200)
    load(fs, {"above": whole[:150], "below": whole[100:]})
    assert torch.equal(whole, stored)


def test_no_two_readers_are_given_the_same_memory(fs, monkeypatch):
    stored = torch.randn(200, 200)
    state = {"a": stored, "b": stored, "rows": stored[:150].clone(), "columns": stored.t()[:3].clone()}
    save(fs, state)
    monkeypatch.setattr(fetching, "_BATCH_BYTES", 1)
    whole, alone = torch.zeros(200, 200), torch.zeros(200, 200)
    in_place = []
    landing = fetching.Fetcher._landing

    def watched(self, wanted):
        found = landing(self, wanted)
        in_place.extend([wanted.reads[0].dest_index.fqn] if found.is_in_place else [])
        return found

    monkeypatch.setattr(fetching.Fetcher, "_landing", watched)
    load(fs, {"a": whole, "b": alone, "rows": whole[:150], "columns": whole.t()[:3]})
    assert in_place == ["b"]
    assert torch.equal(whole, stored)
    assert torch.equal(alone, stored)
