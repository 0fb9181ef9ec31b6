"""One reader, and everything that may happen to it while a thread waits in it: signals, forks, other threads."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading

import pytest

from osstorchconnector import OssCheckpoint

MIB = 1 << 20
# A body that stalls until the timer of the reader ends it, and then goes on.
STALLING = [{"match": {"op": "GetObject"}, "action": {"stall_after_bytes": 1000}, "times": 1}]

OPENING = """
import os, signal, sys, threading
from osstorchconnector import OssCheckpoint
from osstorchconnector.errors import ClosedError, ForkedHandleError

endpoint, region, cred_path, config_path = sys.argv[1:]
reader = OssCheckpoint(endpoint, cred_path, config_path, region=region).reader("oss://bucket/k")
size = reader.size
"""


def run(site, script, stall_seconds=1):
    """Run the script in a process of its own: what hangs with the GIL held cannot be ended from inside.

    It may wait for a line on stdin: that comes when its read has begun to stall.
    """
    site.fill({"k": bytes(3 * MIB)})
    site.oss.rules(STALLING)
    arguments = site.configured(network={"readStallSeconds": stall_seconds, "tickSeconds": 0.05})
    names = ("endpoint", "region", "cred_path", "config_path")
    command = [
        sys.executable,
        "-c",
        OPENING + textwrap.dedent(script),
        *(str(arguments[name]) for name in names),
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not site.oss.rule_hits()[0]["hits"]:
            pass
        _, errors = process.communicate("\n", timeout=30)
    assert process.returncode == 0, errors


def test_a_signal_handler_that_uses_the_waiting_reader_is_refused(site):
    run(
        site,
        """
        refusals, source = [], reader._source

        def handler(*_):
            for use in (lambda: source.read(1), source.close, lambda: source.readinto(bytearray(5))):
                try:
                    use()
                except RuntimeError as refused:
                    refusals.append(str(refused))

        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        assert len(reader.read()) == size
        assert len(refusals) == 3, refusals
        assert all("reentrant" in text for text in refusals)
        """,
    )


def test_f77_ctrl_c_is_felt_by_a_thread_that_waits_for_another_to_let_go_of_the_reader(site):
    run(
        site,
        """
        import time

        reading = threading.Thread(target=reader.read)
        reading.start()
        sys.stdin.readline()
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        for use in (reader.tell, lambda: reader._source.etag):
            began = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            try:
                use()
                raise SystemExit("it did not wait")
            except KeyboardInterrupt:
                assert time.monotonic() - began < 2
        assert reading.is_alive()
        reading.join()
        """,
        stall_seconds=8,
    )


def test_a_reader_in_use_at_a_fork_is_refused_in_the_child_and_never_hangs(site):
    run(
        site,
        """
        thread = threading.Thread(target=reader.read)
        thread.start()
        sys.stdin.readline()
        child = os.fork()
        if child == 0:
            try:
                reader.read(1)
            except ForkedHandleError as refused:
                os._exit(0 if "open it again" in str(refused) else 3)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        thread.join()
        assert reader.tell() == size
        """,
    )


def test_a_reader_that_nobody_uses_goes_on_in_the_child(site):
    run(
        site,
        """
        assert len(reader.read(100)) == 100
        child = os.fork()
        if child == 0:
            os._exit(0 if len(reader.read()) == size - 100 else 2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert len(reader.read()) == size - 100
        """,
    )


def test_f79_a_reader_closed_by_another_thread_gives_everything_or_says_closed(site):
    run(
        site,
        """
        outcomes = []

        def read():
            try:
                outcomes.append(len(reader.read()))
            except ClosedError:
                outcomes.append(size)

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        sys.stdin.readline()
        reader.close()
        for thread in threads:
            thread.join()
        # Those that came after the first found the end.
        assert set(outcomes) <= {0, size} and size in outcomes, outcomes
        assert reader.closed
        """,
    )


def test_an_interrupted_read_does_not_stand_in_line_behind_another_readers_stall(site):
    run(
        site,
        """
        import json, pathlib, time

        narrow = json.loads(pathlib.Path(config_path).read_text())
        narrow["checkpointConfig"] = {"prefetchConcurrency": 1}
        pathlib.Path(config_path).write_text(json.dumps(narrow))
        checkpoint = OssCheckpoint(endpoint, cred_path, config_path, region=region)
        other, mine = checkpoint.reader("oss://bucket/k"), checkpoint.reader("oss://bucket/k")
        assert other.size == mine.size == size
        staller = threading.Thread(target=lambda: other.readinto(bytearray(size)), daemon=True)
        staller.start()
        sys.stdin.readline()
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        began = time.monotonic()
        try:
            mine.readinto(bytearray(2 << 20))
            raise SystemExit("the read ended by itself")
        except KeyboardInterrupt:
            pass
        waited = time.monotonic() - began
        assert waited < 10, waited
        os._exit(0)
        """,
        stall_seconds=25,
    )


@pytest.fixture
def _eager_threads():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_eager_threads")
def test_threads_that_come_first_at_once_share_one_client(site):
    """Else each of them has connections, a retry budget and a refresh of the keys of its own."""
    for _ in range(20):
        checkpoint = OssCheckpoint(**site.arguments)
        together = threading.Barrier(8)
        clients = []

        def come(checkpoint=checkpoint, together=together, clients=clients):
            together.wait()
            clients.append(checkpoint.store().native)

        threads = [threading.Thread(target=come) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({id(client) for client in clients}) == 1
