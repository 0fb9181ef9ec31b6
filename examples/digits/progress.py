"""How fast batches come: measured around the loader, shown as a live bar or as a line now and then."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

Stats = dict[str, int | float]

_BAR_CELLS = 16  # with the figures it stays below 80 columns
_LIVE_SECONDS = 0.2
_LINE_SECONDS = 5.0


@dataclass(frozen=True)
class Figures:
    """What was delivered in which time.

    Attributes:
        samples: pictures that reached the training loop.
        size_bytes: bytes of the objects that workers delivered.
        seconds: wall clock.
        waited_seconds: the part of it in which the loop stood still for the next batch.
    """

    samples: int
    size_bytes: int
    seconds: float
    waited_seconds: float

    @property
    def samples_per_second(self) -> float:
        """Return the rate of pictures."""
        return self.samples / self.seconds if self.seconds > 0 else 0.0

    @property
    def megabytes_per_second(self) -> float:
        """Return the rate of bytes, in MB (10^6) a second."""
        return self.size_bytes / 1e6 / self.seconds if self.seconds > 0 else 0.0

    @property
    def waiting_share(self) -> float:
        """Return the share of time spent waiting for data, from 0 to 1."""
        return self.waited_seconds / self.seconds if self.seconds > 0 else 0.0

    def describe(self) -> str:
        """Say it in one phrase."""
        return (
            f"{self.samples_per_second:,.0f} samples/s, {self.megabytes_per_second:.1f} MB/s, "
            f"{self.waiting_share:.0%} of the time waiting for data"
        )


def bar(figures: Figures, total: int, in_flight: int) -> str:
    """Draw one line: a bar and the figures behind it.

    Args:
        total: samples at the end.
        in_flight: requests on their way now.
    """
    filled = min(_BAR_CELLS, _BAR_CELLS * figures.samples // max(total, 1))
    cells = "#" * filled + "." * (_BAR_CELLS - filled)
    return (
        f"[{cells}]  {figures.samples_per_second:5,.0f} samples/s  {figures.megabytes_per_second:5.1f} MB/s  "
        f"{in_flight:3} in flight  {figures.waiting_share:4.0%} waiting"
    )


class Meter:
    """Follows a loader through all epochs of one run, and shows where it is.

    Args:
        total: samples of all epochs together.
        stats: counters of the dataset, its workers included.
        stream: where the bar goes: redrawn in place on a terminal, else a line every few seconds.
        clock: seconds, from any origin.
    """

    def __init__(
        self,
        total: int,
        stats: Callable[[], Mapping[str, int | float]],
        stream: TextIO = sys.stderr,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._total = total
        self._stats = stats
        self._stream = stream
        self._clock = clock
        self._live = stream.isatty()
        self._every = _LIVE_SECONDS if self._live else _LINE_SECONDS
        self._seconds = 0.0
        self._waited = 0.0
        self._samples = 0
        self._shown = clock()

    def follow(self, loader: Iterable[Any]) -> Iterator[Any]:
        """Yield the loader's batches (pixels, labels), measured."""
        began = asked = self._clock()
        before = self._seconds
        for batch in loader:
            came = self._clock()
            self._waited += came - asked
            self._samples += len(batch[1])
            self._seconds = before + came - began
            if came - self._shown >= self._every:
                self._show()
            yield batch
            asked = self._clock()
        self._seconds = before + self._clock() - began

    def finish(self) -> Figures:
        """Show the last state and return the figures."""
        self._show()
        if self._live:
            self._stream.write("\n")
            self._stream.flush()
        return self._figures(self._stats())

    def _show(self) -> None:
        self._shown = self._clock()
        stats = self._stats()
        line = bar(self._figures(stats), self._total, int(stats.get("in_flight", 0)))
        self._stream.write(f"\r  {line}" if self._live else f"  {line}\n")
        self._stream.flush()

    def _figures(self, stats: Mapping[str, int | float]) -> Figures:
        return Figures(self._samples, int(stats.get("dataset_bytes", 0)), self._seconds, self._waited)
