"""Threads that do jobs, some at a time, and what they tell of it.

They are daemons: after Ctrl-C nothing that still waits for a dead network can keep the process from ending.
"""

from __future__ import annotations

import errno
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from osstorchconnector.cli.cp.stopping import Stop, StoppedError
from osstorchconnector.errors import (
    ConnectionFailedError,
    CredentialsError,
    InternalError,
    OssError,
    RequestTimeoutError,
    ThrottledError,
    UploadError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from osstorchconnector.cli.cp.jobs import Job
    from osstorchconnector.cli.cp.means import Done

# Jobs that wait for a thread: enough that the end of most copies is in sight, and no more in memory.
_WAITING = 10_000
# An object above this is moved in parallel by itself; only every fourth thread may have one at a time.
_LARGE_BYTES = 64 << 20
_LARGE_PART = 4
_LOOK_SECONDS = 0.1
# What is under way when it is told to stop may take so long to tidy up.
_TIDY_SECONDS = 3.0

# These are not about one object: the next one would fail as well.
_OF_ALL = (CredentialsError, ConnectionFailedError, RequestTimeoutError, ThrottledError, InternalError)
_CODES_OF_ALL = ("NoSuchBucket", "SignatureDoesNotMatch", "RequestTimeTooSkewed")
_NUMBERS_OF_ALL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.EPIPE)


@dataclass
class Tally:
    """How far the copy is; written by many threads under one lock, read without it for a display.

    Attributes:
        counts: jobs by what became of them.
        copied_bytes: bytes of those that were copied, whole.
        is_listed: whether `done` is kept: for a document, and not for millions of objects without one.
    """

    started: float = field(default_factory=time.monotonic)
    found: int = 0
    found_bytes: int = 0
    is_all_found: bool = False
    moved_bytes: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    copied_bytes: int = 0
    is_listed: bool = False
    done: list[Done] = field(default_factory=list)
    failed: list[tuple[Job, Exception]] = field(default_factory=list)

    @property
    def ended_well(self) -> int:
        """Jobs that are done."""
        return sum(self.counts.values())

    def note(self, done: Done) -> None:
        """Count one that is done."""
        self.counts[done.how] += 1
        self.copied_bytes += 0 if done.how == "same" else done.size_bytes
        if self.is_listed:
            self.done.append(done)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.started


class Crew:
    """The threads.

    Args:
        do: does one job.
        stop: tells all to end.
        size: how many.
    """

    def __init__(self, do: Callable[[Job], Done], stop: Stop, tally: Tally, size: int) -> None:
        self._do = do
        self._stop = stop
        self.tally = tally
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._under_way: dict[int, Job] = {}
        self._is_over = False
        self._fatal: Exception | None = None
        self._large = threading.BoundedSemaphore(max(1, size // _LARGE_PART))
        self._threads = [
            threading.Thread(target=self._work, name=f"cp-{number}", daemon=True) for number in range(size)
        ]

    def run(self, jobs: Iterator[Job], look: Callable[[], None]) -> None:
        """Do all jobs, and call `look` every now and then.

        Raises:
            OssError: a failure after which no other job would succeed, or that of finding the jobs.
        """
        for thread in self._threads:
            thread.start()
        try:
            for job in jobs:
                self._hand_over(job, look)
            self.tally.is_all_found = True
            self._wait_until(lambda: not self._waiting and not self._under_way, look)
        except BaseException:
            self._end()
            raise
        self._end()

    def remaining(self) -> tuple[list[Job], list[Job]]:
        """Return what was under way, and what was not begun, when it was stopped."""
        with self._changed:
            return list(self._under_way.values()), list(self._waiting)

    def _hand_over(self, job: Job, look: Callable[[], None]) -> None:
        with self._changed:
            self._waiting.append(job)
            self.tally.found += 1
            self.tally.found_bytes += job.size_bytes or 0
            self._changed.notify()
        self._wait_until(lambda: len(self._waiting) < _WAITING, look)

    def _wait_until(self, is_so: Callable[[], bool], look: Callable[[], None]) -> None:
        while True:
            look()
            with self._changed:
                if self._fatal is not None:
                    raise self._fatal
                if is_so():
                    return
                self._changed.wait(_LOOK_SECONDS)

    def _end(self) -> None:
        """Let the threads go; those under way are stopped, and given a moment to tidy up."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        self._stop.set()
        patience_ends = time.monotonic() + _TIDY_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, patience_ends - time.monotonic()))

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                done = self._done(job)
            except StoppedError:
                # It stays in the list of what was under way.
                return
            except Exception as failure:  # noqa: BLE001  (the main thread says what happened)
                self._note_failure(job, failure)
                continue
            with self._changed:
                self.tally.note(done)
                self._forget(job)

    def _done(self, job: Job) -> Done:
        if (job.size_bytes or 0) < _LARGE_BYTES:
            return self._do(job)
        with self._large:
            return self._do(job)

    def _next(self) -> Job | None:
        with self._changed:
            while not self._waiting and not self._is_over:
                self._changed.wait()
            if self._is_over:
                return None
            job = self._waiting.popleft()
            self._under_way[threading.get_ident()] = job
            return job

    def _note_failure(self, job: Job, failure: Exception) -> None:
        with self._changed:
            self.tally.failed.append((job, failure))
            if _is_of_all(failure):
                self._fatal = self._fatal or failure
            self._forget(job)

    def _forget(self, job: Job) -> None:
        del self._under_way[threading.get_ident()]
        self._changed.notify_all()


def _is_of_all(failure: Exception) -> bool:
    """Say whether the next job would fail alike."""
    if isinstance(failure, UploadError) and failure.status is None:
        # Nothing answered.
        return True
    if isinstance(failure, OssError):
        return isinstance(failure, _OF_ALL) or failure.code in _CODES_OF_ALL
    return not isinstance(failure, OSError) or failure.errno in _NUMBERS_OF_ALL
