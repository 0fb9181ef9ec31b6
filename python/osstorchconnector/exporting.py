"""The counters as systems of metrics want them: one name for each measure, its words as labels."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from osstorchconnector.measures import FAMILIES, MEASURES, Measure, base_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_QUANTILE = re.compile(r"(.*)_p(\d+)_seconds")


class Metric(NamedTuple):
    """A measure under its exported name.

    Attributes:
        name: made of letters, digits and `_`.
        measure: its unit and meaning.
        labels: the names of its labels.
    """

    name: str
    measure: Measure
    labels: tuple[str, ...] = ()


class Sample(NamedTuple):
    """One number of a metric, and the values of its labels."""

    labels: dict[str, str]
    value: float


def all_metrics() -> list[Metric]:
    """List every metric there is, whether it counted yet or not."""
    return list(dict.fromkeys(_metric(name) for name in MEASURES))


def grouped(stats: Mapping[str, int | float]) -> Iterator[tuple[Metric, list[Sample]]]:
    """Yield the metrics of what `stats()` shows, each with all of its numbers."""
    found: dict[Metric, list[Sample]] = {}
    for name, value in stats.items():
        base = base_of(name)
        if base in MEASURES:
            found.setdefault(_metric(base), []).append(Sample(_labels(name), value))
    yield from found.items()


def _metric(base: str) -> Metric:
    measure = MEASURES[base]
    for start, (family, labels) in FAMILIES.items():
        if family == base:
            word = start.rstrip(".")
            return Metric(f"{word}_by_operation" if "operation" in labels else word, measure, labels)
    quantile = _QUANTILE.fullmatch(base)
    if quantile is not None:
        return Metric(f"{quantile[1]}_quantile_seconds", measure, ("quantile",))
    return Metric(base, measure)


def _labels(name: str) -> dict[str, str]:
    for start, (_, labels) in FAMILIES.items():
        if name.startswith(start):
            return dict(zip(labels, name[len(start) :].split(".", len(labels) - 1), strict=True))
    quantile = _QUANTILE.fullmatch(name)
    # p50, p99 and p999 are 0.5, 0.99 and 0.999.
    return {} if quantile is None else {"quantile": f"0.{quantile[2].rstrip('0')}"}
