"""Counters: of this process, and of the DataLoader workers that it feeds.

A worker writes its counters into a small file of its own beside the dataset's index file, whole and by rename, after
each batch or every fraction of a second. So the numbers survive the worker, and nobody waits for a queue.
"""

from __future__ import annotations

import json
import os
import time
import weakref
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

Stats = dict[str, int | float]

# A bar on a terminal looks alive at five updates a second; a file costs a worker some 50 us.
PUBLISH_SECONDS = 0.2


class HasWorkerStats(Protocol):
    """A dataset whose workers may have written counters."""

    def worker_stats(self) -> Stats:
        """Sum the counters of its workers in other processes."""


_datasets: weakref.WeakSet[HasWorkerStats] = weakref.WeakSet()


def register(dataset: HasWorkerStats) -> None:
    """Let `everything` count a dataset's workers as long as the dataset lives."""
    _datasets.add(dataset)


def everything(process_stats: Stats) -> Stats:
    """Add the counters of the workers of all datasets of this process to its own."""
    return total([process_stats, *(dataset.worker_stats() for dataset in list(_datasets))])


def total(parts: Iterable[Stats]) -> Stats:
    """Add counters name by name."""
    result: Stats = {}
    for part in parts:
        for name, value in part.items():
            result[name] = result.get(name, 0) + value
    return result


def read_files(files: Iterable[Path]) -> Stats:
    """Add the counters of worker files; this process's own file is passed over."""
    own = f".{own_suffix()}"
    return total(_read(file) for file in files if not file.name.endswith(own))


class Duty:
    """Something to do now and then, by whoever passes by often: no thread waits for it.

    Args:
        seconds: at least so long between two times.
        action: what to do.
        at_once: whether the first time is now.
    """

    def __init__(self, seconds: float, action: Callable[[], None], *, at_once: bool) -> None:
        self._seconds = seconds
        self._action = action
        self._next = 0.0 if at_once else time.monotonic() + seconds

    def if_due(self) -> None:
        """Do it, unless it was done a moment ago."""
        if time.monotonic() >= self._next:
            self.now()

    def now(self) -> None:
        """Do it."""
        self._next = time.monotonic() + self._seconds
        self._action()


def publish(path: str, stats: Stats) -> None:
    """Write one worker's counters, whole; a disk that is full costs the numbers, not the data.

    Args:
        path: beside the index file; ends in `own_suffix()`.
    """
    temporary = f"{path}.new"
    try:
        with open(temporary, "w", encoding="ascii") as file:
            json.dump(stats, file)
        os.replace(temporary, path)
    except OSError:
        return


def own_suffix() -> str:
    """End the name of this process's file."""
    return f"{os.getpid()}.stats"


def _read(file: Path) -> Stats:
    try:
        read: Stats = json.loads(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return {}
    return read
