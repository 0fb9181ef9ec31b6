"""A Python thread that only wants to tick, while an OssIterableDataset is read beside it."""

from __future__ import annotations

import threading
import time

from osstorchconnector import OssIterableDataset
from workloads.figured import FiguredWorkload

TICK_SECONDS = 0.001
BASE_SECONDS = 1.0


class Workload(FiguredWorkload):
    """Ticks for a while with nothing beside it first: what the machine does to it anyway."""

    def run(self) -> int:
        """Read every object once; return the bytes read."""
        dataset = OssIterableDataset.from_prefix("oss://bucket/train/", **self.target.where())
        dataset.prepare()
        alone = _Ticking()
        time.sleep(BASE_SECONDS)
        alone.stop()
        beside, total = _Ticking(), 0
        for item in dataset:
            total += len(item.read())
        beside.stop()
        self.figures = {
            "largest_gap_alone_ms": alone.largest_gap_seconds * 1000,
            "largest_gap_ms": beside.largest_gap_seconds * 1000,
        }
        return total


class _Ticking:
    """The thread; `largest_gap_seconds` is between two ticks, the wanted pause included."""

    def __init__(self) -> None:
        self.largest_gap_seconds = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _tick(self) -> None:
        last = time.perf_counter()
        while not self._ended.is_set():
            time.sleep(TICK_SECONDS)
            now = time.perf_counter()
            self.largest_gap_seconds = max(self.largest_gap_seconds, now - last)
            last = now
