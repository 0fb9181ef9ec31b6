"""What an object costs the Python thread that takes it, if it is there already."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

from osstorchconnector import OssIterableDataset

if TYPE_CHECKING:
    from measure import Target

# So many at least are on their way from the beginning: the window of requests that a reader starts with.
READY = 16
REPEATS = 200
PAUSE_SECONDS = 0.01


class Workload:
    """Takes a few objects, pauses until the next ones are there, and again."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.figures: dict[str, object] = {}

    def run(self) -> int:
        """Read every object once; return the bytes read."""
        dataset = OssIterableDataset.from_prefix("oss://bucket/train/", **self.target.where())
        items, took, total = iter(dataset), list[float](), 0
        for _ in range(min(REPEATS, self.target.objects // READY)):
            time.sleep(PAUSE_SECONDS)
            before = time.thread_time()
            for _ in range(READY):
                total += len(next(items).read())
            took.append((time.thread_time() - before) / READY)
        self.figures = {"microseconds": median(took) * 1e6}
        return total + sum(len(item.read()) for item in items)
