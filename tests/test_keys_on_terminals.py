"""Keys with control characters: a terminal is never made to obey them, a pipe gets them byte by byte."""

from __future__ import annotations

import os
import subprocess

import pytest

from command_process import COMMAND, Shell
from osstorchconnector import OssCheckpoint, OssClient, dumping
from osstorchconnector.cli import checkpoints, main, tables

# With this a line of progress is taken away again.
OUR_OWN = b"\r\x1b[K"
KEY = "odd/a\x1b[31mb"
URI = f"oss://bucket/{KEY}"
ESCAPED = "odd/a\\x1b[31mb"


@pytest.fixture(name="shell")
def _shell(site, tmp_path):
    site.fill({KEY: b"data"})
    return Shell(site, tmp_path)


def on_a_terminal(shell, *arguments):
    """Run a command whose output and errors go to a terminal; return what that is given."""
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        env=shell.variables,
        cwd=shell.directory,
        stdout=theirs,
        stderr=theirs,
    ):
        os.close(theirs)
        given = bytearray()
        try:
            while more := os.read(ours, 1 << 16):
                given += more
        except OSError:
            # Linux says so when nobody has the terminal any more.
            pass
        os.close(ours)
    return bytes(given)


def check(shell, *arguments, status=0):
    """Let a command name the key in a pipe and on a terminal."""
    piped = shell.run(*arguments, text=False)
    assert piped.returncode == status, piped
    assert KEY.encode() in piped.stdout
    shown = on_a_terminal(shell, *arguments)
    assert b"\x1b" not in shown.replace(OUR_OWN, b"")
    assert ESCAPED.encode() in shown


def test_rows_and_differences_of_indexes(shell):
    shell.printed("index", "build", "oss://bucket/odd/", "old")
    check(shell, "index", "show", "--rows", "1", "old")
    shell.oss.put_object("bucket", KEY, b"changed")
    shell.printed("index", "build", "oss://bucket/odd/", "new")
    check(shell, "index", "diff", "old", "new", status=1)


def test_uploads(site, shell):
    writer = OssCheckpoint(**site.arguments).writer(URI)
    writer.write(bytes(20 << 20))
    client = OssClient(**site.arguments)
    while not client.abandoned_uploads("oss://bucket/odd/"):
        pass
    check(shell, "uploads", "--all", "oss://bucket/odd/")
    writer.abort()


def test_errors(shell):
    piped = shell.run("cat", f"{URI}-not-there", text=False)
    assert b"NoSuchKey" in piped.stderr
    assert b"\x1b" not in on_a_terminal(shell, "cat", f"{URI}-not-there")
    assert b"\x1b" not in on_a_terminal(shell, "index", "show", "no/such\x1b[31mfile")


class _FileSystem:
    """Checkpoints below a prefix, as `checkpoints` asks for them."""

    def latest(self, prefix):
        return f"{prefix}{KEY}" if prefix.endswith("/") else None

    def garbage(self, prefix, **_):
        return [f"{prefix}{KEY}"]


@pytest.mark.parametrize(("action", "status"), [("latest", 0), ("gc", 0), ("latest-of-none", 1)])
def test_checkpoints(action, status, monkeypatch, capfd):
    monkeypatch.setattr(checkpoints, "_file_system", lambda _: _FileSystem())
    arguments = ["latest", URI] if status else [action, "oss://bucket/"]
    for is_terminal in (False, True):
        monkeypatch.setattr(tables, "_is_terminal", lambda _, answer=is_terminal: answer)
        assert main(["checkpoints", *arguments]) == status
        said = "".join(capfd.readouterr())
        assert (KEY in said, ESCAPED in said) == (not is_terminal, is_terminal)


def test_a_dump(monkeypatch, capfd):
    request = {
        "operation": "GetObject", "uri": URI, "state": "receiving", "for_seconds": 1.0, "silent_seconds": None,
        "attempt": 1, "received_bytes": 5, "age_seconds": 1.0, "last_cause": "",
    }  # fmt: skip
    client = {
        "endpoint": "e", "region": "r", "is_in_slow_mode": True, "credentials": "c", "credentials_expire_seconds": None,
        "clock_offset_seconds": 0, "connections_in_use": 1, "connections_idle": 0, "workers": [], "streams": [],
        "uploads": [], "requests": [request],
    }  # fmt: skip
    monkeypatch.setattr(dumping, "reports", lambda _: [{"pid": 1, "role": "", "clients": [client]}])
    for is_terminal in (False, True):
        monkeypatch.setattr(tables, "_is_terminal", lambda _, answer=is_terminal: answer)
        assert main(["dump", "1"]) == 0
        said = capfd.readouterr().out
        assert (KEY in said, ESCAPED in said) == (not is_terminal, is_terminal)
        assert len(said.splitlines()) == 5
