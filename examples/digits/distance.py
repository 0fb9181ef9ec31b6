"""Act 5: a service that answers after 30 ms; how many requests are in flight is found, beside a fixed 24."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from digits.bucket import FIRST_BYTE_MS, NAME
from digits.failure import DemoError
from osstorchconnector import OssIterableDataset

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from digits.bucket import Bucket

OBJECTS = 6_000
OBJECT_BYTES = 20 * 1024
FIXED = 24
# What is found was 5 to 9 times as fast as 24, on two cores that a dozen other programs shared.
LEAST_GAIN = 2.0

_PREFIX = "far/"
_CELLS_PER_REQUEST = 1 / 8


@dataclass(frozen=True)
class Run:
    """One pass over all objects.

    Attributes:
        most_in_flight: requests, as they were seen now and then.
    """

    objects: int
    seconds: float
    most_in_flight: int

    @property
    def objects_per_second(self) -> float:
        """Return the rate over the whole pass, listing included."""
        return self.objects / self.seconds

    def describe(self) -> str:
        """Say it in one phrase."""
        return f"{self.objects_per_second:,.0f} objects/s, at most {self.most_in_flight} requests in flight"


def run(bucket: Bucket, home: Path, say: Callable[[str], None]) -> Run:
    """Read the same objects with 24 requests in flight, and with as many as are found to be worth it.

    Raises:
        DemoError: what was found is not clearly faster.
    """
    bucket.oss.fill(NAME, _PREFIX, OBJECTS, OBJECT_BYTES, synthetic=True)
    folder = home / "fixed"
    folder.mkdir()
    config_path = bucket.oss.write_config(folder, {"network": {"maxConcurrency": FIXED}})
    say(f"{OBJECTS:,} objects of {OBJECT_BYTES >> 10} KiB, the first byte of each after {FIRST_BYTE_MS} ms")
    fixed = _read(bucket, config_path, 1.0, say)
    say(f"held at {FIXED}: {fixed.describe()}")
    found = _read(bucket, "", 0.1, say)
    say(f"left to itself: {found.describe()}")
    if found.objects_per_second < LEAST_GAIN * fixed.objects_per_second:
        raise DemoError(f"left to itself it reads {found.describe()}; held at {FIXED}, {fixed.describe()}")
    return found


def _read(bucket: Bucket, config_path: str, every_seconds: float, say: Callable[[str], None]) -> Run:
    """Read all objects in order, and tell now and then how many requests are in flight."""
    dataset = OssIterableDataset.from_prefix(
        f"oss://{NAME}/{_PREFIX}", shard="rank", config_path=config_path, **bucket.access
    )
    ended, levels = threading.Event(), [0]
    began = time.perf_counter()

    def watch() -> None:
        while not ended.wait(every_seconds):
            stats = dataset.stats()
            levels.append(int(stats.get("in_flight", 0)))
            say(_line(time.perf_counter() - began, levels[-1], int(stats.get("dataset_objects", 0))))

    watcher = threading.Thread(target=watch, name="demo-watch", daemon=True)
    watcher.start()
    try:
        objects = sum(1 for item in dataset if len(item.read()) == OBJECT_BYTES)
    finally:
        seconds = time.perf_counter() - began
        ended.set()
        watcher.join()
    if objects != OBJECTS:
        raise DemoError(f"{objects:,} of {OBJECTS:,} objects came whole")
    return Run(objects, seconds, max(levels))


def _line(seconds: float, in_flight: int, objects: int) -> str:
    cells = "#" * round(in_flight * _CELLS_PER_REQUEST)
    return f"  {seconds:4.1f} s  {in_flight:3} in flight  {objects:6,} objects  {cells}"
