"""What no share of a limit tells: distance, refusals, bad connections, faults, starts; mostly against the emulator.

Each function sets the emulator up, lets one contender run once (`ours`, ours with the `seeds` config file, or the
`original`), and returns figures by name, or None where that contender cannot do it.
"""

from __future__ import annotations

import io
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import replace
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any, Literal
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


def row(workload: str, workers: int = 0, reads: Literal["objects", "large"] = "objects") -> Row:
    """Make a row that has no limit."""
    return Row(workload, "", None, workload, workers=workers, reads=reads)


def distant(site: Site, who: str, objects: int, by_original: int) -> Figures | None:
    """30 ms to the first byte: objects a second, found by itself."""
    count = by_original if who == "original" else objects
    there = place(site, count)
    site.emulator.shape(first_byte_ms=FIRST_BYTE_MS)
    took = site.contenders.let(who, row("iterable"), there)
    if took is None:
        return None
    return {"objects": count, "seconds": took["seconds"], "objects_per_second": count / took["seconds"]}


def admitted(site: Site, who: str, objects: int) -> Figures | None:
    """2,000 requests a second are admitted, the others refused: what is used after warm-up, and what is refused."""
    there = place(site, objects, 1024)
    site.emulator.shape(first_byte_ms=FIRST_BYTE_MS, admit_rps=ADMITTED_PER_SECOND)
    took = site.contenders.let(who, row("admitted"), there)
    if took is None:
        return None
    samples, step = took["figures"]["samples"], took["figures"]["sample_seconds"]
    first, last = samples[int(WARM_UP_SECONDS / step)], samples[-2]
    seconds = (len(samples) - 2 - int(WARM_UP_SECONDS / step)) * step
    answered, sent, refused = (after - before for before, after in zip(first, last, strict=True))
    return {"used": answered / seconds / ADMITTED_PER_SECOND, "refused": refused / sent}


def shared(site: Site, who: str, count: int = PROCESSES) -> Figures:
    """So many processes share 2,000 requests a second from their first request on."""
    there = place(site, 128_000, 1024, synthetic=True)
    site.emulator.shape(first_byte_ms=FIRST_BYTE_MS, admit_rps=ADMITTED_PER_SECOND)
    told = _unknown_bytes(site, who, row("sharing", count), there)["figures"]
    processes, seconds = told["told"], float(told["seconds"])
    answered = [float(one[1]) for one in processes]
    fair = ADMITTED_PER_SECOND * seconds / count
    return {
        "used": sum(answered) / (ADMITTED_PER_SECOND * seconds),
        "refused": sum(float(one[3]) for one in processes) / sum(float(one[2]) for one in processes),
        "least_share": min(answered) / fair,
        "processes": count,
    }


def _unknown_bytes(site: Site, who: str, wanted: Row, there: Place) -> dict[str, Any]:
    """Run what ends before all is read."""
    target = site.contenders.target(wanted, there, seeds=who == "seeds")
    target = replace(target, expected_bytes=0, is_at_least=True)
    return site.contenders.run(f"workloads.{wanted.workload}", target)


def one_slow_connection(site: Site, who: str, objects: int) -> Figures | None:
    """One connection in 16 is 20 times slower: latency of objects and bytes sent, as the journal has them."""
    there = place(site, objects)
    fast = 20_000_000
    site.emulator.shape(rate_bytes_per_second=fast)
    slow = {
        "match": {"op": "GetObject", "connection": {"every": 16}},
        "action": {"rate_bytes_per_second": fast // 20},
    }
    site.emulator.rules([slow])
    if site.contenders.let(who, row("iterable"), there) is None:
        return None
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


def troubled(site: Site, who: str, objects: int, seed: int) -> Figures | None:
    """1 % resets, 1 % 503 and 0.2 % stalls, against the clean epoch."""
    faults = [
        {"match": {"op": "GetObject", "probability": 0.01}, "action": {"reset_after_bytes": 20_000}},
        {"match": {"op": "GetObject", "probability": 0.01}, "action": {"status": 503}},
        {"match": {"op": "GetObject", "probability": 0.002}, "action": {"stall_after_bytes": 20_000}},
    ]
    there = place(site, objects)
    clean = site.contenders.let(who, row("iterable"), there)
    site.emulator.rules(faults, seed)
    faulty = site.contenders.let(who, row("iterable"), there)
    if clean is None or faulty is None:
        return None
    return {
        "clean_seconds": clean["seconds"],
        "seconds": faulty["seconds"],
        "share_of_clean_epoch": clean["seconds"] / faulty["seconds"],
    }


def first_batch(site: Site, who: str, objects: int) -> Figures:
    """A million objects that nobody has listed, 50 ms a page: seconds to the first shuffled batch, and pages asked."""
    there = place(site, objects, 1024, synthetic=True)
    site.emulator.rules([{"match": {"op": "ListObjectsV2"}, "action": {"delay_ms": 50}}])
    told = _unknown_bytes(site, who, row("first_batch", 2), there)["figures"]
    pages = len(site.emulator.requests("ListObjectsV2"))
    return {
        "seconds": told["first_batch_seconds"],
        "list_requests": pages,
        "least_pages": -(-objects // 1000),
    }


def far_checkpoint(site: Site, who: str, size_bytes: int) -> Figures | None:
    """A large object over connections of 100 MB/s, 30 ms away: how many connections' worth a save and a load reach."""
    keys = (
        "--access-key-id",
        site.emulator.access_key_id,
        "--access-key-secret",
        site.emulator.access_key_secret,
    )
    # It must not be the limit itself, and the MD5 of what it gets is most of its work.
    far = Emulator(buckets=["bucket"], arguments=["--region", REGION, "--opaque-etags", *keys])
    found: Figures = {"bytes": size_bytes}
    with far:
        there = Place(urlsplit(far.endpoint).netloc, Served(0, 0, size_bytes))
        client = OssCheckpoint(**far.arguments())
        with client.writer("oss://bucket/big.bin", size_hint_bytes=size_bytes) as writer:
            for _ in range(size_bytes // PART_BYTES):
                writer.write(bytes(PART_BYTES))
        far.shape(first_byte_ms=FIRST_BYTE_MS, rate_bytes_per_second=CONNECTION_BYTES_PER_SECOND)
        for name, workload in (("read", "checkpoint_whole"), ("written", "checkpoint_write")):
            took = site.contenders.let(who, row(workload, reads="large"), there)
            if took is not None:
                found |= {
                    f"{name}_seconds": took["seconds"],
                    name: size_bytes / took["seconds"] / CONNECTION_BYTES_PER_SECOND,
                }
    return found if len(found) > 1 else None


def listings(site: Site, who: str) -> Figures | None:
    """Pages that a job of one epoch and 4 workers asks for, where one listing has `least_pages`."""
    there, wanted = site.place("nginx, 1 KB"), row("iterable_loader", workers=4)
    before = site.tiny.pages_asked()
    run = site.contenders.peer if who == "s3torchconnector" else site.contenders.let
    if run(who, wanted, there) is None:
        return None
    pages = site.tiny.pages_asked() - before
    return {"list_requests": pages, "least_pages": -(-there.served.objects // 1000)}


def pictures(site: Site, who: str, count: int) -> Figures | None:
    """The share of its time that a loop decoding JPEGs waits for data, from nothing on."""
    emulator = site.emulator
    emulator.reset()
    data = _jpeg()
    for number in range(count):
        emulator.put_object("bucket", f"pictures/{number:08}.jpg", data)
    emulator.shape(first_byte_ms=FIRST_BYTE_MS)
    there = Place(urlsplit(emulator.endpoint).netloc, Served(count, len(data), 0))
    took = site.contenders.let(who, row("pictures"), there)
    return None if took is None else {"waiting": took["figures"]["waiting_share"]}


def _jpeg() -> bytes:
    """Make a picture of about 110 KB: smooth noise, as a photograph has it."""
    noise = np.random.default_rng(7).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((640, 480), Image.Resampling.BICUBIC)
    made = io.BytesIO()
    picture.save(made, "JPEG", quality=93)
    return made.getvalue()


def ticking(site: Site, who: str) -> Figures | None:
    """The largest gap that a ticking Python thread sees, from nginx."""
    took = site.contenders.let(who, row("ticking"), site.place("nginx"))
    return None if took is None else {name: float(value) for name, value in took["figures"].items()}


def slow_consumer(site: Site, who: str) -> Figures:
    """What is read ahead of a program that is slow, as a part of the budget for it; and the memory of all, from nginx."""
    took = _unknown_bytes(site, who, row("slow_consumer"), site.place("nginx"))
    return {**took["figures"], "peak_bytes": took["peak_bytes"]}


def ready_objects(site: Site, who: str) -> Figures | None:
    """CPU time of the Python thread for an object that is there already: our Python's, and in all, from nginx."""
    took = site.contenders.let(who, row("ready_objects"), site.place("nginx, 1 KB"))
    return None if took is None else {name: float(value) for name, value in took["figures"].items()}


def import_time(who: str) -> Figures | None:
    """Seconds that the import adds to an interpreter's start."""
    if who == "original" and not (original.HOME / "osstorchconnector").is_dir():
        return None
    environment = original.environment() if who == "original" else None

    def once(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, env=environment, stdout=subprocess.DEVNULL)
        return time.perf_counter() - began

    return {"seconds": once("import osstorchconnector") - once("pass")}
