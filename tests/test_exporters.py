"""Prometheus and OpenTelemetry see what `stats()` shows."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest
from torch.utils.data import DataLoader

from osstorchconnector import (
    OssClient,
    OssIterableDataset,
    exporting,
    measures,
    opentelemetry,
    prometheus,
    stats,
)


@pytest.fixture(name="used")
def _used(site):
    """Count something: one read that succeeds."""
    # What other tests made is not to end between two looks at the counters.
    gc.collect()
    site.fill({"a": b"data"})
    client = OssClient(**site.arguments)
    assert client.get_object("bucket", "a").read() == b"data"
    return client


@pytest.mark.usefixtures("used")
def test_prometheus_is_given_counts_states_labels_and_units():
    registry = CollectorRegistry()
    prometheus.register(registry)
    value = registry.get_sample_value
    now = stats()
    assert value("ossconnector_requests_total") == now["requests"]
    labels = {"operation": "GetObject", "outcome": "ok"}
    assert value("ossconnector_requests_by_operation_total", labels) == now["requests.GetObject.ok"]
    assert (
        value("ossconnector_first_byte_quantile_seconds", {"quantile": "0.999"})
        == now["first_byte_p999_seconds"]
    )
    assert value("ossconnector_connections_idle") == now["connections_idle"]
    page = generate_latest(registry).decode()
    assert "# TYPE ossconnector_bytes_received_total counter" in page
    assert "# HELP ossconnector_bytes_received_total bytes: bodies received" in page
    assert "# TYPE ossconnector_in_flight gauge" in page


def test_prometheus_is_asked_again_for_each_page_and_can_be_left(used):
    registry = CollectorRegistry()
    collector = prometheus.register(registry)
    before = registry.get_sample_value("ossconnector_requests_total")
    used.head_object("bucket", "a")
    assert registry.get_sample_value("ossconnector_requests_total") == before + 1
    registry.unregister(collector)
    assert generate_latest(registry) == b""


def counts_of(registry):
    """Scrape; return the numbers that never fall."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in registry.collect()
        if family.type == "counter"
        for sample in family.samples
    }


@pytest.mark.parametrize("num_workers", [0, 1])
def test_what_a_dataset_counted_stays_counted_when_it_goes(site, num_workers):
    uris = site.fill({f"{number:02}": b"x" * 100 for number in range(20)})
    registry = CollectorRegistry()
    prometheus.register(registry)
    dataset = OssIterableDataset.from_objects(uris, **site.arguments)
    assert len(list(DataLoader(dataset, batch_size=4, num_workers=num_workers, collate_fn=list))) == 5
    before = counts_of(registry)
    assert before["ossconnector_dataset_objects_total",] >= 20
    del dataset
    gc.collect()
    after = counts_of(registry)
    assert {name: after.get(name, 0) for name, value in before.items() if after.get(name, 0) < value} == {}
    assert after["ossconnector_dataset_objects_total",] == before["ossconnector_dataset_objects_total",]


@pytest.mark.usefixtures("used")
def test_opentelemetry_is_given_the_same():
    reader = InMemoryMetricReader()
    opentelemetry.register(MeterProvider([reader]))
    (resource,) = reader.get_metrics_data().resource_metrics
    (scope,) = resource.scope_metrics
    found = {metric.name: metric for metric in scope.metrics}
    now = stats()
    (requests,) = found["ossconnector.requests"].data.data_points
    assert requests.value == now["requests"]
    assert found["ossconnector.requests"].data.is_monotonic
    assert found["ossconnector.bytes_received"].unit == "By"
    by_operation = {
        (point.attributes["operation"], point.attributes["outcome"]): point.value
        for point in found["ossconnector.requests_by_operation"].data.data_points
    }
    assert by_operation["GetObject", "ok"] == now["requests.GetObject.ok"]
    first_bytes = found["ossconnector.first_byte_quantile_seconds"].data.data_points
    quantiles = {point.attributes["quantile"] for point in first_bytes}
    assert quantiles == {"0.5", "0.99", "0.999"}


def test_every_measure_has_a_metric_and_no_two_share_a_name():
    metrics = exporting.all_metrics()
    assert len({metric.name for metric in metrics}) == len(metrics)
    assert all(metric.name.replace("_", "").isalnum() for metric in metrics)
    raw = {name: 1 for name in measures.MEASURES if "<" not in name}
    exported = {metric.name for metric, _ in exporting.grouped(raw)}
    assert exported == {metric.name for metric in metrics if not set(metric.labels) & {"operation", "source"}}


def test_a_source_with_dots_is_one_label():
    ((metric, (sample,)),) = exporting.grouped({"credentials_source.file /a/b.json": 1})
    assert (metric.name, sample.labels, sample.value) == (
        "credentials_source",
        {"source": "file /a/b.json"},
        1,
    )


@pytest.mark.parametrize("name", ["prometheus", "opentelemetry"])
def test_without_the_library_the_error_names_the_extra(name):
    library = {"prometheus": "prometheus_client", "opentelemetry": "opentelemetry"}[name]
    program = f"import sys; sys.modules[{library!r}] = None; import osstorchconnector.{name}"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert f"pip install 'osstorchconnector[{name}]'" in ended.stderr.splitlines()[-1]


def test_the_libraries_are_imported_only_on_use():
    program = (
        "import sys, osstorchconnector.connection, osstorchconnector.client, osstorchconnector.dataset; "
        "print([name for name in sys.modules if name.startswith(('prometheus', 'opentelemetry'))])"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
