"""A dataset that waits for data stands in nobody's way: neither who asks for counters, nor who listens, nor who ends it."""

from __future__ import annotations

import subprocess
import sys
import textwrap

# The second object stalls for longer than any of these tests may take.
STALLED = [
    {"match": {"op": "GetObject", "key": "b"}, "action": {"stall_after_bytes": 9, "stall_ms": 120_000}},
]
PATIENT = {"readStallSeconds": 120, "firstByteSeconds": 120}

OPENING = """
import os, signal, sys, threading
import osstorchconnector
from osstorchconnector import OssIterableDataset

endpoint, region, cred_path, config_path = sys.argv[1:]
arguments = dict(endpoint=endpoint, region=region, cred_path=cred_path, config_path=config_path)
dataset = OssIterableDataset.from_objects(["oss://bucket/a", "oss://bucket/b"], **arguments)

class Seen(Exception):
    pass
"""


def run(site, script):
    """Run the script in a process of its own, as what hangs in native code cannot be ended from inside.

    It may wait for a line on stdin: that comes when the second object has begun to stall.
    """
    site.fill({"a": b"x" * 1000, "b": b"x" * 1000})
    site.oss.rules(STALLED)
    arguments = site.configured(network=PATIENT)
    names = ("endpoint", "region", "cred_path", "config_path")
    program = OPENING + textwrap.dedent(script)
    command = [sys.executable, "-c", program, *(str(arguments[name]) for name in names)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            while process.poll() is None and not site.oss.rule_hits()[0]["hits"]:
                pass
            _, errors = process.communicate("\n", timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0, errors


def test_a_signal_handler_may_ask_for_counters_while_its_thread_waits_for_data(site):
    run(
        site,
        """
        seen = []

        def handler(*_):
            seen.append((osstorchconnector.stats(), dataset.stats()))
            raise Seen

        signal.signal(signal.SIGALRM, handler)
        samples = iter(dataset)
        next(samples)
        sys.stdin.readline()
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        try:
            next(samples)
        except Seen:
            pass
        # The wait is counted while it lasts, not when the object is there.
        assert all(stats["dataset_wait_seconds"] >= 0.1 for stats in seen[0]), seen
        samples.close()
        os._exit(0)
        """,
    )


def test_another_thread_may_ask_for_counters_while_one_waits_for_data(site):
    run(
        site,
        """
        threading.Thread(target=lambda: list(dataset), daemon=True).start()
        sys.stdin.readline()
        assert dataset.stats()["dataset_objects"] <= 1
        osstorchconnector.stats()
        os._exit(0)
        """,
    )


def test_closing_ends_the_wait_of_another_thread_and_of_the_own(site):
    run(
        site,
        """
        from osstorchconnector.store import Reading

        store = dataset._delivery._here().store
        index = dataset._delivery._here().index

        def begun():
            return store.prefetch(index, [1], Reading())

        other, ended = begun(), threading.Event()

        def read():
            list(other)
            ended.set()

        threading.Thread(target=read, daemon=True).start()
        sys.stdin.readline()
        assert other.in_flight == 1
        other.close()
        assert ended.wait(20)
        assert other.in_flight == 0

        own = begun()
        signal.signal(signal.SIGALRM, lambda *_: own.close())
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        assert list(own) == []
        os._exit(0)
        """,
    )


def test_a_fork_while_a_thread_waits_leaves_the_child_an_iterator_that_says_so(site):
    run(
        site,
        """
        from osstorchconnector.errors import ForkedHandleError
        from osstorchconnector.store import Reading

        store = dataset._delivery._here().store
        waiting = store.prefetch(dataset._delivery._here().index, [1], Reading())
        threading.Thread(target=lambda: list(waiting), daemon=True).start()
        sys.stdin.readline()
        child = os.fork()
        if child == 0:
            try:
                next(waiting)
            except ForkedHandleError:
                waiting.close()
                os._exit(0)
            os._exit(1)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.stderr.write(f"the child left with {status}")
        os._exit(status)
        """,
    )
