"""`DataObject`: the old dialect over the `io` protocol, on bytes in memory."""

from __future__ import annotations

import copy
import errno
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from osstorchconnector.data_object import DataObject, new_data_object
from osstorchconnector.errors import ClosedError
from osstorchconnector.streams import ObjectReader

DATA = b"one\n\ntwo\nthree"


@pytest.fixture
def reader():
    return ObjectReader.of_bytes(DATA, "/bucket/dir/key", "label")


def test_a_delivered_object_tells_its_names(reader):
    assert (reader.key, reader.size, reader.label) == ("/bucket/dir/key", len(DATA), "label")
    assert (reader.uri, reader.name, reader.mode) == ("oss://bucket/dir/key", "oss://bucket/dir/key", "rb")
    assert "oss://bucket/dir/key" in repr(reader)


def test_it_is_a_binary_stream(reader):
    assert isinstance(reader, io.BufferedIOBase)
    assert (reader.readable(), reader.seekable(), reader.writable(), reader.isatty()) == (
        True,
        True,
        False,
        False,
    )
    with pytest.raises(io.UnsupportedOperation):
        reader.fileno()
    with pytest.raises(io.UnsupportedOperation):
        reader.detach()
    with pytest.raises(io.UnsupportedOperation):
        reader.truncate()
    with pytest.raises(io.UnsupportedOperation):
        reader.write(b"x")
    assert reader.flush() is None


def test_reading_everything_returns_the_very_bytes_that_arrived():
    data = bytes(range(256))
    assert ObjectReader.of_bytes(data, "/b/k").read() is data


@pytest.mark.parametrize("arguments", [{}, {"size": -1}, {"size": None}, {"count": 2**64 - 1}, {"count": -1}])
def test_every_old_and_new_way_to_read_all_works(reader, arguments):
    assert reader.read(**arguments) == DATA
    assert reader.read() == b""


def test_count_is_the_old_name_of_size(reader):
    assert reader.read(count=3) == b"one"
    assert reader.read(2**64 - 1) == DATA[3:]


def test_lines_keep_their_ends(reader):
    assert reader.readline() == b"one\n"
    assert reader.readline(0) == b""
    assert reader.readline() == b"\n"
    assert reader.readline(2) == b"tw"
    assert reader.readline(None) == b"o\n"
    assert list(reader) == [b"three"]
    assert reader.readline() == b""
    reader.seek(0)
    assert reader.readlines() == [b"one\n", b"\n", b"two\n", b"three"]
    with pytest.raises(StopIteration):
        next(reader)


def test_seeking_knows_three_origins_and_refuses_what_makes_no_sense(reader):
    assert reader.seek(offset=4, whence=0) == 4
    assert reader.seek(2, 1) == 6
    assert reader.seek(-5, 2) == len(DATA) - 5
    assert reader.read() == b"three"
    for offset, whence in [(-1, 0), (-100, 1), (-100, 2), (0, 3), (0, -1)]:
        with pytest.raises(ValueError, match=r"position|whence"):
            reader.seek(offset, whence)
    assert reader.tell() == len(DATA)
    with pytest.raises(TypeError):
        reader.seek(1.5)


def test_reading_past_the_end_gives_nothing(reader):
    assert reader.seek(1000) == 1000
    assert reader.read() == b""
    assert reader.read(5) == b""
    assert reader.readinto(bytearray(4)) == 0


def test_readinto_fills_any_writable_contiguous_buffer(reader):
    target = np.zeros(3, dtype=np.uint8)
    assert reader.readinto(target) == 3
    assert target.tobytes() == b"one"
    wide = np.zeros((1, 1), dtype=np.uint32)
    assert reader.readinto(wide) == 4
    assert wide.tobytes() == DATA[3:7]
    assert reader.readinto1(bytearray(2)) == 2
    assert reader.readinto(bytearray()) == 0
    with pytest.raises(BufferError):
        reader.readinto(b"fixed")
    with pytest.raises(BufferError):
        reader.readinto(np.zeros(8, dtype=np.uint8)[::2])


def test_read1_gives_at_most_what_was_asked(reader):
    assert reader.read1(3) == b"one"
    assert reader.read1() == DATA[3:]


def test_assigning_names_changes_nothing_that_is_read(reader):
    reader.key, reader.size, reader.label = "other", 3, "changed"
    assert (reader.key, reader.size, reader.label) == ("other", 3, "changed")
    assert reader.uri == "oss://bucket/dir/key"
    assert reader.seek(0, 2) == len(DATA)
    reader.seek(0)
    assert reader.read() == DATA


def test_copy_returns_the_object_itself(reader):
    assert reader.copy() is reader


def test_after_close_every_use_is_a_value_error_and_names_stay(reader):
    with reader as same:
        assert same is reader
        assert not reader.closed
    reader.close()
    assert reader.closed
    assert (reader.key, reader.size) == ("/bucket/dir/key", len(DATA))
    for use in (
        reader.read,
        reader.readline,
        reader.tell,
        reader.flush,
        lambda: reader.seek(0),
        lambda: reader.readinto(bytearray(1)),
    ):
        with pytest.raises(ClosedError) as refused:
            use()
        assert isinstance(refused.value, ValueError)
    with pytest.raises(ValueError, match="closed"):
        list(reader)


class FailsOnce:
    """A source whose first read fails."""

    failures = 1

    def read(self, size):
        if self.failures:
            self.failures -= 1
            raise TimeoutError(errno.ETIMEDOUT, "too slow")
        return b"data"

    def close(self):
        pass


def test_err_tells_the_last_failure_and_is_cleared_by_success():
    reader = ObjectReader(FailsOnce(), "/b/k")
    assert (reader.err(), reader.error_msg()) == (0, "")
    with pytest.raises(TimeoutError):
        reader.read()
    assert reader.err() == errno.ETIMEDOUT
    assert "too slow" in reader.error_msg()
    assert reader.read() == b"data"
    assert (reader.err(), reader.error_msg()) == (0, "")


@pytest.mark.parametrize("copying", [pickle.dumps, copy.copy, copy.deepcopy])
def test_an_open_stream_cannot_be_copied_and_says_why(reader, copying):
    with pytest.raises(TypeError, match="open stream"):
        copying(reader)


def test_a_detached_object_pickles_as_its_three_fields():
    detached = new_data_object("oss://b/k", 5, "x")
    for again in (pickle.loads(pickle.dumps(detached)), copy.copy(detached), copy.deepcopy(detached)):
        assert type(again) is DataObject
        assert (again.key, again.size, again.label) == ("oss://b/k", 5, "x")


def test_a_detached_object_keeps_its_text_and_refuses_to_be_read():
    detached = new_data_object("oss://b/k")
    assert (detached.key, detached.size, detached.label, detached.uri) == ("oss://b/k", 0, "", "oss://b/k")
    with pytest.raises(io.UnsupportedOperation):
        detached.read()
    assert detached.err() == errno.ENOSYS


def test_new_data_object_checks_its_arguments():
    assert new_data_object("/b/k", label=None).label == ""
    for wrong in ("k", "s3://b/k", ""):
        with pytest.raises(ValueError, match="key"):
            new_data_object(wrong)
    with pytest.raises(TypeError, match="label"):
        new_data_object("/b/k", label=3)  # type: ignore[arg-type]
    for key, size in ((3, 0), (b"/b/k", 0), ("/b/k", "3"), ("/b/k", 1.5)):
        with pytest.raises(TypeError):
            new_data_object(key, size)


def test_libraries_that_take_files_take_it():
    text = io.TextIOWrapper(ObjectReader.of_bytes("zwölf\nzwei".encode(), "/b/k"), encoding="utf-8")
    assert text.readlines() == ["zwölf\n", "zwei"]
    saved = io.BytesIO()
    np.save(saved, np.arange(3))
    assert np.load(ObjectReader.of_bytes(saved.getvalue(), "/b/k")).tolist() == [0, 1, 2]
    assert pickle.load(ObjectReader.of_bytes(pickle.dumps([1]), "/b/k")) == [1]
    assert io.BufferedReader(ObjectReader.of_bytes(b"abc", "/b/k")).peek(1)  # type: ignore[arg-type]


class ReaderAgainstFile(RuleBasedStateMachine):
    """Any order of calls gives what a real file gives."""

    reader: ObjectReader
    file: io.BufferedReader

    @rule(size=st.integers(-1, 40))
    def read(self, size):
        assert self.reader.read(size) == self.file.read(size)

    @rule(size=st.integers(0, 40))
    def readinto(self, size):
        ours, theirs = bytearray(size), bytearray(size)
        assert self.reader.readinto(ours) == self.file.readinto(theirs)
        assert ours == theirs

    @rule(size=st.integers(-1, 12))
    def readline(self, size):
        assert self.reader.readline(size) == self.file.readline(size)

    @rule(offset=st.integers(-40, 60), whence=st.sampled_from([0, 1, 2]))
    def seek(self, offset, whence):
        try:
            expected = self.file.seek(offset, whence)
        except (OSError, ValueError):
            with pytest.raises(ValueError, match="negative"):
                self.reader.seek(offset, whence)
        else:
            assert self.reader.seek(offset, whence) == expected

    @rule()
    def tell(self):
        assert self.reader.tell() == self.file.tell()


@settings(max_examples=60, deadline=None)
@given(data=st.lists(st.sampled_from([b"a", b"\n", b"bcd", b"\r\n", b"\x00"]), max_size=20).map(b"".join))
def test_whole_reads_equal_a_file_for_any_bytes(tmp_path_factory, data):
    path = Path(tmp_path_factory.mktemp("whole")) / "file"
    path.write_bytes(data)
    with path.open("rb") as file:
        assert ObjectReader.of_bytes(data, "/b/k").readlines() == file.readlines()


def test_any_order_of_calls_equals_a_file(tmp_path):
    (tmp_path / "file").write_bytes(DATA * 3)
    with (tmp_path / "file").open("rb") as file:

        class Machine(ReaderAgainstFile):
            def __init__(self):
                super().__init__()
                file.seek(0)
                self.file = file
                self.reader = ObjectReader.of_bytes(DATA * 3, "/b/k")

        Machine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
        Machine.TestCase().runTest()
