"""Answers that refuse, lie or are damaged: F18, F24, F26, F27, F28, F31, F34, F35, F36, F38, F41, F42."""

from __future__ import annotations

import email.utils
import socket
import time

import pytest
from reading import (
    MIB,
    MOST_REQUESTS,
    QUICK,
    always,
    by_iterable,
    by_map,
    by_readinto,
    by_stream,
    content,
    drained,
    gets,
    once,
    quick,
)

from osstorchconnector import OssCheckpoint, OssIterableDataset, OssMapDataset
from osstorchconnector.errors import (
    IntegrityError,
    NotFoundError,
    ObjectChangedError,
    PermissionDeniedError,
    ProtocolError,
    ServiceError,
    ThrottledError,
)

SIZE = 300_000
DATA = content(SIZE)
DATASETS = [OssIterableDataset, OssMapDataset]
HTML = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


@pytest.mark.parametrize("read", [by_readinto, by_map, by_iterable])
def test_f18_a_flipped_bit_is_fetched_again_and_never_delivered(read, wire):
    [uri] = wire.fill({"a": DATA})
    wire.oss.rules([{"match": {"op": "GetObject"}, "action": {"flip_bit": 1_234_567}, "times": 2}])
    assert read(uri, quick(wire)) == DATA
    assert len(gets(wire)) == 3


@pytest.mark.parametrize("read", [by_map, by_iterable])
@pytest.mark.parametrize("bit", [0, 8 * SIZE - 1, None])
def test_f18_an_object_that_is_always_damaged_is_an_integrity_error(read, bit, wire):
    [uri] = wire.fill({"a": DATA})
    wire.oss.rules(always({"flip_bit": True if bit is None else bit}))
    with pytest.raises(IntegrityError, match="CRC-64") as damaged:
        read(uri, quick(wire))
    assert len(gets(wire)) == 4
    assert damaged.value.uri.startswith(uri)
    assert damaged.value.errno == 5


@pytest.mark.parametrize("size", [SIZE, 5 * MIB])
def test_f18_memory_of_the_callers_own_is_checked_before_readinto_returns(size, site):
    [uri] = site.fill({"a": content(size)})
    site.oss.rules(always({"flip_bit": 77}))
    with pytest.raises(IntegrityError, match="CRC-64"):
        by_readinto(uri, quick(site))
    # Two ranges for the larger object, then it alone in one request.
    assert len(gets(site)) <= 4 + (size > 4 * MIB)


def test_f18_a_stream_raises_with_its_last_bytes_instead_of_ending(wire):
    [uri] = wire.fill({"a": DATA})
    wire.oss.rules(once({"flip_bit": 99}))
    with OssCheckpoint(**quick(wire)).reader(uri) as reader:
        before = reader.read(100_000)
        assert len(before) == 100_000
        with pytest.raises(IntegrityError, match="CRC-64"):
            drained(reader, 50_000)
        # One who tries again must not get the tail, and then the end.
        for read in (
            reader.read,
            reader.readline,
            lambda: reader.read(10),
            lambda: reader.readinto(bytearray(9)),
        ):
            with pytest.raises(IntegrityError, match="read again from the start"):
                read()
        reader.seek(0)
        assert drained(reader, 50_000) == DATA


def test_f18_a_read_from_the_start_that_met_damage_can_be_tried_again(site):
    data = content(2 * MIB).replace(b"\n", b"-")
    [uri] = site.fill({"a": data})
    site.oss.rules(once({"flip_bit": 99}))
    with OssCheckpoint(**quick(site)).reader(uri) as reader:
        with pytest.raises(IntegrityError, match="read again from the start"):
            reader.readline()
        assert reader.tell() == 0
        assert reader.readline() == data


@pytest.mark.parametrize("way", ["read", "readline"])
def test_f08_a_read_that_fails_half_way_leaves_the_position_where_it_was(way, site):
    data = content(2 * MIB).replace(b"\n", b"-")
    [uri] = site.fill({"a": data})
    # Begins in the first part, which is received, and ends in one that never comes.
    site.oss.rules(always({"status": 403, "code": "AccessDenied"}, range="bytes=262144-*"))
    with OssCheckpoint(**quick(site)).reader(uri) as reader:
        assert reader.read(1000) == data[:1000]
        with pytest.raises(PermissionDeniedError):
            getattr(reader, way)(500_000)
        assert reader.tell() == 1000
        site.oss.rules([])
        assert getattr(reader, way)(500_000) == data[1000:501_000]
        assert reader.read() == data[501_000:]


@pytest.mark.parametrize("size", [600_000, MIB])
def test_f18_what_is_read_again_after_a_failure_is_compared_with_the_rest(size, site):
    [uri] = site.fill({"a": content(3 * MIB)})
    site.oss.rules(always({"status": 403, "code": "AccessDenied"}, range="bytes=524288-*"))
    with OssCheckpoint(**quick(site)).reader(uri) as reader:
        reader.read(1000)
        with pytest.raises(PermissionDeniedError):
            reader.read(600_000)
        site.oss.rules(always({"flip_bit": 99}))
        with pytest.raises(IntegrityError):
            drained(reader, size)


def test_f38_without_a_version_nothing_is_read(site):
    """Between two reads the object could be replaced by one of the same size."""
    [uri] = site.fill({"a": DATA})
    site.oss.rules([{"match": {"op": "HeadObject"}, "action": {"drop_headers": ["ETag"]}}])
    with OssCheckpoint(**quick(site)).reader(uri) as reader:
        with pytest.raises(ProtocolError, match="ETag"):
            reader.readinto(bytearray(1000))
        site.oss.rules([])
        assert reader.read() == DATA


@pytest.mark.parametrize("kind", DATASETS)
def test_f18_among_many_samples_only_whole_ones_are_delivered(kind, site):
    site.oss.fill("bucket", "p/", 100, 20_000)
    clean = [sample.read() for sample in kind.from_prefix("oss://bucket/p/", **site.arguments)]
    action = {"match": {"op": "GetObject", "probability": 0.1}, "action": {"flip_bit": True}}
    site.oss.rules([action], seed=7)
    dataset = kind.from_prefix("oss://bucket/p/", **quick(site))
    assert [sample.read() for sample in dataset] == clean
    stats, hits = dataset.stats(), site.oss.rule_hits()[0]["hits"]
    assert hits - stats.get("hedges_sent", 0) <= stats["crc_mismatched"] <= hits
    assert stats["crc_mismatched"] > 4


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("target", ["same", "other", "loop", None])
@pytest.mark.parametrize("read", [by_stream, by_map])
def test_f24_a_redirect_is_never_followed(read, target, status, site):
    [uri] = site.fill({"a": DATA, "b": DATA})[:1]
    with socket.create_server(("127.0.0.1", 0)) as other:
        host = f"127.0.0.1:{other.getsockname()[1]}"
        locations = {
            "same": f"{site.oss.endpoint}/bucket/b",
            "other": f"http://user:secret@{host}/bucket/a?token=canary",
            "loop": f"{site.oss.endpoint}/bucket/a",
        }
        site.oss.rules([{"action": {"redirect": {"status": status, "location": locations.get(target)}}}])
        with pytest.raises(ProtocolError, match="endpoint or region") as refused:
            read(uri, quick(site))
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()
    text = str(refused.value)
    expected = {"other": host, None: "an unnamed place"}.get(
        target, site.oss.endpoint.removeprefix("http://")
    )
    assert expected in text
    assert "canary" not in text
    assert "secret" not in text
    assert refused.value.status == status
    assert len(site.oss.requests()) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize("body", [None, ""])
@pytest.mark.parametrize("kind", DATASETS)
def test_f26_a_failing_service_is_asked_again(kind, body, status, site):
    site.oss.fill("bucket", "p/", 100, 2000)
    clean = [sample.read() for sample in kind.from_prefix("oss://bucket/p/", **site.arguments)]
    action = {"status": status} if body is None else {"status": status, "body": body}
    site.oss.rules([{"match": {"probability": 0.3}, "action": action}], seed=status)
    dataset = kind.from_prefix("oss://bucket/p/", **quick(site))
    assert [sample.read() for sample in dataset] == clean
    stats, hits = dataset.stats(), site.oss.rule_hits()[0]["hits"]
    # A second request for what is late may be refused, too; the first one goes on.
    assert hits - stats.get("hedges_sent", 0) <= stats["retries_server"] <= hits
    assert stats["retries_server"] > 10


def test_f26_a_save_survives_a_failing_service(site):
    site.fill({"other": b"x"})
    site.oss.rules([{"match": {"probability": 0.3}, "action": {"status": 503}}], seed=3)
    arguments = site.configured(network=QUICK, checkpointConfig={"uploadIoSizeMB": 1})
    data = content(6 * MIB)
    with OssCheckpoint(**arguments).writer("oss://bucket/big") as writer:
        writer.write(data)
    assert by_readinto("oss://bucket/big", arguments) == data
    assert site.oss.rule_hits()[0]["hits"] > 2


@pytest.mark.parametrize("read", [by_stream, by_map])
def test_f27_a_gateways_html_is_retried_by_its_status(read, site):
    [uri] = site.fill({"a": DATA})
    html = {"status": 502, "body": HTML, "drop_headers": ["Date", "x-oss-request-id", "Content-Type"]}
    site.oss.rules([{"match": {"op": "GetObject"}, "action": html, "times": 3}])
    assert read(uri, quick(site)) == DATA
    site.oss.rules(always(html))
    with pytest.raises(ServiceError) as failed:
        read(uri, quick(site, deadlineSeconds=1))
    assert (failed.value.status, failed.value.request_id) == (502, "")
    assert "502 Bad Gateway" in str(failed.value)
    assert failed.value.attempts <= MOST_REQUESTS


def soon(seconds):
    """Say a moment from now as an HTTP date."""
    return email.utils.formatdate(time.time() + seconds, usegmt=True)


@pytest.mark.parametrize(
    ("status", "headers", "least_ms"),
    [
        (429, {"Retry-After": "1"}, 1000),
        (503, {"Retry-After": "date"}, 1000),
        (429, {"x-oss-qos-delay-time": "700"}, 700),
        (503, {"x-oss-qos-delay-time": "700", "Retry-After": "3600"}, 700),
    ],
)
def test_f28_no_request_comes_before_the_time_the_service_named(status, headers, least_ms, site):
    site.oss.fill("bucket", "p/", 200, 1000)
    arguments = quick(site, deadlineSeconds=8)
    dataset = OssIterableDataset.from_prefix("oss://bucket/p/", **arguments)
    dataset.prepare()
    # Who did not wait would still be asking, a hundred of them, long after the answer.
    site.oss.shape(first_byte_ms=40)
    said = {name: soon(3) if value == "date" else value for name, value in headers.items()}
    throttle = {"status": status, "code": "QpsLimitExceeded", "headers": said}
    site.oss.rules([{"match": {"op": "GetObject", "nth": [5]}, "action": throttle}])
    assert len(list(dataset)) == 200
    asked = gets(site)
    throttled = next(entry for entry in asked if entry["status"] == status)
    told_at = throttled["started_ms"] + throttled["elapsed_ms"]
    after = [entry["started_ms"] - told_at for entry in asked if entry["sequence"] > throttled["sequence"]]
    # What was on its way when the answer came may still arrive: no more than the first window has.
    assert len([ms for ms in after if 100 < ms < least_ms - 5]) < 16
    assert max(after) >= least_ms - 5
    assert dataset.stats()["throttled"] == 1


@pytest.mark.parametrize("value", ["-5", "soon", "0"])
def test_f28_a_time_that_makes_no_sense_is_no_wait(value, site):
    [uri] = site.fill({"a": DATA})
    site.oss.rules(once({"status": 429, "headers": {"Retry-After": value}}))
    started = time.monotonic()
    assert by_map(uri, quick(site)) == DATA
    assert time.monotonic() - started < QUICK["deadlineSeconds"]
    assert len(gets(site)) == 2


@pytest.mark.parametrize("value", ["30", "1000000000", "99999999999999999999999999"])
def test_f28_a_wait_beyond_the_deadline_ends_the_operation_at_once(value, site):
    [uri] = site.fill({"a": DATA})
    site.oss.rules(once({"status": 503, "headers": {"Retry-After": value}}))
    started = time.monotonic()
    with pytest.raises(ThrottledError, match="slow down") as refused:
        by_map(uri, quick(site))
    assert time.monotonic() - started < QUICK["deadlineSeconds"] / 2
    assert refused.value.request_id
    assert len(gets(site)) == 1


@pytest.mark.parametrize("read", [by_stream, by_map, by_iterable])
def test_f31_a_refused_signature_is_final_and_says_what_was_signed(read, site):
    [uri] = site.fill({"a": DATA})
    keys = f'{{"AccessKeyId": "{site.oss.access_key_id}", "AccessKeySecret": "canary-secret"}}'
    (site.directory / "credentials").write_text(keys)
    with pytest.raises(PermissionDeniedError) as refused:
        read(uri, quick(site))
    text = str(refused.value)
    for named in ("method", "bucket", "key", "query", "x-oss-", "region", "endpoint", uri):
        assert named in text
    assert "canary-secret" not in text
    assert refused.value.code == "SignatureDoesNotMatch"
    assert refused.value.request_id
    assert len(site.oss.requests()) == 1


@pytest.mark.parametrize("read", [by_stream, by_map, by_iterable])
def test_f31_a_signature_for_another_region_is_final_and_names_both(read, site):
    [uri] = site.fill({"a": DATA})
    with pytest.raises(
        PermissionDeniedError, match=r"endpoint 127\.0\.0\.1.* region cn-elsewhere"
    ) as refused:
        read(uri, {**quick(site), "region": "cn-elsewhere"})
    assert uri in str(refused.value)
    assert refused.value.request_id
    assert len(site.oss.requests()) == 1


@pytest.mark.parametrize("read", [by_stream, by_map, by_iterable])
def test_f34_a_denied_access_is_final_and_names_the_right(read, site):
    [uri] = site.fill({"a": DATA})
    site.oss.rules([{"action": {"status": 403, "code": "AccessDenied"}}])
    with pytest.raises(PermissionDeniedError, match="right oss:GetObject") as denied:
        read(uri, quick(site))
    assert uri in str(denied.value)
    assert (denied.value.code, denied.value.status) == ("AccessDenied", 403)
    assert denied.value.request_id
    assert len(site.oss.requests()) == 1


def test_f34_a_denied_write_is_final_and_names_the_right(site):
    site.fill({"other": b"x"})
    site.oss.rules([{"action": {"status": 403, "code": "AccessDenied"}}])
    writer = OssCheckpoint(**quick(site)).writer("oss://bucket/a")
    writer.write(b"x")
    with pytest.raises(PermissionDeniedError, match="oss:PutObject"):
        writer.close()
    assert len(site.oss.requests()) == 1


@pytest.mark.parametrize("seconds", [-20 * 60, 20 * 60, 3600, 24 * 3600])
@pytest.mark.parametrize("kind", DATASETS)
def test_f35_a_clock_that_differs_is_learned_once(kind, seconds, wire):
    [uri] = wire.fill({"a": DATA})
    wire.oss.clock(seconds)
    dataset = kind.from_objects([uri], **quick(wire))
    for _ in range(3):
        assert [sample.read() for sample in dataset] == [DATA]
    assert [entry["status"] for entry in gets(wire)] == [403, 200, 200, 200]
    assert dataset.stats()["retries_clock"] == 1


def test_f35_a_clock_that_cannot_be_learned_is_an_error_that_says_so(site):
    [uri] = site.fill({"a": DATA})
    site.oss.rules(always({"status": 403, "code": "RequestTimeTooSkewed", "drop_headers": "Date"}))
    with pytest.raises(PermissionDeniedError, match="set the clock"):
        by_map(uri, quick(site))
    assert len(gets(site)) == 1


@pytest.mark.parametrize("read", [by_stream, by_readinto, by_map, by_iterable])
def test_f36_missing_objects_and_buckets_are_final_and_told_apart(read, site):
    site.fill({"a": DATA})
    texts = []
    for uri, code in (("oss://bucket/gone", "NoSuchKey"), ("oss://no-such-bucket/a", "NoSuchBucket")):
        before = len(site.oss.requests())
        with pytest.raises(NotFoundError) as missing:
            read(uri, quick(site))
        assert len(site.oss.requests()) == before + 1
        assert uri in str(missing.value)
        assert missing.value.request_id
        assert missing.value.errno == 2
        assert missing.value.code == code
        texts.append(str(missing.value))
    assert "object" in texts[0].partition(" [")[0]
    assert "bucket" in texts[1].partition(": ")[2].partition(" [")[0]


def whole_or_changed(read, uri, arguments):
    """Return what was read, or the error."""
    try:
        return read(uri, arguments)
    except ObjectChangedError as changed:
        return changed


@pytest.mark.parametrize("read", [by_stream, by_readinto])
def test_f38_an_object_replaced_between_ranges_is_never_mixed(read, wire):
    old, new = b"A" * (12 * MIB), b"B" * (12 * MIB)
    [uri] = wire.fill({"a": old})
    replacement = {"replace_object": {"body": {"repeat": "B", "count": len(new)}}}
    wire.oss.rules([{"match": {"op": "GetObject", "nth": [3]}, "action": replacement}])
    outcome = whole_or_changed(read, uri, quick(wire))
    if isinstance(outcome, ObjectChangedError):
        assert outcome.errno == 116
        assert "list again" in str(outcome)
        assert uri in str(outcome)
    else:
        assert outcome == new
    assert wire.oss.rule_hits()[0]["hits"] == 1
    assert by_readinto(uri, quick(wire)) == new


def test_f38_what_was_told_of_one_version_is_not_followed_by_another(site):
    [uri] = site.fill({"a": b"A" * (4 * MIB)})
    with OssCheckpoint(**quick(site)).reader(uri) as reader:
        assert reader.read(10) == b"A" * 10
        site.fill({"a": b"B" * (4 * MIB)})
        pieces = []
        with pytest.raises(ObjectChangedError):
            pieces.extend(iter(lambda: reader.read(MIB // 2), b""))
    assert set(b"".join(pieces)) <= {ord("A")}


@pytest.mark.parametrize(
    "lie",
    [
        {"ignore_range": True},
        {"content_range": "bytes 0-9/300000"},
        {"content_range": "bytes 5-4/3"},
        {"drop_headers": "Content-Range"},
        {"drop_headers": "Content-Range", "headers": {"Content-Type": "multipart/byteranges; boundary=x"}},
        {"status": 204},
    ],
    ids=["whole", "other", "senseless", "none", "multipart", "204"],
)
def test_f41_an_answer_to_another_question_is_refused(lie, wire):
    [uri] = wire.fill({"a": DATA})
    wire.oss.rules(always(lie, range="any"))
    with OssCheckpoint(**quick(wire)).reader(uri) as reader:
        reader.seek(1000)
        with pytest.raises(ProtocolError) as refused:
            reader.read(1000)
    assert uri in str(refused.value)
    attempts = [entry for entry in gets(wire) if entry["headers"]["range"].startswith("bytes=1000-")]
    assert len(attempts) == 4
    assert len({entry["connection"] for entry in attempts}) == 4


@pytest.mark.parametrize("lie", [{"ignore_range": True}, {"content_range": "bytes 0-9/300000"}])
def test_f41_one_wrong_answer_is_repaired(lie, wire):
    [uri] = wire.fill({"a": DATA})
    wire.oss.rules(once(lie, range="any"))
    assert by_stream(uri, quick(wire)) == DATA


@pytest.mark.parametrize("kind", DATASETS)
def test_f42_an_object_deleted_after_the_listing_is_an_error_by_default(kind, wire):
    uris = wire.fill({"p/a": b"1", "p/b": b"2", "p/c": b"3"})
    dataset = kind.from_prefix("oss://bucket/p/", **quick(wire))
    assert dataset.prepare() == 3
    wire.oss.rules(always({"delete_object": True}, key="p/b"))
    with pytest.raises(NotFoundError, match="on_missing") as missing:
        list(dataset)
    assert missing.value.uri.startswith(uris[1])
    assert missing.value.request_id
    assert len([entry for entry in gets(wire) if entry["key"] == "p/b"]) == 1


@pytest.mark.parametrize("kind", DATASETS)
def test_f42_a_deleted_object_can_be_left_out_and_is_counted(kind, wire):
    wire.fill({"p/a": b"1", "p/b": b"2", "p/c": b"3"})
    seen = []

    def remember(sample):
        seen.append(sample)
        return sample.read()

    dataset = kind.from_prefix("oss://bucket/p/", transform=remember, on_missing="skip", **quick(wire))
    assert dataset.prepare() == 3
    wire.oss.rules(always({"delete_object": True}, key="p/b"))
    assert list(dataset) == [b"1", b"3"]
    assert len(dataset) == 3
    assert None not in seen
    assert dataset.stats()["dataset_missing_skipped"] == 1
