"""Medians, spreads and ratios of what single runs took; every table and picture is computed from these."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

# What one process took: its round, bytes, seconds, and mostly CPU seconds and peak bytes.
Run: TypeAlias = "dict[str, Any]"
Rounds: TypeAlias = "dict[str, list[Run]]"


@dataclass(frozen=True)
class Spread:
    """A median, and between what it lies."""

    median: float
    least: float
    most: float


def spread(values: Sequence[float]) -> Spread | None:
    """Sum values up, or return None where there is none."""
    return Spread(median(values), min(values), max(values)) if values else None


def speed(run: Run) -> float:
    """Bytes per second."""
    return float(run["bytes"]) / float(run["seconds"])


def cpu_seconds_per_byte(run: Run) -> float:
    """CPU time, imports left out."""
    return float(run["cpu_seconds"]) / float(run["bytes"])


def taken(runs: Iterable[Run], of: Callable[[Run], float]) -> list[float]:
    """Return a figure of each run that has it."""
    found = []
    for run in runs:
        try:
            found.append(of(run))
        except KeyError:
            continue  # the raw client does not tell its memory
    return found


def against(
    rounds: Mapping[str, list[Run]], name: str, other: str, of: Callable[[Run], float]
) -> list[float]:
    """Return a figure of one contender divided by that of another, for each round that both ran in.

    A shared machine drifts more between rounds than contenders differ, so only runs of one round are compared.
    """
    others = {run["round"]: run for run in rounds.get(other, [])}
    pairs = [(run, others[run["round"]]) for run in rounds.get(name, []) if run["round"] in others]
    return [of(run) / of(beside) for run, beside in pairs]


def stages(runs: Iterable[Run]) -> dict[str, float]:
    """Return the median seconds of each stage that the runs tell of."""
    told = [run["stages"] for run in runs if run.get("stages")]
    return {stage: median(one[stage] for one in told) for stage in told[0]} if told else {}
