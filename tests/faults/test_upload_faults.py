"""What else may happen to a save: F11, F55, F58, F59, F60, F64, F70, F80, and in how many requests at once it goes."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import subprocess
import sys
import time

import pytest
from reading import MIB, QUICK, by_readinto, content

from osstorchconnector import OssCheckpoint, OssClient
from osstorchconnector.errors import AlreadyExistsError, UploadError

URI = "oss://bucket/ckpt/e0"
OLD = b"the old object"
PARTS = {"uploadIoSizeMB": 1, "uploadBufferSizeMB": 4}
SIZES = {"one put": 1000, "in parts": 3 * MIB + 17}
PUBLISHING = {"one put": "PutObject", "in parts": "CompleteMultipartUpload"}


@pytest.fixture
def saving(wire):
    wire.fill({"ckpt/e0": OLD})
    return OssCheckpoint(**wire.configured(network=QUICK, checkpointConfig=PARTS))


def save(checkpoint, data, uri=URI, **options):
    with checkpoint.writer(uri, **options) as writer:
        for start in range(0, len(data), 300_000):
            writer.write(data[start : start + 300_000])


def made_visible(site, size):
    changes = [entry for entry in site.oss.journal() if entry.get("change") in ("put", "complete")]
    return [entry["change"] for entry in changes if entry["size"] == size]


def test_f11_a_part_that_nobody_takes_goes_again_on_another_connection(wire, saving):
    stall = {"match": {"op": "UploadPart", "part": 2, "nth": 1}, "action": {"stop_reading": 100_000}}
    wire.oss.rules([stall])
    data = content(3 * MIB)
    save(saving, data)
    assert by_readinto(URI, wire.arguments) == data
    sent = [entry for entry in wire.oss.requests("UploadPart") if entry["part"] == 2]
    assert len(sent) == 2
    assert len({entry["connection"] for entry in sent}) == 2


def test_f55_offsets_beyond_four_gib_are_read_where_they_are(site):
    site.fill({"small": b"x"})
    virtual = {"size": 6 << 30, "seed": 5}
    site.oss.rules([{"match": {"key": "huge"}, "action": {"virtual_object": virtual}}])
    with OssCheckpoint(**site.arguments).reader("oss://bucket/huge") as reader:
        assert reader.size == 6 << 30
        # Each page of 4 KiB begins with its number.
        for page in (
            1,
            (1 << 32) // 4096 - 1,
            (1 << 32) // 4096,
            (5 << 30) // 4096 + 1,
            (6 << 30) // 4096 - 1,
        ):
            reader.seek(page * 4096)
            assert int.from_bytes(reader.read(8), "little") == page
            assert reader.tell() == page * 4096 + 8
        reader.seek(-4096, os.SEEK_END)
        assert len(reader.read()) == 4096
        assert reader.read(1) == b""


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_f55_more_than_four_gib_are_written_and_read_back(site):
    # Zeros cost the emulator no memory. Each piece begins with its number.
    piece_bytes, pieces, uri = 48 * MIB, 87, "oss://bucket/huge"
    size = piece_bytes * pieces + 5
    assert (size >> 32) == 1
    site.fill({"small": b"x"})
    checkpoint = OssCheckpoint(**site.arguments)
    piece = bytearray(piece_bytes)
    with checkpoint.writer(uri) as writer:
        for number in range(1, pieces + 1):
            piece[:8] = number.to_bytes(8, "little")
            assert writer.write(piece) == piece_bytes
        writer.write(b"the e")
        assert writer.tell() == size
    assert OssClient(**site.arguments).head_object("bucket", "huge").size == size
    checked = checkpoint.stats()["crc_checked"]
    memory = bytearray(piece_bytes)
    with checkpoint.reader(uri) as reader:
        for number in range(1, pieces + 1):
            piece[:8] = number.to_bytes(8, "little")
            assert reader.readinto(memory) == piece_bytes
            assert memory == piece, number
        assert reader.read() == b"the e"
        # All of it was read, so the checksum of the whole was compared.
        assert checkpoint.stats()["crc_checked"] == checked + 1
        boundary = 1 << 32
        number, within = divmod(boundary, piece_bytes)
        reader.seek((number + 1) * piece_bytes)
        assert reader.read(8) == (number + 2).to_bytes(8, "little")
        reader.seek(boundary - within)
        assert reader.read(within + 16) == (number + 1).to_bytes(8, "little") + bytes(within + 8)


INSIDE = "<Error><Code>InternalError</Code><Message>late</Message></Error>"
ANSWERS = {
    "500 after it was done": ({"commit_then_status": 500}, 1),
    "503 after it was done": ({"commit_then_status": 503}, 1),
    "200 with an error inside": ({"status": 200, "body": INSIDE}, 2),
    "200 cut in the middle": ({"status": 200, "body": "<CompleteMultipa"}, 2),
    "503 before it was done": ({"fail_without_commit": 503}, 2),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_f58_a_complete_whose_answer_cannot_be_believed_is_looked_for(answer, wire, saving):
    action, sent = ANSWERS[answer]
    wire.oss.rules([{"match": {"op": "CompleteMultipartUpload", "nth": 1}, "action": action}])
    data = content(3 * MIB)
    save(saving, data)
    assert by_readinto(URI, wire.arguments) == data
    assert made_visible(wire, len(data)) == ["complete"]
    assert len(wire.oss.requests("CompleteMultipartUpload")) == sent


@pytest.mark.parametrize("careful", [False, True], ids=["replacing", "if absent"])
@pytest.mark.parametrize("answer", ["reset", "silence"])
def test_f59_a_put_that_times_out_but_succeeded_is_a_success(answer, careful, wire, saving):
    action = {"reset": {"commit_then_reset": True}, "silence": {"stall_after_bytes": 0, "count_from": "head"}}
    uri = "oss://bucket/ckpt/new" if careful else URI
    wire.oss.rules([{"match": {"op": "PutObject"}, "action": action[answer]}])
    save(saving, b"small", uri, if_absent=careful)
    assert by_readinto(uri, wire.arguments) == b"small"
    assert made_visible(wire, 5) == ["put"]


def test_f59_the_409_that_our_own_put_made_is_recognised(wire, saving):
    uri = "oss://bucket/ckpt/new"
    wire.oss.rules(
        [
            {"match": {"op": "PutObject", "nth": 1}, "action": {"commit_then_reset": True}},
            {"match": {"op": "HeadObject", "nth": 1}, "action": {"status": 404, "code": "NoSuchKey"}},
        ]
    )
    save(saving, b"small", uri, if_absent=True)
    assert [entry["status"] for entry in wire.oss.requests("PutObject")][1:] == [409]
    assert by_readinto(uri, wire.arguments) == b"small"
    with pytest.raises(AlreadyExistsError):
        save(saving, b"other", uri, if_absent=True)
    assert by_readinto(uri, wire.arguments) == b"small"


def test_f60_the_orphan_of_an_initiate_that_timed_out_is_found_and_removed(wire, saving):
    wire.oss.rules(
        [{"match": {"op": "InitiateMultipartUpload"}, "action": {"commit_then_reset": True}, "times": 1}]
    )
    data = content(3 * MIB)
    save(saving, data)
    client = OssClient(**wire.arguments)
    [orphan] = client.abandoned_uploads("oss://bucket/ckpt/")
    assert (orphan.uri, orphan.shape, orphan.part_count) == (URI, "empty", 0)
    assert client.abandoned_uploads("oss://bucket/ckpt/", older_than_seconds=3600) == []
    client.remove_abandoned(orphan)
    assert client.abandoned_uploads("oss://bucket/") == []
    assert by_readinto(URI, wire.arguments) == data


INTERRUPTED = """
import signal, sys, threading, time
from osstorchconnector import OssCheckpoint
class Stop(BaseException):
    pass
def stop(*_):
    raise Stop
if sys.argv[3] == "SIGTERM":
    signal.signal(signal.SIGTERM, stop)
def publishes():
    frame = sys._current_frames()[threading.main_thread().ident]
    while frame is not None and frame.f_code.co_name != "_publish":
        frame = frame.f_back
    return frame is not None
def tell_when_it_publishes():
    while not publishes():
        time.sleep(0.001)
    print("full", flush=True)
writer = OssCheckpoint(config_path=sys.argv[1]).writer(sys.argv[2])
try:
    with writer:
        writer.write(bytes(4 << 20))
        if sys.argv[4] == "write":
            print("full", flush=True)
            writer.write(bytes(3 << 20))
        else:
            threading.Thread(target=tell_when_it_publishes).start()
except (KeyboardInterrupt, Stop) as leaving:
    print(type(leaving).__name__, flush=True)
# The program goes on, and the writer with it.
sys.stdin.readline()
"""


@pytest.mark.parametrize("waiting", ["write", "close"])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_f64_a_signal_in_a_write_or_close_that_waits_ends_it_at_once_and_nothing_stays(name, waiting, site):
    site.fill({"ckpt/e0": OLD})
    config = site.oss.write_config(site.directory, {"checkpointConfig": PARTS})
    site.oss.rules([{"match": {"op": "UploadPart"}, "action": {"stop_reading": True}}])
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, config, URI, name, waiting],
        env={**os.environ, **site.oss.environ()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "full\n"
        OssClient(**site.arguments).head_object("bucket", "ckpt/e0")
        running.send_signal(signal.Signals[name])
        assert running.stdout.readline() == ("Stop\n" if name == "SIGTERM" else "KeyboardInterrupt\n")
        # By the emulator's clock: the abort is what the exception does first.
        abort, asked_last = site.oss.requests("AbortMultipartUpload")[0], site.oss.requests()[-1]
        assert abort["started_ms"] - site.oss.requests("HeadObject")[-1]["started_ms"] < 1000
        assert asked_last["started_ms"] + asked_last["elapsed_ms"] - abort["started_ms"] < 5000
        assert OssClient(**site.arguments).abandoned_uploads("oss://bucket/") == []
        running.communicate(timeout=20)
        assert running.returncode == 0
    site.oss.rules([])
    assert by_readinto(URI, site.arguments) == OLD


@pytest.mark.parametrize(
    ("hint", "first_part"), [(None, 16 * MIB), (100 << 30, 16 * MIB), (190_000 * MIB, 20 * MIB)]
)
def test_f70_the_hint_chooses_the_size_of_the_parts(hint, first_part, site):
    site.fill({"there": b"an object"})
    with OssCheckpoint(**site.arguments).writer(URI, size_hint_bytes=hint) as writer:
        writer.write(bytes(41 * MIB))
    sizes = {entry["part"]: entry["bytes_in"] for entry in site.oss.requests("UploadPart")}
    assert sizes[1] == sizes[2] == first_part
    assert sum(sizes.values()) == 41 * MIB


def test_f80_writers_can_be_shown_but_not_copied(wire, saving):
    with saving.writer(URI) as writer:
        writer.write(content(2 * MIB))
        for copying in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="open stream"):
                copying(writer)
        assert repr(writer) == f"<ObjectWriter {URI}>"
        assert wire.oss.access_key_secret not in repr(writer) + repr(writer._sink) + repr(saving)
        with pytest.raises(TypeError):
            pickle.dumps(writer._sink)
    assert len(by_readinto(URI, wire.arguments)) == 2 * MIB


@pytest.mark.parametrize("kind", SIZES)
def test_f19_a_bit_that_flips_on_the_way_in_is_never_taken_for_a_saved_object(kind, site):
    site.fill({"ckpt/e0": OLD})
    saving = OssCheckpoint(**site.configured(network=QUICK, checkpointConfig=PARTS))
    data = content(SIZES[kind])
    operation = "PutObject" if kind == "one put" else "UploadPart"
    site.oss.rules([{"match": {"op": operation}, "action": {"flip_bit": "in"}}])
    with pytest.raises(UploadError) as failed:
        save(saving, data)
    # A part is judged before the object is made; one PutObject is judged by its answer.
    assert failed.value.state == ("committed" if kind == "one put" else "not_committed")
    assert "CRC-64" in str(failed.value)
    if kind == "in parts":
        assert by_readinto(URI, site.arguments) == OLD


def rate_of(checkpoint, uri, size):
    data = bytes(size)
    began = time.monotonic()
    with checkpoint.writer(uri) as writer:
        writer.write(data)
    return size / (time.monotonic() - began)


def test_many_parts_on_their_way_reach_ten_times_one_connection(site):
    """At 30 ms to the first byte; the rate of a connection is scaled down, so that this machine is not the limit."""
    site.fill({"there": b"an object"})
    one = OssCheckpoint(**site.configured(checkpointConfig={"uploadIoSizeMB": 1, "uploadConcurrency": 1}))
    many = OssCheckpoint(**site.configured(checkpointConfig={"uploadIoSizeMB": 1, "uploadBufferSizeMB": 16}))
    site.oss.shape(first_byte_ms=30, rate_bytes_per_second=4_000_000)
    alone = rate_of(one, "oss://bucket/one", 4 * MIB)
    ratios = []
    while len(ratios) < 3 and max(ratios, default=0) < 10:
        ratios.append(rate_of(many, "oss://bucket/many", 64 * MIB) / alone)
    assert max(ratios) >= 10, ratios
