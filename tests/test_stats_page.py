"""docs/stats.md and the counters name the same things."""

from __future__ import annotations

import re
from pathlib import Path

import osstorchconnector
from osstorchconnector import OssIterableDataset

PAGE = Path(__file__).parent.parent / "docs" / "stats.md"


def documented():
    rows = [line.split("|")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_every_counter_is_documented_and_every_documented_counter_exists(site):
    site.fill({"p/a": b"1"})
    dataset = OssIterableDataset.from_prefix("oss://bucket/p/", **site.arguments)
    list(dataset)
    counted = {re.sub(r"^requests\..+", "requests.<Operation>.<outcome>", name) for name in dataset.stats()}
    assert counted == documented()
    assert set(osstorchconnector.stats()) <= set(dataset.stats()) | {
        name for name in osstorchconnector.stats() if name.startswith("requests.")
    }


def test_all_counters_are_numbers(site):
    site.fill({"p/a": b"1"})
    list(OssIterableDataset.from_prefix("oss://bucket/p/", **site.arguments))
    assert all(type(value) in (int, float) for value in osstorchconnector.stats().values())
