"""Who may publish: `close()` and the clean end of the writer's own `with`; nobody else."""

from __future__ import annotations

import contextlib
import copy
import gzip
import io
import logging
import pickle
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

from osstorchconnector.errors import ClosedError, ForkedHandleError, PermissionDeniedError, UploadError
from osstorchconnector.streams import ObjectWriter


class Sink:
    """Keeps the order of what it was asked."""

    def __init__(self, **fails):
        self.calls = []
        self.data = b""
        self.forked = False
        self._fails = fails

    @property
    def bytes_accepted(self):
        return len(self.data)

    def write(self, data):
        self.data += bytes(data)
        return len(data)

    def _note(self, name):
        self.calls.append(name)
        if name in self._fails:
            raise self._fails[name]

    def seal(self):
        self._note("seal")

    def publish(self):
        self._note("publish")

    def abort(self):
        self._note("abort")

    def abandon(self):
        self._note("abandon")


@pytest.fixture
def sink():
    return Sink()


def writer_on(sink):
    return ObjectWriter(sink, "/bucket/key")


def test_it_is_a_write_only_binary_stream(sink):
    with writer_on(sink) as writer:
        assert isinstance(writer, io.BufferedIOBase)
        assert (writer.readable(), writer.seekable(), writer.writable()) == (False, False, True)
        assert (writer.key, writer.uri, writer.mode) == ("/bucket/key", "oss://bucket/key", "wb")
        for refused in (
            writer.read,
            writer.readline,
            lambda: writer.seek(0),
            lambda: writer.readinto(bytearray(1)),
        ):
            with pytest.raises(io.UnsupportedOperation):
                refused()
        assert writer.write(b"abc") == 3
        assert (writer.tell(), writer.size) == (3, 3)
        assert writer.flush() is None
        assert sink.calls == []


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"ab", b"ab"),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"abcd")[::2], b"ac"),
        (np.array([1.5], dtype=">f4"), b"\x3f\xc0\x00\x00"),
        (np.array([1 + 2j]), np.array([1.0, 2.0]).tobytes()),
        (np.array([(1, 2)], dtype=[("a", "u1"), ("b", "u1")]), b"\x01\x02"),
        (np.arange(6, dtype="u1").reshape(2, 3).T, b"\x00\x03\x01\x04\x02\x05"),
        (np.array([1, 2], dtype="<u2"), b"\x01\x00\x02\x00"),
        (np.zeros((2, 0)), b""),
        (b"", b""),
    ],
)
def test_every_buffer_is_written_by_its_bytes(sink, data, expected):
    with writer_on(sink) as writer:
        assert writer.write(data) == len(expected)
    assert sink.data == expected


def test_text_is_a_type_error(sink):
    with writer_on(sink) as writer, pytest.raises(TypeError):
        writer.write("text")  # type: ignore[arg-type]


def test_close_publishes_once(sink):
    writer = writer_on(sink)
    writer.write(b"x")
    assert writer.close() is None
    writer.close()
    assert sink.calls == ["publish"]
    assert writer.closed
    with pytest.raises(ClosedError):
        writer.write(b"y")


def test_the_clean_end_of_with_publishes(sink):
    with writer_on(sink) as writer:
        writer.write(b"x")
    assert sink.calls == ["publish"]


def test_close_inside_with_only_seals_until_the_block_ends_well(sink):
    with writer_on(sink) as writer:
        writer.close()
        assert sink.calls == ["seal"]
        with pytest.raises(ClosedError):
            writer.write(b"late")
    assert sink.calls == ["seal", "publish"]


@pytest.mark.parametrize("raised", [ValueError("v"), KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_f61_any_exception_in_with_aborts_and_stays_itself(sink, raised):
    def save():
        with writer_on(sink) as writer:
            writer.write(b"half")
            raise raised

    with pytest.raises(type(raised)) as caught:
        save()
    assert caught.value is raised
    assert sink.calls == ["abort"]


def test_f61_wrappers_closed_by_the_exception_cannot_publish(sink):
    def save():
        with writer_on(sink) as writer, gzip.GzipFile(fileobj=writer, mode="wb") as packed:
            packed.write(b"half")
            raise ValueError("v")

    with pytest.raises(ValueError, match="v"):
        save()
    text_sink = Sink()

    def save_text():
        with writer_on(text_sink) as writer, io.TextIOWrapper(writer) as text:  # type: ignore[arg-type]
            text.write("half")
            raise ValueError("v")

    with pytest.raises(ValueError, match="v"):
        save_text()
    assert sink.calls == ["abort"]
    assert text_sink.calls == ["seal", "abort"]


def test_f61_a_generator_that_is_closed_aborts(sink):
    def steps():
        with writer_on(sink) as writer:
            writer.write(b"half")
            yield

    running = steps()
    next(running)
    running.close()
    assert sink.calls == ["abort"]


def test_f61_close_in_finally_while_an_exception_flies_does_not_publish(sink):
    def save():
        writer = writer_on(sink)
        try:
            raise ValueError("v")
        finally:
            writer.close()

    with pytest.raises(UploadError, match="NOTHING WAS SAVED") as refused:
        save()
    assert refused.value.state == "not_committed"
    assert isinstance(refused.value.__cause__, ValueError)
    assert sink.calls == ["abort"]


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), SystemExit(3)])
def test_f61_close_while_the_program_ends_aborts_and_lets_it_end(sink, raised):
    def save():
        writer = writer_on(sink)
        try:
            raise raised
        finally:
            writer.close()

    with pytest.raises(type(raised)):
        save()
    assert sink.calls == ["abort"]


def test_an_exception_handled_before_the_writer_was_opened_does_not_matter(sink):
    try:
        raise ValueError("old")
    except ValueError:
        writer = writer_on(sink)
        writer.close()
    assert sink.calls == ["publish"]


def test_a_failing_abort_is_a_note_on_the_original_exception():
    sink = Sink(abort=OSError("unreachable"))

    def save():
        with writer_on(sink):
            raise ValueError("v")

    with pytest.raises(ValueError, match="v") as caught:
        save()
    if sys.version_info >= (3, 11):
        assert any("unreachable" in note for note in caught.value.__notes__)


def test_a_failing_publish_is_raised_once():
    sink = Sink(publish=UploadError("no", state="unknown"))
    writer = writer_on(sink)
    with pytest.raises(UploadError):
        writer.close()
    writer.close()
    assert sink.calls == ["publish", "abandon"]
    assert writer.error_msg() == "no"


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), SystemExit(3), ZeroDivisionError("of a handler")])
def test_f64_an_interrupted_publish_is_given_up_and_not_only_by_the_finaliser(raised):
    sink = Sink(publish=raised)
    writer = writer_on(sink)
    with pytest.raises(type(raised)), writer:
        writer.write(b"x")
    assert sink.calls == ["publish", "abandon"]


@pytest.mark.parametrize("how", ["close", "with"])
def test_f64_an_interrupt_before_the_first_request_of_a_publish_gives_it_up(how, sink, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(ObjectWriter, "_publish", interrupted)
    writer = writer_on(sink)
    with pytest.raises(KeyboardInterrupt), writer if how == "with" else contextlib.closing(writer):
        pass
    assert (sink.calls, writer.closed) == (["abandon"], True)


def test_abort_ends_the_close_of_another_thread(sink):
    aborted, publish = threading.Event(), sink.publish

    def wait_for_the_abort():
        publish()
        assert aborted.wait(30)
        raise ClosedError("aborted by another thread")

    def abort():
        sink.calls.append("abort")
        aborted.set()

    sink.publish, sink.abort = wait_for_the_abort, abort
    writer = writer_on(sink)

    def abort_when_it_publishes():
        while sink.calls != ["publish"]:
            time.sleep(0.001)
        writer.abort()

    aborting = threading.Thread(target=abort_when_it_publishes)
    aborting.start()
    with pytest.raises(ClosedError):
        writer.close()
    aborting.join()
    writer.abort()
    assert sink.calls == ["publish", "abort", "abandon"]


def test_abort_gives_up_and_then_nothing_publishes(sink):
    with writer_on(sink) as writer:
        writer.abort()
        writer.abort()
    assert sink.calls == ["abort"]
    assert writer.closed


def test_an_exception_that_leaves_an_inner_with_of_the_writer_publishes_nothing_and_is_told(sink):
    writer = writer_on(sink)
    writer.__enter__()
    with contextlib.suppress(RuntimeError), writer:
        writer.write(b"half")
        raise RuntimeError
    with pytest.raises(ClosedError):
        writer.write(b"more")
    with pytest.raises(UploadError, match="NOTHING WAS SAVED") as raised:
        writer.__exit__(None, None, None)
    assert raised.value.state == "not_committed"
    assert isinstance(raised.value.__cause__, RuntimeError)
    assert sink.calls == ["abort"]


def test_an_exception_that_leaves_both_blocks_stays_itself(sink):
    with pytest.raises(RuntimeError, match="mine"), writer_on(sink) as writer, writer:
        raise RuntimeError("mine")
    assert sink.calls == ["abort"]


def test_nested_with_publishes_at_the_outermost_end(sink):
    with writer_on(sink) as writer:
        with writer:
            writer.write(b"x")
        assert sink.calls == []
    assert sink.calls == ["publish"]


@pytest.mark.filterwarnings("default::ResourceWarning")
def test_f62_a_dropped_writer_saves_nothing_and_says_so(sink, caplog):
    writer = writer_on(sink)
    writer.write(b"lost")
    with pytest.warns(ResourceWarning, match="NOTHING WAS SAVED"):
        del writer
    assert sink.calls == ["abandon"]
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.ERROR, "writer for oss://bucket/key dropped without close(): NOTHING WAS SAVED; use 'with'")
    ]


@pytest.mark.filterwarnings("default::ResourceWarning")
@pytest.mark.parametrize(("wrapper", "half"), [(io.TextIOWrapper, "half"), (io.BufferedWriter, b"half")])
def test_f62_a_dropped_wrapper_of_io_saves_nothing_either(wrapper, half, sink):
    wrapped = wrapper(writer_on(sink))
    wrapped.write(half)
    with pytest.warns(ResourceWarning, match="NOTHING WAS SAVED"):
        del wrapped
    assert sink.calls == ["abandon"]


DROPPED = """
import sys
from osstorchconnector.streams import ObjectWriter
class Sink:
    forked = False
    bytes_accepted = 0
    def write(self, data): return len(data)
    def abandon(self): sys.stdout.write("abandoned")
    def publish(self): sys.stdout.write("published")
writer = ObjectWriter(Sink(), "/bucket/key")
writer.write(b"lost")
{end}
"""


@pytest.mark.parametrize(
    "end", ["del writer", "", "sys.exit(3)", "import os; keep = [writer]; keep.append(keep)"]
)
def test_f62_dropping_is_visible_on_stderr_without_any_set_up(end):
    run = subprocess.run(
        [sys.executable, "-c", DROPPED.format(end=end)], capture_output=True, text=True, check=False
    )
    assert run.stdout == "abandoned"
    assert "writer for oss://bucket/key dropped without close(): NOTHING WAS SAVED; use 'with'" in run.stderr
    assert run.returncode == (3 if "exit" in end else 0)


def test_in_a_forked_child_every_decision_is_refused_and_dropping_is_silent(sink, caplog):
    writer = writer_on(sink)
    sink.forked = True
    with pytest.raises(ForkedHandleError):
        writer.close()
    with pytest.raises(ForkedHandleError), writer:
        pass
    del writer
    assert sink.calls == []
    assert caplog.records == []


def test_a_writer_cannot_be_copied(sink):
    with writer_on(sink) as writer:
        for copying in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="open stream"):
                copying(writer)


class FailingSink(Sink):
    """Takes three writes; the fourth fails."""

    def __init__(self, failure):
        super().__init__()
        self.failure, self.writes = failure, 0

    def write(self, data):
        self.writes += 1
        if self.writes > 3:
            raise self.failure
        return super().write(data)


@pytest.mark.parametrize(
    "failure", [KeyboardInterrupt(), PermissionDeniedError("PutObject oss://bucket/k: refused")]
)
def test_what_ends_a_torch_save_comes_out_as_itself(failure):
    # torch goes on to write the archive's end, and raises `unexpected pos` of its own instead.
    sink = FailingSink(failure)
    with pytest.raises(type(failure)) as raised, writer_on(sink) as writer:
        torch.save({"weight": torch.ones(1000)}, writer)
    assert raised.value is failure
    assert sink.calls == ["abort"]


class MineError(Exception):
    """What a program makes of a failure."""


def write_until_refused(writer):
    try:
        for _ in range(9):
            writer.write(b"x")
    except OSError as refused:
        raise MineError from refused


def test_an_error_that_a_program_makes_of_a_failed_write_stays_its_own():
    failing = FailingSink(PermissionDeniedError("PutObject oss://bucket/k: refused"))
    with pytest.raises(MineError), writer_on(failing) as writer:
        write_until_refused(writer)
