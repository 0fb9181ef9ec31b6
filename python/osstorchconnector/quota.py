"""Whether the request quota was what an epoch waited for, and what larger objects would give.

A DataLoader tells its parent process nothing of an epoch's end, and no worker sees the others'. So each leaves in a file
what it did, and the last one, which finds all of it there, says the line for all.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

_log = logging.getLogger(__name__)

# The quota was the limit if the consumer waited for a tenth of the epoch, and its requests were held back for half of
# the time that they took. Less than that, and something else would be the limit a little later.
_WAITED_PART = 0.1
_HELD_BACK_PART = 0.5

# Sizes to compare with: what packing samples into archives gives, and what a large read is cut to.
_LARGER_BYTES = (1 << 20, 8 << 20)

_COUNTERS = (
    "dataset_objects",
    "dataset_bytes",
    "dataset_wait_seconds",
    "throttled",
    "throttle_pause_seconds",
    "request_seconds",
    "requests_ok",
)


@dataclass(frozen=True)
class Part:
    """What one process did of an epoch.

    Attributes:
        added: by how much its raw counters rose.
        begun: when it began, of the clock that all processes of a machine share.
        ended: when it ended.
    """

    added: Mapping[str, float]
    begun: float
    ended: float


class Meeting:
    """A file in which the workers of an epoch leave their parts.

    Args:
        path: of this epoch alone.
        worker_id: the number of this worker.
        workers: how many there are.
    """

    def __init__(self, path: str, worker_id: int, workers: int) -> None:
        self._path = path
        self._worker_id = worker_id
        self._workers = workers

    def leave(self, part: Part) -> list[Part] | None:
        """Leave this worker's part; return all parts to the one who is last, and None to the others.

        A disk that is full costs the line, not the data.
        """
        # A write that appends is whole, and comes after all that were there before it.
        line = json.dumps([self._worker_id, os.getpid(), *astuple(part)])
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(descriptor, f"{line}\n".encode())
            finally:
                os.close(descriptor)
            left = Path(self._path).read_text(encoding="utf-8").splitlines()
            parts = {worker: Part(*rest) for worker, _, *rest in map(json.loads, left)}
            if left[-1] != line or len(parts) < self._workers:
                return None
            os.unlink(self._path)
        except (OSError, ValueError, TypeError):
            return None
        return [part for _, part in sorted(parts.items())]


class Epoch:
    """One epoch of one process, a `with` block: says at its end if it waited for the request quota.

    Args:
        name: what is read.
        stats: returns the raw counters of this process.
        meeting: of the workers that share the epoch.
    """

    def __init__(
        self, name: str, stats: Callable[[], Mapping[str, float]], meeting: Meeting | None = None
    ) -> None:
        self._name = name
        self._stats = stats
        self._meeting = meeting
        self._before: Mapping[str, float] = {}
        self._begun = 0.0
        # At exit an iterator may be closed when modules have no names any more.
        self._is_exiting = sys.is_finalizing

    def __enter__(self) -> None:
        """Begin."""
        self._before = self._stats()
        self._begun = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Log a line if the request quota was the limit."""
        if self._is_exiting():
            return
        after = self._stats()
        added = {name: after.get(name, 0) - self._before.get(name, 0) for name in _COUNTERS}
        part = Part(added, self._begun, time.monotonic())
        parts = [part] if self._meeting is None else self._meeting.leave(part)
        told = None if parts is None else line(self._name, parts)
        if told is not None:
            _log.warning("%s", told)


def line(name: str, parts: Sequence[Part]) -> str | None:
    """Say that the service's limit of requests, and not this client, held up an epoch; None if it did not.

    Args:
        name: what was read.
        parts: what each process did of it.
    """

    def added(counter: str) -> float:
        return sum(part.added[counter] for part in parts)

    objects, waited = added("dataset_objects"), added("dataset_wait_seconds")
    held_back, taken = added("throttle_pause_seconds"), added("request_seconds")
    busy = sum(part.ended - part.begun for part in parts)
    if not (objects and added("throttled") and waited >= _WAITED_PART * busy):
        return None
    if held_back < _HELD_BACK_PART * taken:
        return None
    seconds = max(part.ended for part in parts) - min(part.begun for part in parts)
    mean_bytes, rate = added("dataset_bytes") / objects, added("requests_ok") / seconds
    where = f" in {len(parts)} workers" if len(parts) > 1 else ""
    who = "each worker waited {} on average" if len(parts) > 1 else "the consumer waited {}"
    return (
        f"epoch of {name}{where}: the request quota of the account was the limit, not this client: OSS admitted "
        f"{rate:,.0f} requests/s and refused {added('throttled'):,.0f}; "
        f"{who.format(f'{waited / len(parts):.1f} of {seconds:.1f} s')}. "
        f"{objects:,.0f} objects of {_size(mean_bytes)} on average came at {_size(mean_bytes * objects / seconds)}/s"
        f"{_with_larger(mean_bytes, rate)}"
    )


def _with_larger(mean_bytes: float, rate: float) -> str:
    larger = [size for size in _LARGER_BYTES if size > 2 * mean_bytes]
    if not larger:
        return "; ask for a higher quota"
    gains = " and ".join(f"{_size(size)} would bring {_size(size * rate)}/s" for size in larger)
    return f"; at this rate of requests objects of {gains}, as far as the network goes: pack samples, or ask for more"


def _size(size_bytes: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size_bytes < 1000:  # noqa: PLR2004  (units of a thousand)
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.3g} GB"
