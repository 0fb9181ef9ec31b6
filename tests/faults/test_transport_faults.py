"""Connections that are refused, cut, silent or slow: F01, F06, F08, F09, F10, F12, F15."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from reading import (
    MOST_REQUESTS,
    QUICK,
    SHORT,
    always,
    by_iterable,
    by_map,
    by_stream,
    content,
    gets,
    once,
    quick,
)
from ticking import smallest_gap_of

from osstorchconnector import OssCheckpoint, OssIterableDataset, OssMapDataset
from osstorchconnector.emulator import Emulator
from osstorchconnector.errors import ConnectionFailedError, RequestTimeoutError

SIZE = 600_000
DATA = content(SIZE)
# The first part of a stream.
PART = 256 << 10


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.mark.parametrize("read", [by_stream, by_map, by_iterable])
def test_f01_a_refusing_endpoint_is_tried_again_and_then_named(read, site):
    arguments = {**quick(site), "endpoint": f"http://127.0.0.1:{free_port()}"}
    started = time.monotonic()
    with pytest.raises(ConnectionFailedError, match="check endpoint and region") as failed:
        read("oss://bucket/a", arguments)
    assert QUICK["firstContactSeconds"] * 0.5 < time.monotonic() - started < QUICK["firstContactSeconds"] + 1
    assert 2 <= failed.value.attempts <= MOST_REQUESTS
    assert failed.value.uri.startswith("oss://bucket/a")
    assert failed.value.errno == 111


def test_f01_an_endpoint_that_answered_before_has_the_whole_deadline(site):
    with Emulator() as oss:
        oss.put_object("bucket", "a", b"x")
        arguments = {
            **quick(site),
            "endpoint": oss.endpoint,
            "cred_path": oss.write_credentials(site.directory),
        }
        images = OssMapDataset.from_objects(["oss://bucket/a"], **arguments)
        assert images[0].read() == b"x"
    started = time.monotonic()
    with pytest.raises(ConnectionFailedError, match="check endpoint") as failed:
        images[0]
    assert QUICK["deadlineSeconds"] * 0.8 < time.monotonic() - started < QUICK["deadlineSeconds"] + 1
    assert 10 <= failed.value.attempts <= MOST_REQUESTS


def test_f01_an_endpoint_that_comes_up_late_is_reached(site):
    port = free_port()
    arguments = {
        **quick(site, firstContactSeconds=15, deadlineSeconds=15),
        "endpoint": f"http://127.0.0.1:{port}",
    }
    keys = ["--access-key-id", site.oss.access_key_id, "--access-key-secret", site.oss.access_key_secret]
    images = OssMapDataset.from_objects(["oss://bucket/a"], **arguments)
    outcome = []
    reading = threading.Thread(target=lambda: outcome.append(images[0].read()))
    reading.start()
    wait_until(lambda: images.stats().get("retries_connect", 0) >= 3)
    with Emulator(arguments=["--port", str(port), *keys], buckets=["bucket"]) as late:
        late.put_object("bucket", "a", b"late but whole")
        reading.join(15)
        assert outcome == [b"late but whole"]


def wait_until(is_so, seconds=10):
    """Look until it is so."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it never was so"
        threading.Event().wait(0.01)


def test_f06_a_connection_closed_while_idle_is_replaced_silently(wire):
    [uri] = wire.fill({"a": DATA})
    images = OssMapDataset.from_objects([uri], **quick(wire))
    for _ in range(20):
        wire.oss.rules([])
        assert images[0].read() == DATA
        # On the connection that the read before left: the end comes when the request has been sent.
        wire.oss.rules(once({"close_after_bytes": 0, "count_from": "head"}))
        assert images[0].read() == DATA
    stats = images.stats()
    assert (stats["retries_stale"], stats["retries_broken"]) == (20, 0)
    # A machine that is busy may make an answer late enough to be asked for twice.
    assert len(gets(wire)) == 60 + stats["hedges_sent"]


@pytest.mark.parametrize("rounds", [700, pytest.param(10_000, marks=pytest.mark.soak)])
def test_f06_idle_times_around_the_servers_limit_fail_nothing(rounds, site):
    [uri] = site.fill({"a": b"whole"})
    images = OssMapDataset.from_objects([uri], **quick(site))
    site.oss.shape(idle_close_ms=3)
    idle = threading.Event()
    for number in range(rounds):
        assert images[0].read() == b"whole"
        idle.wait(number % 7 / 1000)
    stats = images.stats()
    assert stats["connections_reused"] > rounds / 10
    assert (stats["retries_broken"], stats["retries_timeout"]) == (0, 0)


def test_f06_a_part_goes_again_when_its_connection_was_closed(wire):
    wire.fill({"other": b"x"})
    checkpoint = OssCheckpoint(**wire.configured(network=QUICK, checkpointConfig={"uploadIoSizeMB": 1}))
    data = content(3 << 20)
    closing = {"close_after_bytes": 0, "count_from": "head"}
    wire.oss.rules([{"match": {"op": "UploadPart", "part": 1}, "action": closing, "times": 1}])
    with checkpoint.writer("oss://bucket/big") as writer:
        writer.write(data)
    assert by_stream("oss://bucket/big", wire.arguments) == data
    assert [entry["part"] for entry in wire.oss.requests("UploadPart")].count(1) == 2
    assert len(wire.oss.requests("CompleteMultipartUpload")) == 1


@pytest.mark.parametrize("at", [0, 1, PART - 1, PART, PART + 1, 391_337])
def test_f08_a_reset_body_goes_on_where_it_broke(at, wire, read):
    [uri] = wire.fill({"a": DATA})
    arguments = quick(wire)
    assert read(uri, arguments) == DATA
    undisturbed = len(gets(wire))
    wire.oss.rules(once({"reset_after_bytes": at}))
    assert read(uri, arguments) == DATA
    asked = gets(wire)[undisturbed:]
    # A part of a stream may end before the reset does.
    assert len(asked) - undisturbed in ((0, 1) if read is by_stream and at >= PART else (1,))
    if undisturbed == 1 and at:
        start, end = map(int, asked[1]["headers"]["range"].removeprefix("bytes=").split("-"))
        assert 0 < start <= at
        assert end == SIZE - 1
        assert asked[1]["headers"]["if-match"].startswith('"')
        assert asked[1]["connection"] != asked[0]["connection"]


def test_f08_a_body_reset_many_times_still_arrives_whole(wire, read):
    [uri] = wire.fill({"a": DATA})
    wire.oss.rules([{"match": {"op": "GetObject"}, "action": {"reset_after_bytes": 50_000}, "times": 10}])
    assert read(uri, quick(wire)) == DATA


def test_f09_a_reset_at_the_first_byte_for_ever_ends_at_the_deadline(wire, read):
    [uri] = wire.fill({"a": DATA})
    wire.oss.rules(always({"reset_after_bytes": 0}))
    started = time.monotonic()
    # The deadline falls between two attempts, or into one.
    with pytest.raises((ConnectionFailedError, RequestTimeoutError), match="deadline") as failed:
        read(uri, quick(wire, **SHORT))
    assert SHORT["deadlineSeconds"] * 0.8 < time.monotonic() - started < SHORT["deadlineSeconds"] + 1
    assert failed.value.uri.startswith(uri)
    streams = {entry["headers"].get("range") for entry in gets(wire)}
    assert 5 < len(gets(wire)) <= MOST_REQUESTS * len(streams)


def test_f10_a_stalled_body_is_noticed_and_resumed_elsewhere(wire, read):
    [uri] = wire.fill({"a": DATA})
    arguments = quick(wire)
    wire.oss.rules(once({"stall_after_bytes": 100_000}))
    assert read(uri, arguments) == DATA
    asked = gets(wire)
    stalled = next(entry for entry in asked if entry["fault"])
    # The stream reads ahead meanwhile; the resume starts within the stalled request's range.
    start, end = stalled["headers"].get("range", f"bytes=0-{SIZE - 1}").removeprefix("bytes=").split("-")
    resume = f"bytes={int(start) + 100_000}-{end}"
    resumed = [entry for entry in asked if entry["headers"].get("range") == resume]
    assert len(resumed) == 1
    assert resumed[0]["connection"] != stalled["connection"]
    waited = (resumed[0]["started_ms"] - stalled["started_ms"]) / 1000
    assert QUICK["readStallSeconds"] - 0.01 <= waited < QUICK["readStallSeconds"] + 1


def test_f10_other_threads_run_on_during_a_stall(site, read):
    [uri] = site.fill({"a": DATA})
    arguments = quick(site)

    def stalled_read():
        site.oss.rules(once({"stall_after_bytes": 100_000}))
        assert read(uri, arguments) == DATA

    assert smallest_gap_of(stalled_read) <= 0.1


def test_f10_a_stall_that_never_ends_is_a_timeout_at_the_deadline(site, read):
    [uri] = site.fill({"a": DATA})
    site.oss.rules(always({"stall_after_bytes": 0}))
    started = time.monotonic()
    with pytest.raises(RequestTimeoutError, match="deadline") as failed:
        read(uri, quick(site, **SHORT))
    assert time.monotonic() - started < SHORT["deadlineSeconds"] + 1
    assert failed.value.errno == 110
    streams = {entry["headers"].get("range") for entry in gets(site)}
    assert len(gets(site)) <= MOST_REQUESTS * len(streams)


def test_f12_a_slow_but_steady_body_is_left_alone(site):
    # 20 KiB/s for 8 s: longer than any timer but the deadline, which 128 KiB of new bytes start again.
    data = content(160 << 10)
    uris = site.fill({"a": data, "b": data})
    site.oss.rules(always({"rate_bytes_per_second": 20 << 10}))
    dataset = OssIterableDataset.from_objects(uris, **quick(site, deadlineSeconds=7))
    started = time.monotonic()
    assert [sample.read() for sample in dataset] == [data, data]
    assert time.monotonic() - started > 7
    assert len(gets(site)) == 2
    assert [value for name, value in dataset.stats().items() if name.startswith("retries_")] == [0] * 10


def test_f15_a_short_body_is_never_the_end_of_a_file(wire, read):
    [uri] = wire.fill({"a": DATA})
    wire.oss.rules([{"match": {"op": "GetObject"}, "action": {"truncate_body": 60_000}, "times": 3}])
    assert read(uri, quick(wire)) == DATA


def test_f15_a_body_that_is_always_short_is_an_error(site, read):
    [uri] = site.fill({"a": DATA})
    site.oss.rules(always({"truncate_body": 0}))
    with pytest.raises(ConnectionFailedError, match=r"closed|end"):
        read(uri, quick(site, deadlineSeconds=1))


def test_f15_a_short_upload_answer_is_no_success(site):
    site.fill({"other": b"x"})
    checkpoint = OssCheckpoint(**site.configured(network=QUICK, checkpointConfig={"uploadIoSizeMB": 1}))
    site.oss.rules(
        [{"match": {"op": "InitiateMultipartUpload"}, "action": {"truncate_body": True}, "times": 2}]
    )
    data = content(2 << 20)
    with checkpoint.writer("oss://bucket/big") as writer:
        writer.write(data)
    assert by_stream("oss://bucket/big", site.arguments) == data
