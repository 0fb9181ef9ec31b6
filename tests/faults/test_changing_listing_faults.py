"""Listings of very many keys, and of a bucket that changes meanwhile: F46, F47."""

from __future__ import annotations

import random
import threading

import pytest
from held import resident_bytes
from reading import MIB

from osstorchconnector import OssClient, OssIterableDataset, OssMapDataset


@pytest.mark.parametrize(
    "count", [100_000, pytest.param(1_000_000, marks=[pytest.mark.soak, pytest.mark.timeout(600)])]
)
def test_f46_very_many_keys_are_listed_exactly_in_little_memory(count, site):
    site.oss.fill("bucket", "k/", count, 1)
    dataset = OssMapDataset.from_prefix("oss://bucket/k/", **site.arguments)
    before = resident_bytes()
    assert dataset.prepare() == count
    assert resident_bytes() - before <= 200 * count + 32 * MIB
    index = dataset._delivery._here().index
    assert all(index.row(number)[0] == f"/bucket/k/{number:08}" for number in range(count))
    assert len(site.oss.requests("ListObjectsV2")) >= count // 1000


@pytest.mark.parametrize("seed", range(3))
def test_f47_a_key_that_is_there_throughout_is_listed_once(seed, site):
    site.oss.fill("bucket", "p/", 6000, 1)
    site.oss.rules([{"match": {"op": "ListObjectsV2"}, "action": {"delay_ms": 60}}])
    dice = random.Random(seed)
    client = OssClient(**site.arguments)
    removed, added, stop = set(), set(), threading.Event()

    def change():
        while not stop.is_set():
            number = dice.randrange(6000)
            if dice.random() < 0.5:
                removed.add(f"p/{number:08}")
                client.remove_object("bucket", f"p/{number:08}")
            else:
                added.add(f"p/{number:08}-new")
                site.oss.put_object("bucket", f"p/{number:08}-new", b"1")

    changing = threading.Thread(target=change)
    changing.start()
    try:
        dataset = OssIterableDataset.from_prefix("oss://bucket/p/", **site.arguments)
        count = dataset.prepare()
    finally:
        stop.set()
        changing.join()
    index = dataset._delivery._here().index
    keys = [index.row(number)[0].removeprefix("/bucket/") for number in range(count)]
    assert len(removed) > 3, "the bucket did change while it was listed"
    assert keys == sorted(set(keys))
    throughout = {f"p/{number:08}" for number in range(6000)} - removed
    assert throughout <= set(keys) <= throughout | removed | added
