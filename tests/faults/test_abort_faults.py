"""`abort()` while another thread is in `close()`: F64."""

from __future__ import annotations

import threading
import time

import pytest
from reading import MIB, content

from osstorchconnector import OssCheckpoint
from osstorchconnector.errors import OssError, UploadError

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


@pytest.mark.parametrize("publishing", SIZES)
def test_f64_an_abort_while_the_commit_is_on_the_wire_leaves_both_threads_with_its_unknown_fate(
    publishing, site, saving
):
    silence = {"stall_after_bytes": 0, "count_from": "head"}
    site.oss.rules([{"match": {"op": publishing}, "action": silence}])
    writer = saving.writer(URI)
    writer.write(content(SIZES[publishing]))
    aborting = Aborting(writer, lambda: site.oss.requests(publishing))
    with pytest.raises(UploadError, match="may or may not be visible") as closed:
        writer.close()
    aborting.join()
    assert closed.value.state == "unknown"
    assert isinstance(aborting.raised, UploadError), aborting.raised
    assert aborting.raised.state == "unknown"
    # All is said now.
    writer.abort()
