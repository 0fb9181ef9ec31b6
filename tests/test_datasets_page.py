"""The code of docs/datasets.md runs as it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "datasets.md"
PIECES = [piece.split("```")[0] for piece in PAGE.read_text().split("```python\n")[1:]]


def decode(sample):
    sample.read()
    return int(sample.key.rpartition("/")[2])


def run(piece, site, monkeypatch):
    """Run a piece with what it takes for granted; return what it trained on, and its names."""
    for name, value in site.oss.environ().items():
        monkeypatch.setenv(name, value)
    trained = []
    names = {"decode": decode, "train": lambda batch: trained.append(batch.tolist())}
    exec("from torch.utils.data import DataLoader\nfrom osstorchconnector import OssIterableDataset", names)
    exec(compile(piece, str(PAGE), "exec"), names)
    return trained, names


@pytest.fixture
def filled(site):
    site.oss.fill("bucket", "train/", 24, 10)
    return site


def test_two_epochs_have_every_object_in_other_orders(filled, monkeypatch):
    trained, _ = run(PIECES[0], filled, monkeypatch)
    epochs = [[row for batch in trained[at : at + 6] for row in batch] for at in (0, 6)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(24))
    assert epochs[0] != epochs[1]


def test_a_saved_index_is_taken(filled, monkeypatch):
    _, names = run(PIECES[1], filled, monkeypatch)
    assert names["dataset"].prepare() == 24
    assert len(filled.oss.requests("ListObjectsV2")) == 1


def test_a_resumed_epoch_has_the_rest(filled, monkeypatch):
    trained, names = run(PIECES[2], filled, monkeypatch)
    assert names["used"] == 8
    assert set(names["state"]) == {"fingerprint", "seed", "epoch", "position"}
    assert sorted(row for batch in trained for row in batch) == list(range(24))


def test_every_piece_has_a_test():
    assert len(PIECES) == 3
