"""`ossconnector dump`: a live process tells what it is doing, though its Python hangs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager

import pytest
from torch.utils.data import DataLoader

from osstorchconnector import OssClient, OssIterableDataset, dumping, tracing
from osstorchconnector.cli import main
from osstorchconnector.errors import ConfigError, NotFoundError
from osstorchconnector.private_files import private_directory

STALL = [
    {"match": {"op": "GetObject", "key": "slow"}, "action": {"stall_after_bytes": 10, "stall_ms": 50_000}}
]

HANGS = """
import ctypes, sys, threading
from osstorchconnector import OssClient
client = OssClient(**{arguments!r})
reader = threading.Thread(target=lambda: client.get_object("bucket", "slow").read(), daemon=True)
reader.start()
print("ready", flush=True)
sys.stdin.readline()
ctypes.PyDLL(None).sleep(60)  # with the GIL
"""

WRITES = """
import sys
from osstorchconnector import OssCheckpoint
writer = OssCheckpoint(**{arguments!r}).writer("oss://bucket/big")
writer.write(b"x" * (40 << 20))
print("ready", flush=True)
sys.stdin.readline()
"""


def until(condition):
    """Ask until there is an answer: what another process does takes its time."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it never came")


@contextmanager
def running(program):
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def sockets(pid):
    return [name for name in os.listdir(private_directory()) if f"-asked.{pid}-" in name]


def stalled_request(pid):
    """Return the request that stalls, once it has been silent for a tick."""
    (report,) = dumping.reports(pid)
    rows = [row for client in report["clients"] for row in client["requests"]]
    return next((row for row in rows if row["uri"] == "oss://bucket/slow" and row["silent_seconds"]), None)


def test_a_process_that_holds_the_gil_for_ever_tells_what_it_waits_for(site, capsys):
    site.fill({"slow": b"x" * 100_000})
    site.oss.rules(STALL)
    arguments = site.configured(network={"tickSeconds": 0.05, "readStallSeconds": 60})
    with running(HANGS.format(arguments=arguments)) as process:
        until(lambda: site.oss.requests("GetObject"))
        process.stdin.write("\n")
        process.stdin.flush()
        row = until(lambda: stalled_request(process.pid))
        assert (row["operation"], row["state"], row["attempt"]) == ("GetObject", "receiving", 1)
        assert row["age_seconds"] >= row["silent_seconds"] > 0
        assert main(["dump", str(process.pid)]) == 0
        told = capsys.readouterr().out
        assert f"process {process.pid}" in told
        assert "GetObject oss://bucket/slow: receiving for" in told
        assert "silent for" in told
        assert site.arguments["endpoint"] in told
        assert site.oss.access_key_secret not in told
        assert main(["dump", str(process.pid), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)[0]["pid"] == process.pid


def test_a_process_answers_where_the_temporary_directory_has_a_long_name(site, tmp_path, monkeypatch, capsys):
    site.fill({"a": b"data"})
    # As a scheduler gives one to each job: the name of a socket has 107 characters at most.
    far = str(tmp_path / "job".ljust(120, "-"))
    os.mkdir(far)
    monkeypatch.setenv("TMPDIR", far)
    monkeypatch.setattr(tempfile, "tempdir", None)
    program = (
        f"from osstorchconnector import OssClient; OssClient(**{site.arguments!r}).head_object('bucket', 'a'); "
        "print('ready', flush=True); input()"
    )
    with running(program) as process:
        assert main(["dump", str(process.pid)]) == 0
    assert f"process {process.pid}\n" in capsys.readouterr().out


def test_what_backs_off_says_why(site):
    site.fill({"a": b"data"})
    site.oss.rules([{"match": {"op": "HeadObject"}, "action": {"status": 503, "code": "ServiceBusy"}}])
    program = (
        "import threading; from osstorchconnector import OssClient; "
        f"client = OssClient(**{site.configured(network={'retryBaseSeconds': 30, 'retryCapSeconds': 60})!r}); "
        "threading.Thread(target=lambda: client.head_object('bucket', 'a'), daemon=True).start(); "
        "print('ready', flush=True); input()"
    )
    with running(program) as process:

        def backing_off():
            (report,) = dumping.reports(process.pid) if sockets(process.pid) else ({"clients": []},)
            rows = [row for client in report["clients"] for row in client["requests"]]
            return [row for row in rows if row["state"] == "backing off"]

        (row,) = until(backing_off)
        # The first repetition came at once.
        assert (row["operation"], row["attempt"]) == ("HeadObject", 2)
        assert row["last_cause"]


def test_an_upload_waits_for_the_program(site):
    with running(WRITES.format(arguments=site.arguments)) as process:

        def idle():
            (report,) = dumping.reports(process.pid)
            uploads = [row for client in report["clients"] for row in client["uploads"]]
            return [row for row in uploads if row["state"] == "waiting for the program's bytes"]

        (row,) = until(idle)
        assert (row["uri"], row["sent_bytes"]) == ("oss://bucket/big", 32 << 20)


def test_a_stream_says_who_waits(site):
    site.fill({f"p/{number}": b"x" for number in range(20)})
    iterator = iter(OssIterableDataset.from_prefix("oss://bucket/p/", **site.arguments))
    next(iterator)
    rows = [row for client in dumping.reports(os.getpid())[0]["clients"] for row in client["streams"]]
    (row,) = [row for row in rows if row["uri"].startswith("oss://bucket/p/") and row["ahead"]]
    assert (row["state"], row["delivered"]) == ("waiting for the consumer", 1)
    assert "objects: waiting for the consumer for" in "\n".join(
        dumping.lines(dumping.reports(os.getpid())[0])
    )
    iterator.close()


def first_bytes(sample):
    return sample.read()[:1]


def test_workers_are_asked_with_their_parent_and_leave_nothing(site):
    site.fill({f"p/{number}": b"x" for number in range(200)})
    dataset = OssIterableDataset.from_prefix("oss://bucket/p/", transform=first_bytes, **site.arguments)
    # A parent that sent nothing has nothing to tell, and no socket.
    dataset.prepare()
    loader = DataLoader(dataset, num_workers=2, persistent_workers=True, prefetch_factor=2)
    iterator = iter(loader)
    next(iterator)
    roles = until(lambda: len(dumping.reports(os.getpid())) == 3 and dumping.reports(os.getpid()))
    assert sorted(report["role"] for report in roles) == [
        "",
        "DataLoader worker 0 of 2, oss://bucket/p/",
        "DataLoader worker 1 of 2, oss://bucket/p/",
    ]
    del iterator, loader
    child = os.fork()
    if child == 0:
        # The next process of the family that comes here clears up.
        OssClient(**site.arguments).head_object("bucket", "p/0")
        os._exit(0)
    os.waitpid(child, 0)
    until(lambda: [report["pid"] for report in dumping.reports(os.getpid())] == [os.getpid()])


def test_a_killed_process_leaves_a_socket_that_the_next_one_removes(site):
    with running(WRITES.format(arguments=site.arguments)) as process:
        assert sockets(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert sockets(process.pid)
    with running(WRITES.format(arguments=site.arguments)) as other:
        assert not sockets(process.pid)
        other.stdin.write("\n")
        other.communicate()
        assert not sockets(other.pid)


def test_nobody_to_ask_is_one_line(capsys):
    with running("print('ready', flush=True); input()") as process:
        with pytest.raises(NotFoundError, match="has sent no request"):
            dumping.reports(process.pid)
        assert main(["dump", str(process.pid)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_trace_of_a_live_process_has_a_bar_for_each_request(site, capsys):
    site.fill({"a": b"data"})
    program = (
        "from osstorchconnector import OssClient; "
        f"client = OssClient(**{site.arguments!r}); client.head_object('bucket', 'a'); print('ready', flush=True)\n"
        "while True: client.head_object('bucket', 'a')"
    )
    with running(program) as process:
        assert main(["dump", str(process.pid), "--trace", "0.2"]) == 0
    events = json.loads(capsys.readouterr().out)["traceEvents"]
    heads = [event for event in events if event["name"] == "HeadObject"]
    assert heads
    assert all(event["ph"] == "X" and event["pid"] == process.pid and event["dur"] >= 0 for event in events)
    assert heads[0]["args"]["uri"] == "oss://bucket/a"
    assert heads[0]["args"]["status"] == 200


def test_a_block_is_traced_into_a_file(site, tmp_path):
    site.fill({"a": b"data"})
    client = OssClient(**site.arguments)
    client.head_object("bucket", "a")
    with tracing.traced_to(tmp_path / "t.json", requests=2):
        with pytest.raises(ConfigError, match="traced already"), tracing.traced_to(tmp_path / "u.json"):
            pass
        for _ in range(3):
            client.head_object("bucket", "a")
        with pytest.raises(NotFoundError):
            client.head_object("bucket", "gone")
    document = json.loads((tmp_path / "t.json").read_text())
    assert document["otherData"]["lost_requests"] >= 2
    bars = [event for event in document["traceEvents"] if event["name"] != "first byte"]
    assert len(bars) == 2
    assert {"status", "attempt", "request_id", "received_bytes", "failure"} <= set(bars[-1]["args"])
    starts = [event["ts"] for event in bars]
    assert starts == sorted(starts)
    assert abs(starts[0] / 1e6 - time.time()) < 60
