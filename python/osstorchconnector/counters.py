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


class WorkerFiles:
    """The counters that workers in other processes wrote, and that stay counted when the workers are gone.

    Args:
        find: lists the files.
        is_owner: whether this process may remove the files of workers that are gone.
    """

    def __init__(self, find: Callable[[], Iterable[Path]], is_owner: Callable[[], bool]) -> None:
        self._find = find
        self._is_owner = is_owner
        self._gone: Stats = {}

    def read(self) -> Stats:
        """Add the counters up; this process's own file is passed over."""
        living = []
        for file in self._find():
            pid = int(file.name.rpartition(".stats")[0].rpartition(".")[2].partition("-")[0])
            if pid == os.getpid():
                continue
            if self._is_owner() and not _is_alive(pid):
                # A long job has many workers: what they counted is kept, their files are not.
                self._gone = total([self._gone, _read(file)])
                file.unlink(missing_ok=True)
            else:
                living.append(_read(file))
        return total([self._gone, *living])


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
        path: beside the index file, ending in an `own_suffix()`.
    """
    temporary = f"{path}.new"
    try:
        with open(temporary, "w", encoding="ascii") as file:
            json.dump(stats, file)
        os.replace(temporary, path)
    except OSError:
        return


def own_suffix() -> str:
    """Name this process's file; process numbers come back, so the moment is part of the name."""
    return f"{os.getpid()}-{time.time_ns():x}.stats"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _read(file: Path) -> Stats:
    try:
        read: Stats = json.loads(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return {}
    return read
