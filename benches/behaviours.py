"""What no share of a limit tells: distance, refusals, bad connections, faults, starts; mostly against the emulator.

Each function sets the emulator up, lets contenders run, and returns figures by name.
"""

from __future__ import annotations

import io
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import replace
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

import original
from contenders import REGION, Place
from osstorchconnector import OssCheckpoint
from osstorchconnector.emulator import Emulator
from rows import Row
from server import PART_BYTES, Served

if TYPE_CHECKING:
    from collections.abc import Callable

    from run import Site

OBJECT_BYTES = 110 * 1024
FIRST_BYTE_MS = 30
CONNECTION_BYTES_PER_SECOND = 100_000_000
ADMITTED_PER_SECOND = 2000
WARM_UP_SECONDS = 3.0
PROCESSES = 64
Figures = dict[str, float]


def place(site: Site, objects: int, object_bytes: int = OBJECT_BYTES, *, synthetic: bool = False) -> Place:
    """Fill the emulator anew, and say where it is."""
    emulator = site.emulator
    emulator.reset()
    emulator.fill("bucket", "train/", objects, object_bytes, suffix=".bin", synthetic=synthetic)
    return Place(urlsplit(emulator.endpoint).netloc, Served(objects, object_bytes, 0))


def row(workload: str, workers: int = 0) -> Row:
    """Make a row that has no limit."""
    return Row(workload, "", None, workload, workers=workers)


def distant(site: Site, objects: int, *, by_original: int) -> Figures:
    """30 ms to the first byte: objects a second, found by itself."""
    there = place(site, objects)
    site.emulator.shape(first_byte_ms=FIRST_BYTE_MS)
    found = {"objects_per_second": objects / float(site.contenders.ours(row("iterable"), there)["seconds"])}
    found["with_seeds_config"] = objects / float(
        site.contenders.ours(row("iterable"), there, seeds=True)["seconds"]
    )
    there = place(site, by_original)
    site.emulator.shape(first_byte_ms=FIRST_BYTE_MS)
    theirs = site.contenders.original(row("iterable"), there)
    if theirs is not None:
        found["original"] = by_original / float(theirs["seconds"])
    return found


def admitted(site: Site, objects: int) -> Figures:
    """2,000 requests a second are admitted, the others refused: what is used after warm-up, and what is refused."""
    there = place(site, objects, 1024)
    site.emulator.shape(first_byte_ms=FIRST_BYTE_MS, admit_rps=ADMITTED_PER_SECOND)
    told = site.contenders.ours(row("admitted"), there)["figures"]
    samples, step = told["samples"], told["sample_seconds"]
    first, last = samples[int(WARM_UP_SECONDS / step)], samples[-2]
    seconds = (len(samples) - 2 - int(WARM_UP_SECONDS / step)) * step
    answered, sent, refused = (after - before for before, after in zip(first, last, strict=True))
    return {"used": answered / seconds / ADMITTED_PER_SECOND, "refused": refused / sent}


def shared(site: Site, count: int = PROCESSES) -> Figures:
    """So many processes share 2,000 requests a second from their first request on."""
    there = place(site, 128_000, 1024, synthetic=True)
    prepared = row("sharing", count)
    target = replace(site.contenders.target(prepared, there), expected_bytes=0, is_at_least=True)
    site.emulator.shape(first_byte_ms=FIRST_BYTE_MS, admit_rps=ADMITTED_PER_SECOND)
    told = site.contenders.run("workloads.sharing", target)["figures"]
    processes, seconds = told["told"], float(told["seconds"])
    answered = [float(one[1]) for one in processes]
    fair = ADMITTED_PER_SECOND * seconds / count
    return {
        "used": sum(answered) / (ADMITTED_PER_SECOND * seconds),
        "refused": sum(float(one[3]) for one in processes) / sum(float(one[2]) for one in processes),
        "least_share": min(answered) / fair,
        "processes": count,
    }


def one_slow_connection(site: Site, objects: int) -> Figures:
    """One connection in 16 is 20 times slower: latency of objects and bytes sent, as the journal has them."""
    there = place(site, objects)
    fast = 20_000_000
    site.emulator.shape(rate_bytes_per_second=fast)
    slow = {
        "match": {"op": "GetObject", "connection": {"every": 16}},
        "action": {"rate_bytes_per_second": fast // 20},
    }
    site.emulator.rules([slow])
    site.contenders.ours(row("iterable"), there)
    took, sent_bytes = _latencies(site.emulator.requests("GetObject"))
    return {
        "median_ms": median(took),
        "p99_ms": quantiles(took, n=100)[98],
        "p99_to_median": quantiles(took, n=100)[98] / median(took),
        "extra_bytes": sent_bytes / there.served.small_bytes - 1,
    }


def _latencies(entries: list[dict[str, Any]]) -> tuple[list[float], int]:
    """From the first request for an object to its first whole answer, ms; and all bytes that were sent."""
    by_key: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in entries:
        by_key[entry["key"]].append(entry)
    took = []
    for asked in by_key.values():
        whole = [one["started_ms"] + one["elapsed_ms"] for one in asked if one["bytes_out"] == OBJECT_BYTES]
        took.append(float(min(whole) - min(one["started_ms"] for one in asked)))
    return took, sum(int(entry["bytes_out"]) for entry in entries)


def troubled(site: Site, objects: int, rounds: int) -> Figures:
    """1 % resets, 1 % 503 and 0.2 % stalls, against the clean epoch."""
    faults = [
        {"match": {"op": "GetObject", "probability": 0.01}, "action": {"reset_after_bytes": 20_000}},
        {"match": {"op": "GetObject", "probability": 0.01}, "action": {"status": 503}},
        {"match": {"op": "GetObject", "probability": 0.002}, "action": {"stall_after_bytes": 20_000}},
    ]
    there, ratios = place(site, objects), []
    for number in range(rounds):
        site.emulator.rules([])
        clean = site.contenders.ours(row("iterable"), there)["seconds"]
        site.emulator.rules(faults, number)
        ratios.append(clean / site.contenders.ours(row("iterable"), there)["seconds"])
    return {"share_of_clean_epoch": median(ratios)}


def first_batch(site: Site, objects: int) -> Figures:
    """A million objects that nobody has listed, 50 ms a page: seconds to the first shuffled batch, and pages asked."""
    there = place(site, objects, 1024, synthetic=True)
    site.emulator.rules([{"match": {"op": "ListObjectsV2"}, "action": {"delay_ms": 50}}])
    wanted = row("first_batch", 2)
    target = replace(site.contenders.target(wanted, there), expected_bytes=0, is_at_least=True)
    told = site.contenders.run("workloads.first_batch", target)["figures"]
    pages = len(site.emulator.requests("ListObjectsV2"))
    return {
        "seconds": told["first_batch_seconds"],
        "list_requests": pages,
        "least_pages": -(-objects // 1000),
    }


def far_checkpoint(site: Site, size_bytes: int) -> Figures:
    """A large object over connections of 100 MB/s, 30 ms away: how many connections' worth a save and a load reach."""
    keys = (
        "--access-key-id",
        site.emulator.access_key_id,
        "--access-key-secret",
        site.emulator.access_key_secret,
    )
    # It must not be the limit itself, and the MD5 of what it gets is most of its work.
    far = Emulator(buckets=["bucket"], arguments=["--region", REGION, "--opaque-etags", *keys])
    with far:
        there = Place(urlsplit(far.endpoint).netloc, Served(0, 0, size_bytes))
        client = OssCheckpoint(**far.arguments())
        with client.writer("oss://bucket/big.bin", size_hint_bytes=size_bytes) as writer:
            for _ in range(size_bytes // PART_BYTES):
                writer.write(bytes(PART_BYTES))
        far.shape(first_byte_ms=FIRST_BYTE_MS, rate_bytes_per_second=CONNECTION_BYTES_PER_SECOND)
        found = {}
        for name, workload in (("read", "checkpoint_whole"), ("written", "checkpoint_write")):
            wanted = replace(row(workload), reads="large")
            seconds = site.contenders.ours(wanted, there)["seconds"]
            found[name] = size_bytes / seconds / CONNECTION_BYTES_PER_SECOND
    return found


def listings(site: Site) -> Figures:
    """Pages that a job of one epoch and 4 workers asks for, where one listing has `least_pages`."""
    there = site.place("nginx, 1 KB")
    wanted = row("iterable_loader", workers=4)
    contenders: dict[str, Callable[[], dict[str, Any] | None]] = {
        "list_requests": lambda: site.contenders.ours(wanted, there),
        "by_original": lambda: site.contenders.original(wanted, there),
        "by_s3torchconnector": lambda: site.contenders.peer("s3torchconnector", wanted, there),
    }
    found: Figures = {"least_pages": -(-there.served.objects // 1000)}
    for name, run in contenders.items():
        before = site.tiny.pages_asked()
        if run() is not None:
            found[name] = site.tiny.pages_asked() - before
    return found


def pictures(site: Site, count: int) -> Figures:
    """The share of its time that a loop decoding JPEGs waits for data, from nothing on."""
    emulator = site.emulator
    emulator.reset()
    data = _jpeg()
    for number in range(count):
        emulator.put_object("bucket", f"pictures/{number:08}.jpg", data)
    emulator.shape(first_byte_ms=FIRST_BYTE_MS)
    there = Place(urlsplit(emulator.endpoint).netloc, Served(count, len(data), 0))
    return {"waiting": site.contenders.ours(row("pictures"), there)["figures"]["waiting_share"]}


def _jpeg() -> bytes:
    """Make a picture of about 110 KB: smooth noise, as a photograph has it."""
    noise = np.random.default_rng(7).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((640, 480), Image.Resampling.BICUBIC)
    made = io.BytesIO()
    picture.save(made, "JPEG", quality=93)
    return made.getvalue()


def ticking(site: Site) -> Figures:
    """The largest gap that a ticking Python thread sees, from nginx."""
    figures = site.contenders.ours(row("ticking"), site.place("nginx"))["figures"]
    return {name: float(value) for name, value in figures.items()}


def ready_objects(site: Site) -> Figures:
    """CPU time of the Python thread for an object that is there already: our Python's, and in all, from nginx."""
    figures = site.contenders.ours(row("ready_objects"), site.place("nginx, 1 KB"))["figures"]
    return {name: float(value) for name, value in figures.items()}


def import_time(repeats: int) -> Figures:
    """Seconds that the import adds to an interpreter's start."""
    ours = _import_seconds("osstorchconnector", None, repeats)
    found = {"seconds": ours}
    if (original.HOME / "osstorchconnector").is_dir():
        found["original"] = _import_seconds("osstorchconnector", original.environment(), min(repeats, 3))
    return found


def _import_seconds(module: str, environment: dict[str, str] | None, repeats: int) -> float:
    def once(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, env=environment, stdout=subprocess.DEVNULL)
        return time.perf_counter() - began

    once(f"import {module}")  # fills the page cache and the compiled files
    return median(once(f"import {module}") - once("pass") for _ in range(repeats))
