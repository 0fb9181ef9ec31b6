"""Stalled and slow connections: second requests, and connections that are retired."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from osstorchconnector import OssCheckpoint, OssIterableDataset

SIZE = 20_000


def filled(site, count):
    """Fill a prefix with objects of equal size whose bytes name their key, and return a dataset over it."""
    site.fill({f"k/{number:04}": f"{number:04}".encode() * (SIZE // 4) for number in range(count)})
    dataset = OssIterableDataset.from_prefix("oss://bucket/k/", **site.arguments)
    dataset.prepare()
    return dataset


def mixed_up(samples):
    """Return the keys whose bytes are not their own."""
    return [sample.key for sample in samples if sample.read() != sample.key[-4:].encode() * (SIZE // 4)]


def test_f14_a_stalled_object_is_asked_for_again_and_the_first_answer_counts(site):
    dataset = filled(site, 400)
    stall = {"stall_after_bytes": 3000, "count_from": "head"}
    site.oss.rules([{"match": {"op": "GetObject", "nth": [150, 250]}, "action": stall}])
    began = time.monotonic()
    samples = list(dataset)
    # A stall is noticed after ten seconds; a second request does not wait for that.
    assert time.monotonic() - began < 8
    assert len(samples) == 400
    assert mixed_up(samples) == []
    stats = dataset.stats()
    assert 2 <= stats["hedges_won"] <= stats["hedges_sent"] <= 20
    assert stats["requests_failed"] == 0
    # Those that lost are cut off, which their workers have to notice; a stall would last ten seconds.
    while dataset.stats()["in_flight"]:
        assert time.monotonic() - began < 8
    stats = dataset.stats()
    assert stats["requests_cancelled"] >= 2
    assert stats["requests_failed"] == 0


def test_f14_second_requests_cost_a_twentieth_at_most(site):
    dataset = filled(site, 600)
    # Every tenth request is late: more than may be asked for again.
    site.oss.rules([{"match": {"op": "GetObject", "nth": {"every": 10}}, "action": {"delay_ms": 60}}])
    samples = list(dataset)
    assert mixed_up(samples) == []
    assert dataset.stats()["hedges_sent"] <= 600 / 20 + 1


def test_f14_a_stalled_object_is_asked_for_again_though_late_ones_used_up_what_that_may_cost(site):
    dataset = filled(site, 400)
    stall = {"stall_after_bytes": 3000, "count_from": "head"}
    site.oss.rules(
        [
            {"match": {"op": "GetObject", "nth": [395]}, "action": stall},
            {"match": {"op": "GetObject", "nth": {"every": 4}}, "action": {"delay_ms": 40}},
        ]
    )
    began = time.monotonic()
    assert mixed_up(list(dataset)) == []
    # After a second, and not after the ten in which a stall is noticed.
    assert time.monotonic() - began < 8


def test_f14_a_slow_connection_is_retired(site):
    filled(site, 600)
    checkpoint = OssCheckpoint(**site.arguments)
    site.oss.rules([{"match": {"op": "GetObject", "connection": {"every": 8}}, "action": {"delay_ms": 120}}])
    site.oss.shape(first_byte_ms=20)

    def body(number):
        # A reader sends no second requests, which would cut the slow ones off.
        with checkpoint.reader(f"oss://bucket/k/{number:04}") as reader:
            return reader.read()

    with ThreadPoolExecutor(16) as threads:
        bodies = list(threads.map(body, range(600)))
    assert bodies == [f"{number:04}".encode() * (SIZE // 4) for number in range(600)]
    assert checkpoint.stats()["connections_retired"] >= 1
    slow = [
        entry for entry in site.oss.journal() if entry.get("fault") and entry.get("operation") == "GetObject"
    ]
    # Without retiring, an eighth of all requests would be slow.
    assert len(slow) < 600 / 16
