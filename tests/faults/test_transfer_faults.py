"""Bytes that stall, change or vanish on their way in and out: F11, F19, F20, F40, F43, F80, and the replacing race."""

from __future__ import annotations

import copy
import gzip
import itertools
import pickle
import threading
import time

import pytest
from reading import MIB, QUICK, SHORT, always, by_map, by_readinto, by_stream, content, gets, once, quick

from osstorchconnector import (
    DataObject,
    OssCheckpoint,
    OssClient,
    OssIterableDataset,
    OssMapDataset,
    errors,
    new_data_object,
)
from osstorchconnector.errors import (
    ObjectArchivedError,
    ObjectChangedError,
    OssError,
    ProtocolError,
    UploadError,
)

URI = "oss://bucket/ckpt/e0"
DATA = content(300_000)
# Larger than what the sockets of both sides hold.
PARTS = {"uploadIoSizeMB": 16, "uploadBufferSizeMB": 64}
LARGE = content(MIB) * 40


def saving(site, network=QUICK, **parts):
    site.fill({"ckpt/e0": b"the old object"})
    return OssCheckpoint(**site.configured(network=network, checkpointConfig={**PARTS, **parts}))


def save(checkpoint, data):
    with checkpoint.writer(URI) as writer:
        writer.write(data)


def sent_parts(site):
    return [entry["part"] for entry in site.oss.requests("UploadPart")]


def test_f11_a_part_whose_server_stops_reading_goes_again_on_another_connection(site):
    checkpoint = saving(site)
    rule = {"match": {"op": "UploadPart", "nth": [2]}, "action": {"stop_reading": 100_000}}
    site.oss.rules([rule])
    save(checkpoint, LARGE)
    assert by_readinto(URI, site.arguments) == LARGE
    assert sorted(set(sent_parts(site))) == [1, 2, 3]
    assert site.oss.rule_hits()[0]["hits"] == 1
    connections = [entry["connection"] for entry in site.oss.requests("UploadPart")]
    assert len(connections) == 4
    assert len(set(connections)) > 1


def test_f11_an_upload_that_always_stalls_ends_by_the_deadline_and_names_its_part(site):
    checkpoint = saving(site, {**QUICK, **SHORT})
    site.oss.rules([{"match": {"op": "UploadPart", "part": 2}, "action": {"stop_reading": 100_000}}])
    started = time.monotonic()
    with pytest.raises(OssError, match="part 2"):
        save(checkpoint, LARGE)
    assert time.monotonic() - started < 20
    assert by_readinto(URI, site.arguments) == b"the old object"


def test_f19_a_part_damaged_on_its_way_is_sent_again(site):
    checkpoint = saving(site, uploadIoSizeMB=1, uploadBufferSizeMB=4)
    damage = {"flip_bit": {"bit": 12_345, "direction": "in"}}
    site.oss.rules([{"match": {"op": "UploadPart", "part": 2}, "action": damage, "times": 3}])
    data = content(3 * MIB + 5)
    save(checkpoint, data)
    assert by_readinto(URI, site.arguments) == data
    assert sent_parts(site).count(2) == 4
    site.oss.rules([{"match": {"op": "UploadPart", "part": 2}, "action": damage}])
    with pytest.raises(OssError, match=r"CRC-64"):
        save(checkpoint, data[::-1])
    assert by_readinto(URI, site.arguments) == data
    assert sent_parts(site).count(2) == 8


def test_f19_damage_that_was_published_is_told_as_committed(site):
    checkpoint = saving(site)
    site.oss.rules([{"match": {"op": "PutObject"}, "action": {"flip_bit": {"bit": 77, "direction": "in"}}}])
    with pytest.raises(UploadError, match="CRC-64") as damaged:
        save(checkpoint, DATA)
    assert damaged.value.state == "committed"


@pytest.mark.parametrize("read", [by_stream, by_readinto, by_map])
def test_f20_stored_bytes_are_delivered_as_they_are(read, site):
    packed = gzip.compress(DATA)
    [uri] = site.fill({"a": packed})
    site.oss.rules(always({"headers": {"Content-Encoding": "gzip"}}))
    assert read(uri, quick(site)) == packed


@pytest.mark.parametrize("read", [by_stream, by_readinto, by_map])
def test_f20_a_coding_that_something_on_the_way_added_is_refused(read, site):
    [uri] = site.fill({"a": DATA})
    site.oss.rules(always({"headers": {"Content-Encoding": "gzip"}, "drop_headers": ["ETag"]}))
    with pytest.raises(ProtocolError):
        read(uri, quick(site))


def test_f40_a_shrunk_object_has_changed_and_nothing_beyond_the_end_is_asked_for(site):
    [uri] = site.fill({"a": content(9 * MIB)})
    with OssCheckpoint(**quick(site)).reader(uri) as reader:
        assert reader.read(10) == content(9 * MIB)[:10]
        site.fill({"a": b"short"})
        with pytest.raises(ObjectChangedError):
            reader.readinto(bytearray(8 * MIB))


def test_f40_a_416_is_looked_into(site):
    [uri] = site.fill({"a": content(5 * MIB)})
    site.oss.rules(always({"status": 416, "code": "InvalidRange"}, range="any"))
    with OssCheckpoint(**quick(site)).reader(uri) as reader, pytest.raises(ObjectChangedError) as changed:
        reader.readinto(bytearray(5 * MIB))
    assert "list again" in str(changed.value)
    assert len(site.oss.requests("HeadObject")) >= 2
    # Two ranges, and the same once more on whatever version is there now; none is repeated for itself.
    assert len(gets(site)) <= 4


@pytest.mark.parametrize("read", [by_stream, by_readinto, by_map])
def test_f43_an_archived_object_says_how_to_restore_it(read, site):
    [uri] = site.fill({"a": DATA})
    site.oss.rules(always({"archive": True}))
    with pytest.raises(ObjectArchivedError, match="restore") as archived:
        read(uri, quick(site))
    assert isinstance(archived.value, PermissionError)
    assert archived.value.status == 403
    assert len(gets(site)) == 1


def of_one_version(read, uri, arguments):
    """Read once; return the byte that all of it is, or None if it said that the object changed."""
    try:
        data = read(uri, arguments)
    except ObjectChangedError:
        return None
    assert len(data) == 6 * MIB
    assert data.count(data[:1]) == len(data), "two versions in one read"
    return data[:1]


@pytest.mark.parametrize("races", [12, pytest.param(1000, marks=pytest.mark.soak)])
def test_f38_an_object_replaced_again_and_again_is_read_in_one_version(races, site, request):
    request.node.add_marker(pytest.mark.timeout(1800 if races > 12 else 60))
    [uri] = site.fill({"a": b"A" * (6 * MIB)})
    arguments, over = quick(site), threading.Event()

    def replace():
        for letter in itertools.cycle(b"BCDEA"):
            if over.is_set():
                return
            site.fill({"a": bytes([letter]) * (6 * MIB)})

    replacing = threading.Thread(target=replace)
    replacing.start()
    try:
        ways = itertools.cycle([by_readinto, by_stream, by_map])
        seen = [of_one_version(next(ways), uri, arguments) for _ in range(races)]
    finally:
        over.set()
        replacing.join()
    assert any(seen), "not every read may fail"


def public_objects(site, uri):
    """Return every kind of object that users hold, and whether it may be copied."""
    checkpoint = OssCheckpoint(**site.arguments)
    return [
        (checkpoint, True),
        (OssClient(**site.arguments), True),
        (OssIterableDataset.from_prefix("oss://bucket/", **site.arguments), True),
        (OssMapDataset.from_objects([uri], **site.arguments), True),
        (new_data_object(uri, 5, "label"), True),
        (DataObject("/bucket/a"), True),
        (errors.ThrottledError("GET oss://b/k: slow down", uri="oss://b/k", status=503), True),
        (checkpoint.reader(uri), False),
        (checkpoint.writer("oss://bucket/new"), False),
    ]


def test_f80_every_public_object_is_copied_or_refuses_and_tells_no_secret(site):
    [uri] = site.fill({"a": DATA})
    secret = site.oss.access_key_secret
    for thing, may_be_copied in public_objects(site, uri):
        assert secret not in repr(thing)
        assert secret not in repr(getattr(thing, "__dict__", ""))
        for copied in (lambda thing: pickle.loads(pickle.dumps(thing)), copy.deepcopy, copy.copy):
            if not may_be_copied:
                with pytest.raises(
                    TypeError, match=r"cannot be copied or pickled|not possible|cannot pickle"
                ):
                    copied(thing)
                continue
            assert type(copied(thing)) is type(thing)
            assert secret.encode() not in pickle.dumps(thing)
        if hasattr(thing, "abort"):
            thing.abort()
    [dataset] = [thing for thing, _ in public_objects(site, uri) if isinstance(thing, OssMapDataset)]
    assert dataset[0].read() == DATA
    assert pickle.loads(pickle.dumps(dataset))[0].read() == DATA


def test_f08_a_reset_in_ranges_for_many_buffers_is_resumed(site):
    [uri] = site.fill({"a": content(6 * MIB)})
    site.oss.rules(once({"reset_after_bytes": 123_456}))
    with OssCheckpoint(**quick(site)).reader(uri) as reader:
        buffers = [bytearray(MIB) for _ in range(6)]
        reader.readinto_ranges([(at * MIB, buffer) for at, buffer in enumerate(buffers)])
        assert b"".join(buffers) == content(6 * MIB)
