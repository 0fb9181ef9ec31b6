"""Stored tensors are archives of `torch.save`, without the CRC-32 that torch computes and compares with nothing."""

from __future__ import annotations

import io
import threading
import zipfile

import pytest

from torch_versions import need_checkpoints

need_checkpoints()

import torch

import osstorchconnector
from dcp_states import PATH, file_system, save
from osstorchconnector.dcp import older_torch

STATE = {"a": torch.arange(70_000.0), "b": torch.arange(5)}

if not older_torch._settings_hold_on_one_thread():
    pytest.skip(f"settings of torch {torch.__version__} hold on all threads", allow_module_level=True)


@pytest.fixture
def fs(site):
    return file_system(site)


def items(fs, site):
    """Return the bytes of each item by its name."""
    found = {}
    for index, info in fs.reader(PATH).read_metadata().storage_data.items():
        with osstorchconnector.OssCheckpoint(**site.arguments).reader(
            f"{PATH}/{info.relative_path}"
        ) as reader:
            reader.seek(info.offset)
            found[index.fqn] = reader.read(info.length)
    return found


def test_an_item_is_an_archive_that_torch_loads_by_itself(fs, site):
    save(fs, {name: tensor.clone() for name, tensor in STATE.items()})
    stored = items(fs, site)
    assert stored.keys() == STATE.keys()
    for name, octets in stored.items():
        assert torch.equal(torch.load(io.BytesIO(octets), weights_only=True), STATE[name])
        records = [
            one for one in zipfile.ZipFile(io.BytesIO(octets)).infolist() if one.filename.endswith("/data/0")
        ]
        assert [one.CRC for one in records] == [0]


def test_nobody_elses_archives_go_without(fs):
    seen = []
    with older_torch.without_crc32():
        assert not torch.serialization.get_crc32_options()
        other = threading.Thread(target=lambda: seen.append(torch.serialization.get_crc32_options()))
        other.start()
        other.join()
    assert seen == [True]
    save(fs, {"a": torch.ones(5)})
    assert torch.serialization.get_crc32_options()


def test_where_settings_hold_on_all_threads_they_are_left_alone(monkeypatch):
    monkeypatch.setattr(older_torch, "_settings_hold_on_one_thread", lambda: False)
    with older_torch.without_crc32():
        assert torch.serialization.get_crc32_options()
