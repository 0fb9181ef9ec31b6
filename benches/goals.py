"""What was aimed at, and whether it is met: every goal as data, judged from the medians of what was measured.

A goal is met where it is met both without a config file and with the one that the original's README prints.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from figures import Spread, against, cpu_seconds_per_byte, speed, spread, taken
from rows import ROWS, beside, original, seeds

if TYPE_CHECKING:
    from collections.abc import Callable

    from rows import Row

Who: TypeAlias = Literal["ours", "seeds", "original"]
Measured: TypeAlias = "dict[str, Any]"
OURS: tuple[Who, Who] = ("ours", "seeds")


@dataclass(frozen=True)
class Unit:
    """How a figure is written."""

    suffix: str = ""
    scale: float = 1
    digits: int = 2

    def text(self, value: float, more_digits: int = 0) -> str:
        """Write it."""
        return f"{value * self.scale:,.{self.digits + more_digits}f}{self.suffix}"

    def plain(self, value: float) -> str:
        """Write it as a goal is written, without zeros behind the point."""
        return f"{value * self.scale:,.10g}{self.suffix}"


@dataclass(frozen=True)
class Bound:
    """What is aimed at: at least so much, or at most."""

    value: float
    is_least: bool = True

    def holds(self, value: float) -> bool:
        """Say whether a figure reaches it."""
        return value >= self.value if self.is_least else value <= self.value


@dataclass(frozen=True)
class Line:
    """One figure that is measured in every round.

    Attributes:
        values: its values in all rounds for ours, ours with the seed's config file, and the original.
    """

    what: str
    unit: Unit
    values: Callable[[Measured, Who], list[float]]
    bound: Bound | None = None

    def of(self, measured: Measured, who: Who) -> Spread | None:
        """Return its median and spread, or None where it was not measured."""
        return spread(self.values(measured, who))

    def is_met(self, measured: Measured) -> bool | None:
        """Say whether the goal is met; None where there is none, or no figure."""
        found = [one.median for one in (self.of(measured, who) for who in OURS) if one is not None]
        if self.bound is None or not found:
            return None
        return all(self.bound.holds(one) for one in found)

    def goal(self) -> str:
        """Write what is aimed at."""
        if self.bound is None:
            return "-"
        return f"{'>=' if self.bound.is_least else '<='} {self.unit.plain(self.bound.value)}"

    def shown(self, found: Spread | None) -> str:
        """Write a median, and between what it lies; with so many digits that it does not look better than it is."""
        if found is None:
            return "-"
        more = next((more for more in range(4) if self._tells_the_truth(found.median, more)), 4)
        middle = self.unit.text(found.median, more)
        bare = Unit("", self.unit.scale, self.unit.digits)
        least, most = bare.text(found.least), bare.text(found.most)
        return middle if least == most else f"{middle} ({least}..{most})"

    def _tells_the_truth(self, value: float, more_digits: int) -> bool:
        if self.bound is None:
            return True
        rounded = round(value * self.unit.scale, self.unit.digits + more_digits) / self.unit.scale
        return self.bound.holds(rounded) == self.bound.holds(value)


def _name(row: Row, who: Who) -> str:
    return {"ours": row.name, "seeds": seeds(row), "original": original(row)}[who]


def _at_least(value: float | None) -> Bound | None:
    return None if value is None else Bound(value)


def share(row: Row) -> Line:
    """Which part of the raw limit's speed a row reaches."""

    def values(measured: Measured, who: Who) -> list[float]:
        return against(measured["rounds"], _name(row, who), beside(row), speed)

    return Line(row.title, Unit(), values, _at_least(row.goal))


def times_original(row: Row) -> Line:
    """How many times the original's speed a row reaches."""

    def values(measured: Measured, who: Who) -> list[float]:
        return against(measured["rounds"], _name(row, who), original(row), speed)

    return Line(
        f"{row.title}: to the original's speed", Unit("x", 1, 1), values, _at_least(row.times_original)
    )


def cpu(row: Row) -> Line:
    """Which part of the original's CPU time a row takes."""

    def values(measured: Measured, who: Who) -> list[float]:
        return against(measured["rounds"], _name(row, who), original(row), cpu_seconds_per_byte)

    bound = None if row.cpu_of_original is None else Bound(row.cpu_of_original, is_least=False)
    return Line(f"{row.title}: CPU time, to the original's", Unit(), values, bound)


def peak(row: Row) -> Line:
    """How much memory a row takes."""

    def values(measured: Measured, who: Who) -> list[float]:
        return taken(measured["rounds"].get(_name(row, who), []), lambda run: run["peak_bytes"] / 1e6)

    bound = None if row.peak_mb is None else Bound(row.peak_mb, is_least=False)
    return Line(f"{row.title}: peak memory", Unit(" MB", 1, 0), values, bound)


def raw_rows() -> list[Row]:
    """Return the rows that have a raw limit."""
    return [row for row in ROWS if row.limit.startswith("raw")]


def costs() -> list[Line]:
    """Return what rows cost, where that has a goal."""
    with_cpu = [cpu(row) for row in ROWS if row.cpu_of_original is not None]
    return [*with_cpu, *(peak(row) for row in ROWS if row.peak_mb is not None)]


def _in_behaviour(name: str, key: str, measured: Measured, who: Who) -> list[float]:
    return [float(one[key]) for one in measured["behaviours"].get(name, {}).get(who, []) if key in one]


def _of(
    name: str, key: str, what: str, unit: Unit, *, least: float | None = None, most: float | None = None
) -> Line:
    bound = _at_least(least) if most is None else Bound(most, is_least=False)
    return Line(what, unit, partial(_in_behaviour, name, key), bound)


PERCENT = Unit(" %", 100, 1)
TIMES = Unit("x", 1, 1)

BEHAVIOURS = (
    _of(
        "distant",
        "objects_per_second",
        "30 ms to the first byte, 20,000 objects of 110 KiB, one process",
        Unit(" objects/s", 1, 0),
        least=5000,
    ),
    _of(
        "admitted",
        "used",
        "30 ms, 2,000 requests/s admitted: part of them used, after 3 s",
        PERCENT,
        least=0.9,
    ),
    _of("admitted", "refused", "30 ms, 2,000 requests/s admitted: refused, after 3 s", PERCENT, most=0.02),
    _of(
        "shared",
        "used",
        "64 processes share 2,000 requests/s, start included: used",
        PERCENT,
        least=0.9,
    ),
    _of("shared", "refused", "64 processes share 2,000 requests/s: refused", PERCENT, most=0.05),
    _of(
        "shared",
        "least_share",
        "64 processes share 2,000 requests/s: least of a fair share",
        Unit(),
        least=0.5,
    ),
    _of(
        "slow connection",
        "p99_to_median",
        "one connection in 16 is 20 times slower: p99 to median of object latency",
        TIMES,
        most=3,
    ),
    _of(
        "slow connection",
        "extra_bytes",
        "one connection in 16 is 20 times slower: extra bytes",
        PERCENT,
        most=0.05,
    ),
    _of(
        "troubled",
        "share_of_clean_epoch",
        "1 % resets, 1 % 503, 0.2 % stalls: speed to the clean epoch's",
        PERCENT,
        least=0.85,
    ),
    _of(
        "far checkpoint",
        "read",
        "2 GiB over connections of 100 MB/s, 30 ms away: one `readinto`, to one connection's rate",
        TIMES,
        least=10,
    ),
    _of(
        "far checkpoint",
        "written",
        "2 GiB over connections of 100 MB/s, 30 ms away: writes of 64 MiB, to one connection's rate",
        TIMES,
        least=10,
    ),
    _of(
        "pictures",
        "waiting",
        "batches of 256 decoded JPEGs: part of the time spent waiting for data",
        PERCENT,
        most=0.02,
    ),
    _of(
        "ticking",
        "largest_gap_ms",
        "largest gap of a Python thread that ticks every ms",
        Unit(" ms", 1, 1),
        most=20,
    ),
    _of("ticking", "largest_gap_alone_ms", "the same with nothing beside it", Unit(" ms", 1, 1)),
    _of(
        "slow consumer",
        "most_read_ahead",
        "an object every 5 ms is taken, no faster: most that is read ahead, of the 64 MiB allowed",
        PERCENT,
        most=1,
    ),
    _of("slow consumer", "peak_bytes", "its peak memory", Unit(" MB", 1e-6, 0)),
    _of(
        "ready objects",
        "python_microseconds",
        "what our Python adds to an object of 1 KiB that is there already",
        Unit(" us", 1, 1),
        most=3,
    ),
    _of(
        "ready objects",
        "thread_microseconds",
        "the thread in all, requests made included",
        Unit(" us", 1, 1),
    ),
    _of(
        "import",
        "seconds",
        "`import osstorchconnector`, beyond an interpreter's start",
        Unit(" s", 1, 3),
        most=0.1,
    ),
    _of(
        "first batch",
        "seconds",
        "1,000,000 objects never listed, 50 ms a page: first shuffled batch of 256, 2 workers",
        Unit(" s", 1, 1),
    ),
    _of("first batch", "list_requests", "its list requests (1,000 pages there are)", Unit("", 1, 0)),
    _of(
        "listings",
        "list_requests",
        "list requests of one epoch with 4 workers (20 pages there are)",
        Unit("", 1, 0),
    ),
)


def every() -> list[Line]:
    """Return all lines of all tables."""
    ratios = [line for row in raw_rows() for line in (share(row), times_original(row))]
    return [*ratios, *costs(), *BEHAVIOURS]


def count(measured: Measured) -> tuple[int, int]:
    """Return how many goals are met, and how many were measured."""
    judged = [met for met in (line.is_met(measured) for line in every()) if met is not None]
    return sum(judged), len(judged)
