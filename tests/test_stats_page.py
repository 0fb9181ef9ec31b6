"""docs/stats.md and the counters name the same things."""

from __future__ import annotations

import re
from pathlib import Path

import prometheus_client
import torch
from torch.distributed import checkpoint as dcp
from torch.utils.data import DataLoader

import osstorchconnector
from osstorchconnector import OssCheckpoint, OssClient, OssIterableDataset, measures
from osstorchconnector.steps import Steps
from torch_versions import need_checkpoints

PAGE = (Path(__file__).parent.parent / "docs" / "stats.md").read_text(encoding="utf-8")

# What only comes to be when something happens to happen.
AT_TIMES = {
    "credentials_expire_seconds",
    "in_flight_limit_age_seconds",
    "requests_per_second_limit_age_seconds",
}


def size_of(sample):
    return len(sample.read())


def use_everything(site):
    """Read with workers, write, save and load a distributed checkpoint, look for orphans."""
    site.fill({f"p/{number}": b"1" for number in range(20)})
    dataset = OssIterableDataset.from_prefix("oss://bucket/p/", transform=size_of, **site.arguments)
    assert sum(int(batch.sum()) for batch in Steps(DataLoader(dataset, num_workers=2, batch_size=4))) == 20
    list(dataset)
    with OssCheckpoint(**site.arguments).writer("oss://bucket/w") as writer:
        writer.write(b"x")
    need_checkpoints()
    files = osstorchconnector.OssDCPFileSystem(**site.arguments)
    state = {"weight": torch.ones(3)}
    dcp.save(state, storage_writer=files.writer("oss://bucket/c"))
    dcp.load(state, storage_reader=files.reader("oss://bucket/c"))
    assert OssClient(**site.arguments).abandoned_uploads("oss://bucket/") == []
    return dataset


def test_every_counter_is_documented_and_every_documented_counter_exists(site):
    dataset = use_everything(site)
    shown = {measures.base_of(name) for name in dataset.stats()}
    assert shown - set(measures.MEASURES) == set()
    assert set(measures.MEASURES) - shown - AT_TIMES == set()
    shown = {measures.base_of(name) for name in osstorchconnector.stats()}
    assert set(measures.MEASURES) - shown - AT_TIMES == {"index_age_seconds"}


def test_all_counters_are_numbers(site):
    site.fill({"p/a": b"1"})
    list(OssIterableDataset.from_prefix("oss://bucket/p/", **site.arguments))
    assert all(type(value) in (int, float) for value in osstorchconnector.stats().values())


def test_the_examples_run(site, capsys, monkeypatch):
    site.fill({f"p/{number}": b"1" for number in range(4)})
    loader = OssIterableDataset.from_prefix("oss://bucket/p/", **site.arguments)
    monkeypatch.setattr(prometheus_client, "start_http_server", lambda _port: None)
    examples = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        exec(compile(example, "docs/stats.md", "exec"), {"loader": loader, "train": lambda batch: batch})
    assert re.fullmatch(r"[\d.e-]+ s waited for each step\n", capsys.readouterr().out)
