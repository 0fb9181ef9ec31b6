"""The counters for OpenTelemetry: `register()`. Needs the extra `opentelemetry`, and a provider with a reader."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING

try:
    from opentelemetry import metrics
    from opentelemetry.metrics import Observation
except ModuleNotFoundError as missing:
    raise ImportError(
        "osstorchconnector.opentelemetry needs its API: pip install 'osstorchconnector[opentelemetry]'"
    ) from missing

from osstorchconnector.connection import raw_stats
from osstorchconnector.exporting import Metric, Sample, all_metrics, grouped
from osstorchconnector.measures import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.metrics import CallbackOptions, MeterProvider

_UNITS = {"seconds": "s", "bytes": "By", "requests/s": "{request}/s", "objects/s": "{object}/s", "part": "1"}

# One export asks for each metric by itself; they are read once for all of them.
_FRESH_SECONDS = 0.5


class _Reading:
    """The numbers of one export."""

    def __init__(self) -> None:
        self._read_at = float("-inf")
        self._samples: dict[Metric, list[Sample]] = {}

    def of(self, metric: Metric, options: CallbackOptions) -> Iterable[Observation]:
        """Return the numbers of one metric."""
        if time.monotonic() - self._read_at > _FRESH_SECONDS:
            self._samples = dict(grouped(shown(raw_stats())))
            self._read_at = time.monotonic()
        return [Observation(sample.value, sample.labels) for sample in self._samples.get(metric, [])]


def register(meter_provider: MeterProvider | None = None) -> None:
    """Export the counters of this process, its datasets and their workers through a provider, or the global one."""
    provider = metrics.get_meter_provider() if meter_provider is None else meter_provider
    meter, reading = provider.get_meter("osstorchconnector"), _Reading()
    for metric in all_metrics():
        measure = metric.measure
        make = meter.create_observable_gauge if measure.is_state else meter.create_observable_counter
        make(
            f"ossconnector.{metric.name}",
            callbacks=[functools.partial(reading.of, metric)],
            unit=_UNITS.get(measure.unit, f"{{{measure.unit}}}"),
            description=measure.text,
        )
