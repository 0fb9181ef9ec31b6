"""`abort()` while a `close()` is under way, of another thread or in a handler of the same one: F64."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from reading import MIB, by_readinto, content

from osstorchconnector import OssCheckpoint
from osstorchconnector.errors import ClosedError, OssError, UploadError
from osstorchconnector.local import LocalSink
from osstorchconnector.streams import ObjectWriter

URI = "oss://bucket/ckpt/e0"
SIZES = {"PutObject": 1000, "CompleteMultipartUpload": 3 * MIB + 17}


@pytest.fixture
def saving(site):
    site.fill({"ckpt/e0": b"the old object"})
    return OssCheckpoint(**site.configured(checkpointConfig={"uploadIoSizeMB": 1}))


def wait_for(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


class Aborting(threading.Thread):
    """Aborts `writer` when `condition` holds, and keeps what that raised."""

    def __init__(self, writer, condition):
        super().__init__()
        self._writer, self._condition = writer, condition
        self.raised = None
        self.start()

    def run(self):
        wait_for(self._condition)
        try:
            self._writer.abort()
        except OssError as raised:
            self.raised = raised


def test_f64_an_abort_while_a_put_is_on_the_wire_leaves_both_threads_with_its_unknown_fate(site, saving):
    silence = {"stall_after_bytes": 0, "count_from": "head"}
    site.oss.rules([{"match": {"op": "PutObject"}, "action": silence}])
    writer = saving.writer(URI)
    writer.write(content(SIZES["PutObject"]))
    aborting = Aborting(writer, lambda: site.oss.requests("PutObject"))
    with pytest.raises(UploadError, match="may or may not be visible") as closed:
        writer.close()
    aborting.join()
    assert closed.value.state == "unknown"
    assert isinstance(aborting.raised, UploadError), aborting.raised
    assert aborting.raised.state == "unknown"
    # All is said now.
    writer.abort()


def test_f64_an_abort_while_a_complete_is_on_the_wire_calls_it_back(site, saving):
    # It would be carried out in a second, long after both threads have gone.
    late = {"stop_reading": True, "stall_ms": 1000}
    site.oss.rules([{"match": {"op": "CompleteMultipartUpload"}, "action": late}])
    writer = saving.writer(URI)
    writer.write(content(SIZES["CompleteMultipartUpload"]))
    aborting = Aborting(writer, lambda: site.oss.requests("CompleteMultipartUpload"))
    with pytest.raises(ClosedError, match="aborted by another thread"):
        writer.close()
    aborting.join()
    assert aborting.raised is None
    wait_for(lambda: site.oss.requests("CompleteMultipartUpload")[0].get("status"))
    assert site.oss.requests("CompleteMultipartUpload")[0]["status"] == 404
    assert by_readinto(URI, site.arguments) == b"the old object"


def test_f64_an_abort_while_the_answer_of_a_complete_is_lost_finds_the_object(site, saving):
    silence = {"stall_after_bytes": 0, "count_from": "head"}
    site.oss.rules([{"match": {"op": "CompleteMultipartUpload"}, "action": silence}])
    writer, data = saving.writer(URI), content(SIZES["CompleteMultipartUpload"])
    writer.write(data)
    aborting = Aborting(writer, lambda: site.oss.requests("CompleteMultipartUpload"))
    writer.close()
    aborting.join()
    assert isinstance(aborting.raised, ClosedError), aborting.raised
    assert by_readinto(URI, site.arguments) == data


def test_f64_an_abort_in_a_handler_of_the_thread_that_closes_leaves_its_close_alone(site, saving):
    site.oss.rules([{"match": {"op": "PutObject"}, "action": {"delay_ms": 600}}])
    writer = saving.writer(URI)
    aborts = []

    def abort(*_):
        aborts.append(site.oss.requests("PutObject"))
        writer.abort()

    writer.write(b"new")
    before = signal.signal(signal.SIGALRM, abort)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2, 0.1)
        writer.close()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert any(aborts), "no signal came while it was on its way"
    assert by_readinto(URI, site.arguments) == b"new"


def test_f72_an_abort_in_a_child_forked_during_a_close_does_nothing(site, saving):
    site.oss.rules([{"match": {"op": "PutObject"}, "action": {"delay_ms": 300}}])
    writer = saving.writer(URI)
    writer.write(b"new")
    closing = threading.Thread(target=writer.close)
    closing.start()
    wait_for(lambda: site.oss.requests("PutObject"))
    child = os.fork()
    if not child:
        try:
            writer.abort()
            os._exit(0)
        finally:
            os._exit(1)
    closing.join()
    assert os.waitpid(child, 0)[1] == 0
    assert by_readinto(URI, site.arguments) == b"new"


@pytest.mark.parametrize("when", ["before", "after"])
def test_f64_an_abort_beside_the_naming_of_a_file_is_told_by_its_own_class(when, tmp_path, monkeypatch):
    target, name_it = tmp_path / "e0", os.replace
    target.write_bytes(b"old")
    writer = ObjectWriter(LocalSink(str(target)), str(target))
    writer.write(b"new")
    raised = []

    def aborted():
        aborting = Aborting(writer, lambda: True)
        aborting.join()
        raised.append(aborting.raised)

    def replace(source, aim):
        if when == "before":
            aborted()
        name_it(source, aim)
        if when == "after":
            aborted()

    monkeypatch.setattr("osstorchconnector.local.os.replace", replace)
    if when == "before":
        with pytest.raises(ClosedError, match="aborted"):
            writer.close()
        assert (raised, target.read_bytes()) == ([None], b"old")
    else:
        writer.close()
        assert isinstance(raised[0], ClosedError)
        assert target.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["e0"]
