"""The counters for Prometheus, by its own client library: `register()`. Needs the extra `prometheus`."""

from __future__ import annotations

from typing import TYPE_CHECKING

try:
    from prometheus_client import REGISTRY
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
except ModuleNotFoundError as missing:
    raise ImportError(
        "osstorchconnector.prometheus needs prometheus-client: pip install 'osstorchconnector[prometheus]'"
    ) from missing

from osstorchconnector.connection import raw_stats
from osstorchconnector.exporting import Metric, all_metrics, grouped
from osstorchconnector.measures import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric as Family
    from prometheus_client.registry import CollectorRegistry


class OssCollector:
    """Reads the counters of this process, its datasets and their workers each time Prometheus asks."""

    def collect(self) -> Iterator[Family]:
        """Yield what there is now."""
        for metric, samples in grouped(shown(raw_stats())):
            family = _family(metric)
            for sample in samples:
                family.add_metric([sample.labels[label] for label in metric.labels], sample.value)
            yield family

    def describe(self) -> Iterator[Family]:
        """Yield what there may be, so that registering reads nothing."""
        return map(_family, all_metrics())


def register(registry: CollectorRegistry = REGISTRY) -> OssCollector:
    """Export the counters; `registry.unregister` of what is returned ends that."""
    collector = OssCollector()
    registry.register(collector)
    return collector


def _family(metric: Metric) -> CounterMetricFamily | GaugeMetricFamily:
    kind = GaugeMetricFamily if metric.measure.is_state else CounterMetricFamily
    help_text = f"{metric.measure.unit}: {metric.measure.text}"
    return kind(f"ossconnector_{metric.name}", help_text, labels=metric.labels)
