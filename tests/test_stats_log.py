"""`network.statsLogSeconds`: a line now and then, from a thread that keeps nobody."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import threading
import time

from log_listening import listening_for
from osstorchconnector import OssClient, stats_log


def test_the_line_has_what_is_not_zero_in_order():
    line = stats_log.line({"requests": 3, "bytes_sent": 1234567.0, "throttled": 0, "slow_mode": 0.0})
    assert line == f"stats of process {os.getpid()}: bytes_sent=1.23457e+06 requests=3"


def test_a_client_logs_without_anybody_passing_by(site, caplog):
    caplog.set_level(logging.INFO, "osstorchconnector")
    site.fill({"a": b"data"})
    with listening_for("requests.HeadObject.ok=", "osstorchconnector.stats_log") as said:
        OssClient(**site.configured(network={"statsLogSeconds": 0.01})).head_object("bucket", "a")
        assert said.wait(20)
    assert len([thread for thread in threading.enumerate() if thread.name == "oss-stats-log"]) == 1


def test_the_first_interval_counts_and_a_forked_child_begins_its_own():
    stats_log.keep(60, dict)
    stats_log.keep(0.01, dict)
    (own,) = stats_log._teller
    assert own._seconds == 60
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        stats_log.keep(0.01, lambda: os.write(write, b"x") and {})
        os.read(read, 1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(read)
    os.close(write)
    assert stats_log._teller == [own]


def test_counters_that_cannot_be_read_once_are_told_again():
    looks = iter([OSError("no descriptors left"), {"requests": 3}])

    def stats():
        found = next(looks, {})
        if isinstance(found, OSError):
            raise found
        return found

    logger = "osstorchconnector.stats_log"
    with listening_for("no descriptors left", logger) as failed, listening_for("requests=3", logger) as told:
        stats_log.keep(0.01, stats)
        assert failed.wait(20)
        assert told.wait(20)


def test_no_exit_waits_for_it(site):
    program = (
        "from osstorchconnector import OssClient; "
        f"OssClient(**{site.configured(network={'statsLogSeconds': 3000})!r}).head_object('bucket', 'a')"
    )
    site.fill({"a": b"data"})
    started = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=50
    )
    assert time.monotonic() - started < 30
    assert not re.search("Traceback|Fatal", ended.stderr)
