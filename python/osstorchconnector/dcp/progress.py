"""What a long save or load says while it runs, and the time of its stages at its end."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from osstorchconnector import counters

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from typing_extensions import Self

_log = logging.getLogger(__name__)

_EVERY_SECONDS = 10.0
_GIGABYTE = 1e9


class Progress:
    """Logs at INFO every 10 s how far a save or load is, and at its end what its stages took.

    With several threads the stages add up to more than the time that passed.

    Args:
        what: `save` or `load`.
        uri: the checkpoint.
        rank: who logs.
        total_bytes: what is to be moved, as far as it is known.
        parts: data objects or batches to go through.
    """

    def __init__(self, what: str, uri: str, rank: int, total_bytes: int, parts: int) -> None:
        self._what, self._uri, self._rank = what, uri, rank
        self._total_bytes, self._parts_left = total_bytes, parts
        self._done_bytes = 0
        self._stages: dict[str, float] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._begun = time.monotonic()
        self._teller = threading.Thread(target=self._tell, name=f"oss-{what}-progress", daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._begun = time.monotonic()
        self._teller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Log the end, unless it failed: then the error says what there is to say."""
        self._ended.set()
        self._teller.join()
        if raised is None:
            self._count()
            _log.info("%s", self._end_line())

    def moved(self, size_bytes: int) -> None:
        """Count bytes."""
        with self._lock:
            self._done_bytes += size_bytes

    def part_done(self) -> None:
        """Count a part."""
        with self._lock:
            self._parts_left -= 1

    def add(self, stage: str, seconds: float) -> None:
        """Add to the time of a stage."""
        with self._lock:
            self._stages[stage] = self._stages.get(stage, 0.0) + seconds

    @contextmanager
    def stage(self, stage: str) -> Iterator[None]:
        """Measure a stage."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.add(stage, time.monotonic() - begun)

    def _count(self) -> None:
        """Add this save or load to the counters of the process."""
        name = f"checkpoint_{self._what}"
        counters.count(f"{name}s", 1)
        counters.count(f"{name}_bytes", self._done_bytes)
        counters.count(f"{name}_seconds", time.monotonic() - self._begun)
        for stage, took in self._stages.items():
            counters.count(f"{name}_{stage}_seconds", took)

    def _tell(self) -> None:
        while not self._ended.wait(_EVERY_SECONDS):
            _log.info("%s", self._line())

    def _line(self) -> str:
        seconds = time.monotonic() - self._begun
        with self._lock:
            done, left = self._done_bytes / _GIGABYTE, self._parts_left
        return (
            f"{self._what} {self._uri}: rank {self._rank}: {done:.2f} of {self._total_bytes / _GIGABYTE:.2f} GB, "
            f"{done / seconds:.2f} GB/s, {left} parts left"
        )

    def _end_line(self) -> str:
        seconds = time.monotonic() - self._begun
        with self._lock:
            stages = ", ".join(f"{stage} {took:.2f} s" for stage, took in self._stages.items())
            done = self._done_bytes / _GIGABYTE
        return f"{self._what} {self._uri}: rank {self._rank}: {done:.3f} GB in {seconds:.2f} s: {stages}"
