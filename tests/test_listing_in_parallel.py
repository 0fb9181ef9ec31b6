"""One listing over many ranges of keys at a time: the same as the serial one, faster, and small ones cost the same."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time

import pytest

from osstorchconnector import OssClient, OssMapDataset
from osstorchconnector.errors import ListingError, OssError
from osstorchconnector.listing_progress import ListingProgress, bar_shown


def listings(site):
    return len(site.oss.requests("ListObjectsV2"))


def built(site, prefix, **dataset_config):
    client = OssClient(**site.configured(datasetConfig=dataset_config))
    return client.build_index(f"oss://bucket/{prefix}")


def some_keys(kind, draw):
    if kind == "flat":
        return {f"p/{number:08}" for number in range(2500)}
    if kind == "deep":
        return {
            f"p/{draw.choice('ab')}/{draw.choice('xyz') * draw.randint(1, 9)}/{draw.randint(0, 10**6)}.jpg"
            for _ in range(2500)
        }
    if kind == "one giant":
        return {"p/a", "p/z"} | {f"p/giant/common/prefix/{draw.getrandbits(64):x}" for _ in range(2500)}
    return {f"p/{draw.choice('aü😀/~ %+')}{draw.choice('ÿ0')}{draw.randint(0, 10**6)}" for _ in range(2500)}


@pytest.mark.parametrize("kind", ["flat", "deep", "one giant", "unicode"])
def test_the_parallel_listing_is_the_serial_one(site, kind):
    keys = some_keys(kind, random.Random(7)) | {"o", "q"}
    for key in keys:
        site.oss.put_object("bucket", key, b"x")
    for prefix in ("p/", ""):
        parallel = built(site, prefix)
        serial = built(site, prefix, listConcurrency=1)
        expected = sorted((key for key in keys if key.startswith(prefix)), key=str.encode)
        assert [row[0] for row in parallel] == [f"/bucket/{key}" for key in expected]
        assert parallel.fingerprint == serial.fingerprint


def test_a_small_listing_is_one_request(site):
    site.oss.fill("bucket", "p/", 1000, 1, synthetic=True)
    before = listings(site)
    assert len(built(site, "p/")) == 1000
    assert listings(site) == before + 1


def test_a_synthetic_object_reads_as_it_was_listed(site):
    site.oss.fill("bucket", "p/", 3, 100, seed=5, suffix=".bin", synthetic=True)
    dataset = OssMapDataset.from_prefix("oss://bucket/p/", **site.arguments)
    assert [len(item.read()) for item in dataset] == [100, 100, 100]
    with pytest.raises(OssError):
        OssClient(**site.arguments).get_object("bucket", "p/00000003.bin").read()


@pytest.mark.parametrize("fault", ["same", "first", "missing", "not_rising"])
@pytest.mark.parametrize("after", [0, 4])
def test_a_lying_page_is_an_error(site, fault, after):
    site.oss.fill("bucket", "p/", 30_000, 1, synthetic=True)
    late = list(range(after + 1, 1000))
    site.oss.rules([{"match": {"op": "ListObjectsV2", "nth": late}, "action": {"repeat_token": fault}}])
    with pytest.raises(ListingError, match="oss://bucket/p/"):
        built(site, "p/")


@pytest.mark.parametrize(
    ("count", "at_least"),
    [(50_000, 2), pytest.param(1_000_000, 8, marks=[pytest.mark.soak, pytest.mark.timeout(300)])],
)
def test_many_pages_take_less_time_than_one_after_the_other(site, count, at_least):
    site.oss.fill("bucket", "p/", count, 1, suffix=".jpg", synthetic=True)
    site.oss.shape(first_byte_ms=50)
    started = time.monotonic()
    assert len(built(site, "p/")) == count
    serial_seconds = count / 1000 * 0.05
    assert serial_seconds / (time.monotonic() - started) >= at_least


LISTING = """
import json, os, resource, sys
from osstorchconnector import OssClient
client = OssClient(**json.loads(sys.argv[1]))
used = lambda: sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
before = used()
index = client.build_index("oss://bucket/p/")
# ru_maxrss would begin with what the process that started this one had.
peak = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"objects": len(index), "cpu_seconds": used() - before, "peak_bytes": peak}))
"""


@pytest.mark.parametrize(
    "count", [20_000, pytest.param(10_000_000, marks=[pytest.mark.soak, pytest.mark.timeout(900)])]
)
def test_an_index_costs_little_memory_and_time(site, count):
    site.oss.fill("bucket", "p/", count, 1, suffix=".jpg", synthetic=True)
    done = subprocess.run(
        [sys.executable, "-c", LISTING, json.dumps(site.arguments)],
        check=True,
        stdout=subprocess.PIPE,
        env=os.environ,
    )
    took = json.loads(done.stdout)
    assert took["objects"] == count
    assert took["peak_bytes"] <= 1.5e9
    assert took["cpu_seconds"] <= 60 * max(count / 10_000_000, 0.05)


def test_progress_is_logged_every_five_seconds(caplog, capsys):
    now = [100.0]
    progress = ListingProgress("oss://b/p/", clock=lambda: now[0])
    with caplog.at_level("INFO", logger="osstorchconnector"):
        for step in range(24):
            now[0] = 100.0 + step * 0.5
            progress(step * 1000, step)
    assert [record.getMessage() for record in caplog.records] == [
        "listing oss://b/p/: 10000 keys so far, 2.0 pages/s",
        "listing oss://b/p/: 20000 keys so far, 2.0 pages/s",
    ]
    assert capsys.readouterr().err == ""


def test_a_bar_is_drawn_on_request(site, capsys):
    site.oss.fill("bucket", "p/", 10, 1, synthetic=True)
    dataset = OssMapDataset.from_prefix("oss://bucket/p/", **site.arguments)
    assert dataset.prepare(progress=True) == 10
    assert "listing oss://bucket/p/: 10 objects" in capsys.readouterr().err
    with bar_shown(wanted=False):
        ListingProgress("quiet").ended(1)
    assert capsys.readouterr().err == ""
