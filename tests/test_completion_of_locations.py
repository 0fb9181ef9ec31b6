"""What a shell offers for `oss://` on the command line."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from click.shell_completion import ShellComplete

from command_process import Shell
from osstorchconnector.cli import locations
from osstorchconnector.cli.command import command

KEYS = (
    "run/a.json",
    "run/b c",
    "run/deep/x",
    "run/deep/y",
    "run/line\nbreak",
    "run2/d",
    "run=1:2/e",
    "run=1:3",
)


@pytest.fixture
def reached(site, monkeypatch):
    for name, value in site.oss.environ().items():
        monkeypatch.setenv(name, value)
    site.fill(dict.fromkeys(KEYS, b"x"))
    return site


def offered(*words):
    """Return what the library of commands answers any shell, with the last word not yet typed to its end."""
    shell = ShellComplete(command, {}, "ossconnector", "_OSSCONNECTOR_COMPLETE")
    return [(item.type, item.value) for item in shell.get_completions(list(words[:-1]), words[-1])]


def plain(*values):
    return [("plain", f"oss://{value}") for value in values]


def test_keys_are_offered_up_to_the_next_slash(reached):
    reached.fill({"other": b""}, bucket="bucket2")
    assert offered("ls", "oss://bucket/run2") == plain("bucket/run2/")
    assert offered("ls", "-l", "oss://bucket/run/") == plain(
        "bucket/run/a.json", "bucket/run/b c", "bucket/run/deep/"
    )
    assert offered("stat", "oss://bucket/run2/d", "oss://bucket/run/deep/") == plain(
        "bucket/run/deep/x", "bucket/run/deep/y"
    )
    assert offered("rm", "oss://buck") == plain("bucket/", "bucket2/")
    assert offered("checkpoints", "gc", "oss://bucket2/o") == plain("bucket2/other")


@pytest.mark.usefixtures("reached")
def test_where_files_are_taken_they_are_offered_too():
    assert offered("cp", "oss://bucket/run2/") == plain("bucket/run2/d")
    assert offered("cp", "here", "") == offered("index", "show", "sa") == [("file", "")]
    assert offered("cp", "o") == offered("du", "") == [("plain", "oss://")]
    assert offered("du", "sa") == []


def test_a_line_that_names_its_endpoint_is_heeded(reached, monkeypatch):
    for name in reached.oss.environ():
        monkeypatch.delenv(name)
    arguments = reached.arguments
    named = (
        "--endpoint",
        arguments["endpoint"],
        "--region",
        "cn-local",
        "--cred-path",
        arguments["cred_path"],
    )
    assert offered("cat", *named, "oss://bucket/run2/") == plain("bucket/run2/d")


@pytest.mark.usefixtures("reached")
def test_more_than_a_page_is_not_taken_for_all(monkeypatch):
    monkeypatch.setattr(locations, "_MOST", 2)
    assert offered("ls", "oss://bucket/run/") == plain("bucket/run/a.json", "bucket/run/b c", "bucket/run/")


@pytest.mark.usefixtures("reached")
def test_failures_are_silence(monkeypatch, capfd, caplog):
    for location in ("oss://bucket/nothing", "oss://no-such-bucket/", "oss:///", "oss://BUCKET/x", "oss://"):
        assert offered("ls", "--cred-path", "/nowhere", location) == []
    assert offered("ls", "oss://bucket/nothing") == []
    monkeypatch.setenv("OSS_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr(locations, "_SECONDS", 0.3)
    assert offered("ls", "oss://bucket/run") == []
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_a_service_that_hangs_is_not_waited_for(reached, monkeypatch):
    reached.oss.rules([{"match": {"op": "ListObjectsV2"}, "action": {"delay_ms": 60_000}}])
    monkeypatch.setattr(locations, "_SECONDS", 0.3)
    begun = time.monotonic()
    assert offered("ls", "oss://bucket/run") == []
    assert time.monotonic() - begun < 20


# Calls what Bash would call, with the words as Bash cuts them; `compopt` works within a completion alone.
TYPED = """
compopt() { :; }
eval "$(ossconnector completion bash)"
COMP_LINE=$1 COMP_POINT=${#1}
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_ossconnector_completion ossconnector
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("line", "words", "replies"),
    [
        ("ls oss://bucket/run2", ["ls", "oss", ":", "//bucket/run2"], ["//bucket/run2/"]),
        ("ls oss:", ["ls", "oss", ":"], ["//"]),
        (
            "ls oss://bucket/run=1:",
            ["ls", "oss", ":", "//bucket/run", "=", "1", ":"],
            ["2/", "3"],
        ),
        ('ls "oss://bucket/run/b', ["ls", '"oss://bucket/run/b'], ["oss://bucket/run/b c"]),
        ("ls oss://bucket/run/b", ["ls", "oss", ":", "//bucket/run/b"], ["//bucket/run/b\\ c"]),
        ("ls oss://bucket/run/b\\ ", ["ls", "oss", ":", "//bucket/run/b\\ "], ["//bucket/run/b\\ c"]),
        ("doctor --mi", ["doctor", "--mi"], ["--migrate"]),
    ],
)
def test_bash_gets_what_follows_its_own_idea_of_a_word(site, tmp_path, line, words, replies):
    site.fill(dict.fromkeys(KEYS, b"x"))
    shell = Shell(site, tmp_path)
    program = tmp_path / "ossconnector"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m osstorchconnector.cli "$@"\n')
    program.chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", TYPED, "bash", f"ossconnector {line}", "ossconnector", *words],
        env={**shell.variables, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.stdout.splitlines(), done.stderr) == (replies, "")
