"""`OssCheckpoint`: what is saved comes back, and what fails leaves the old object."""

from __future__ import annotations

import gc
import gzip
import io
import logging
import os
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from osstorchconnector import OssCheckpoint
from osstorchconnector.errors import AlreadyExistsError, ForkedHandleError, NotFoundError

URI = "oss://bucket/ckpt/e0"
MIB = 1 << 20
SMALL_PARTS = {"checkpointConfig": {"uploadIoSizeMB": 1, "uploadBufferSizeMB": 4}}


@pytest.fixture
def checkpoint(site):
    site.fill({"exists": b"x"})
    return OssCheckpoint(**site.arguments)


@pytest.fixture
def in_parts(site):
    site.fill({"exists": b"x"})
    return OssCheckpoint(**site.configured(**SMALL_PARTS))


def stored(checkpoint, uri=URI):
    with checkpoint.reader(uri) as reader:
        return reader.read()


def operations(site):
    return [entry["operation"] for entry in site.oss.requests()]


def pattern(size):
    return np.random.default_rng(7).integers(0, 256, size, dtype=np.uint8).tobytes()


def test_a_state_dict_comes_home(checkpoint):
    state = {"weights": torch.randn(300, 300), "step": torch.tensor(7), "name": "epoch"}
    with checkpoint.writer(URI) as writer:
        torch.save(state, writer)
    for weights_only in (True, False):
        with checkpoint.reader(URI) as reader:
            loaded = torch.load(reader, weights_only=weights_only)
        assert torch.equal(loaded["weights"], state["weights"])
        assert (int(loaded["step"]), loaded["name"]) == (7, "epoch")


def test_a_large_state_goes_in_parts_and_comes_home(site, in_parts):
    state = {f"layer{number}": torch.randn(512, 512) for number in range(8)}
    with in_parts.writer(URI) as writer:
        torch.save(state, writer)
    assert operations(site).count("UploadPart") > 4
    assert "DeleteObject" not in operations(site)
    with in_parts.reader(URI) as reader:
        loaded = torch.load(reader, weights_only=True)
    assert all(torch.equal(loaded[name], state[name]) for name in state)


@pytest.mark.parametrize("size", [0, 1, 100_000, MIB - 1, MIB, MIB + 1, 3 * MIB, 5 * MIB + 17])
def test_every_size_round_trips(size, site, in_parts):
    data = pattern(size)
    with in_parts.writer(URI) as writer:
        for start in range(0, size, 300_000):
            writer.write(memoryview(data)[start : start + 300_000])
        assert writer.size == size
    assert stored(in_parts) == data
    if size <= MIB:
        assert operations(site).count("PutObject") == 1


def test_one_write_larger_than_the_window_round_trips(in_parts):
    data = pattern(9 * MIB + 5)
    with in_parts.writer(URI) as writer:
        assert writer.write(data) == len(data)
    assert stored(in_parts) == data


def test_the_buffer_may_be_reused_when_write_returns(in_parts):
    buffer, expected = bytearray(700_000), b""
    with in_parts.writer(URI) as writer:
        for number in range(8):
            buffer[:] = bytes([number]) * len(buffer)
            writer.write(buffer)
            expected += bytes(buffer)
            buffer[:] = b"\xff" * len(buffer)
    assert stored(in_parts) == expected


def test_a_writer_that_wrote_nothing_leaves_an_empty_object(checkpoint):
    checkpoint.writer(URI).close()
    assert stored(checkpoint) == b""


def test_nothing_is_visible_before_the_end_and_the_old_object_stays_until_then(checkpoint):
    with checkpoint.writer(URI) as writer:
        writer.write(b"old")
    with checkpoint.writer(URI) as writer:
        writer.write(b"new")
        writer.flush()
        writer.close()
        assert stored(checkpoint) == b"old"
    assert stored(checkpoint) == b"new"


def changes(site):
    return [entry["change"] for entry in site.oss.journal() if "change" in entry]


@pytest.mark.parametrize("written", [10, 3 * MIB])
@pytest.mark.parametrize("wrapped", [False, True])
def test_f61_an_exception_aborts_and_leaves_the_old_object(written, wrapped, site, in_parts):
    with in_parts.writer(URI) as writer:
        writer.write(b"old")
    published = changes(site).count("put") + changes(site).count("complete")

    def save():
        with in_parts.writer(URI) as writer:
            target = gzip.GzipFile(fileobj=writer, mode="wb", compresslevel=0) if wrapped else writer
            target.write(pattern(written))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        save()
    assert stored(in_parts) == b"old"
    assert changes(site).count("put") + changes(site).count("complete") == published
    assert "CompleteMultipartUpload" not in operations(site)
    assert operations(site).count("InitiateMultipartUpload") <= operations(site).count("AbortMultipartUpload")


def test_f61_a_torch_save_that_fails_publishes_nothing(checkpoint):
    class Unpicklable:
        def __reduce__(self):
            raise ZeroDivisionError

    def save():
        with checkpoint.writer(URI) as writer:
            torch.save({"weights": torch.zeros(10), "bad": Unpicklable()}, writer)

    with pytest.raises(ZeroDivisionError):
        save()
    with pytest.raises(NotFoundError):
        stored(checkpoint)


@pytest.mark.parametrize("written", [10, 3 * MIB])
@pytest.mark.filterwarnings("default::ResourceWarning")
def test_f62_a_dropped_writer_saves_nothing_and_says_so(written, site, in_parts, caplog):
    writer = in_parts.writer(URI)
    writer.write(pattern(written))
    with pytest.warns(ResourceWarning, match="NOTHING WAS SAVED"):
        del writer
    assert [record.levelno for record in caplog.records].count(logging.ERROR) == 1
    with pytest.raises(NotFoundError):
        stored(in_parts)
    assert "CompleteMultipartUpload" not in operations(site)


EXITING = """
from osstorchconnector import OssCheckpoint
writer = OssCheckpoint().writer("oss://bucket/ckpt/e0")
writer.write(bytes({written}))
"""


def test_f62_exit_with_an_open_writer_saves_nothing_and_says_so_on_stderr(site, checkpoint):
    run = subprocess.run(
        [sys.executable, "-c", EXITING.format(written=20 * MIB)],
        env={**os.environ, **site.oss.environ()}, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert f"writer for {URI} dropped without close(): NOTHING WAS SAVED; use 'with'" in run.stderr
    with pytest.raises(NotFoundError):
        stored(checkpoint)


def test_f72_a_forked_childs_copy_is_dead_and_the_parent_publishes(site, in_parts):
    with in_parts.writer(URI) as writer:
        writer.write(pattern(2 * MIB))
        child = os.fork()
        if child == 0:
            status = 1
            try:
                writer.write(b"x")
            except ForkedHandleError:
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        writer.write(b"end")
    assert stored(in_parts) == pattern(2 * MIB) + b"end"
    assert "AbortMultipartUpload" not in operations(site)


def test_if_absent_refuses_to_replace(checkpoint):
    with checkpoint.writer(URI, if_absent=True) as writer:
        writer.write(b"first")

    def again():
        with checkpoint.writer(URI, if_absent=True) as writer:
            writer.write(b"second")

    with pytest.raises(AlreadyExistsError):
        again()
    assert stored(checkpoint) == b"first"


def test_streams_outlive_their_checkpoint_object(site):
    site.fill({"k": b"data"})
    reader = OssCheckpoint(**site.arguments).reader("oss://bucket/k")
    writer = OssCheckpoint(**site.arguments).writer(URI)
    gc.collect()
    writer.write(reader.read())
    writer.close()
    assert stored(OssCheckpoint(**site.arguments)) == b"data"


def test_it_pickles_by_value_and_its_streams_do_not(site, checkpoint):
    site.fill({"k": b"data"})
    pickled = pickle.dumps(checkpoint)
    assert site.oss.access_key_secret.encode() not in pickled
    assert stored(pickle.loads(pickled), "oss://bucket/k") == b"data"
    with checkpoint.reader("oss://bucket/k") as reader, pytest.raises(TypeError, match="open stream"):
        pickle.dumps(reader)


def test_opening_sends_nothing_and_a_missing_object_is_named_at_the_first_read(site, checkpoint):
    before = len(site.oss.requests())
    reader = checkpoint.reader("oss://bucket/gone")
    assert len(site.oss.requests()) == before
    with pytest.raises(NotFoundError, match="oss://bucket/gone"):
        reader.read(1)


def test_wrong_uris_are_value_errors(checkpoint):
    for uri in ("", "oss://", "oss://bucket", "oss://bucket/", "s3://b/k", "relative"):
        for opening in (checkpoint.reader, checkpoint.writer):
            with pytest.raises(ValueError, match=r"oss_uri"):
                opening(uri)
    with pytest.raises(ValueError, match="endpoint"):
        OssCheckpoint("")


def test_the_size_is_true_and_empty_objects_are_readable(site, checkpoint):
    site.fill({"k": b"data", "empty": b""})
    reader = checkpoint.reader("oss://bucket/k")
    assert (reader.size, reader.key, reader.tell()) == (4, "/bucket/k", 0)
    empty = checkpoint.reader("oss://bucket/empty")
    assert (empty.read(), empty.size, empty.read(5), empty.readline()) == (b"", 0, b"", b"")


def test_libraries_read_through_it(site, checkpoint):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("name", b"member")
    array = io.BytesIO()
    np.save(array, np.arange(1000))
    site.fill({"zip": packed.getvalue(), "npy": array.getvalue(), "text": "zwölf\nzwei\n".encode()})
    with zipfile.ZipFile(checkpoint.reader("oss://bucket/zip")) as archive:
        assert archive.read("name") == b"member"
    assert np.load(checkpoint.reader("oss://bucket/npy")).sum() == 499500
    assert list(io.TextIOWrapper(checkpoint.reader("oss://bucket/text"), encoding="utf-8")) == [
        "zwölf\n",
        "zwei\n",
    ]
    with checkpoint.reader("oss://bucket/text") as reader:
        assert reader.readlines() == ["zwölf\n".encode(), b"zwei\n"]


def test_zip_files_can_be_written_through_it(checkpoint):
    with checkpoint.writer(URI) as writer, zipfile.ZipFile(writer, "w") as archive:
        archive.writestr("name", b"member")
    with zipfile.ZipFile(checkpoint.reader(URI)) as archive:
        assert archive.read("name") == b"member"


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(-1, 200_000)),
        st.tuples(st.just("readinto"), st.integers(0, 3 * MIB)),
        st.tuples(st.just("readline"), st.integers(-1, 5000)),
        st.tuples(st.just("start"), st.integers(0, 7 * MIB)),
        st.tuples(st.just("end"), st.integers(-7 * MIB, 100)),
        st.tuples(st.just("on"), st.integers(-MIB, MIB)),
    ),
    max_size=12,
)
WHENCE = {"start": 0, "on": 1, "end": 2}


def step(stream, name, number):
    if name == "readinto":
        buffer = bytearray(number)
        return stream.readinto(buffer), bytes(buffer)
    if name in WHENCE:
        try:
            return stream.seek(number, WHENCE[name])
        except (OSError, ValueError):
            return "refused"
    return getattr(stream, name)(number)


def test_a_reader_does_what_a_file_does_for_any_order_of_calls(site, checkpoint, tmp_path):
    data = pattern(6 * MIB + 123)
    site.fill({"k": data})
    (tmp_path / "file").write_bytes(data)

    @settings(max_examples=40, deadline=None)
    @given(steps=STEPS)
    def same(steps):
        with checkpoint.reader("oss://bucket/k") as reader, (tmp_path / "file").open("rb") as file:
            for name, number in steps:
                assert step(reader, name, number) == step(file, name, number)
                assert reader.tell() == file.tell()

    same()
