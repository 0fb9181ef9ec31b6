"""Every subcommand of `ossconnector` has `--json`, and what it then prints is one JSON document and nothing else."""

from __future__ import annotations

import base64
import json
import os
import subprocess

import click
import pytest

from command_process import COMMAND, Shell
from osstorchconnector import OssClient
from osstorchconnector.cli.command import command as root
from torch_versions import need_checkpoints

# What each is called with; `{pid}` is a process of ours.
CALLS = {
    "ls": ("oss://bucket/run/",),
    "cp": ("a.txt", "oss://bucket/copy"),
    "cat": ("oss://bucket/run/a",),
    "stat": ("oss://bucket/run/a",),
    "rm": ("oss://bucket/run/b",),
    "du": ("oss://bucket/run/",),
    "doctor": (),
    "index build": ("oss://bucket/run/", "index"),
    "index show": ("index",),
    "index diff": ("index", "index"),
    "checkpoints latest": ("oss://bucket/run/",),
    "checkpoints gc": ("oss://bucket/run/",),
    "uploads": ("oss://bucket/",),
    "dump": ("{pid}",),
    "completion": ("bash",),
}
# It is no command of click's, and runs until it is stopped: it has a test of its own.
BESIDES = {"emulator"}


def leaves(group, path=()):
    """Yield every command that does something, by the words with which it is called."""
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        if isinstance(found, click.Group):
            yield from leaves(found, (*path, name))
        else:
            yield " ".join((*path, name)), found


LEAVES = dict(leaves(root))


@pytest.fixture
def shell(site, tmp_path):
    site.fill({"run/a": b"1", "run/b": b"22"})
    home = tmp_path / "home"
    home.mkdir()
    (home / "a.txt").write_text("hello, object")
    return Shell(site, home)


def test_the_table_has_every_command():
    assert set(CALLS) | BESIDES == set(LEAVES)


@pytest.mark.parametrize("name", CALLS)
def test_every_command_prints_one_document(shell, site, name):
    assert any("--json" in option.opts for option in LEAVES[name].params)
    if name.startswith("checkpoints"):
        need_checkpoints()
    if name in ("index show", "index diff"):
        shell.printed("index", "build", "oss://bucket/run/", "index")
    if name == "dump":
        # A process can be asked from its first request on.
        OssClient(**site.arguments).head_object("bucket", "run/a")
    arguments = [word.format(pid=os.getpid()) for word in CALLS[name]]
    done = shell.run(*name.split(), *arguments, "--json")
    # Nothing below the prefix is a checkpoint, which is a status and a document all the same.
    assert done.returncode == (1 if name == "checkpoints latest" else 0), done
    assert isinstance(json.loads(done.stdout), dict | list)
    assert done.stderr == ""


def cut_short(shell, *arguments):
    """Run a command that fails after it said something; return the document, which is whole, and the one line."""
    done = shell.run(*arguments, "--json")
    assert done.returncode == 1, done
    assert done.stderr.count("\n") == 1, done.stderr
    return json.loads(done.stdout), done.stderr


def refuse(shell, operation, nth):
    action = {"status": 403, "code": "AccessDenied"}
    shell.oss.rules([{"match": {"op": operation, "nth": [nth]}, "action": action}])


def test_a_listing_that_fails_on_its_second_page_is_a_document_still(shell):
    shell.oss.fill("bucket", "many/", 1500, 1)
    refuse(shell, "ListObjectsV2", 2)
    rows, said = cut_short(shell, "ls", "-r", "oss://bucket/many/")
    assert len(rows) == 1000
    assert "AccessDenied" in said


def test_objects_before_one_that_is_not_there_are_a_document_still(shell):
    uris = ("oss://bucket/run/a", "oss://bucket/run/b", "oss://bucket/run/c")
    for command in ("stat", "cat"):
        rows, said = cut_short(shell, command, *uris)
        assert [row["uri"] for row in rows] == list(uris[:2])
        assert "oss://bucket/run/c" in said


def test_bytes_that_break_off_are_told_as_such(shell):
    shell.oss.put_object("bucket", "large", bytes(60_000_000))
    refused = {"status": 403, "code": "AccessDenied"}
    # Ranges that begin beyond 32 MB: after the first two pieces of 15 MiB.
    late = [{"op": "GetObject", "range": f"bytes={million}??????-*"} for million in range(32, 60)]
    shell.oss.rules([{"match": match, "action": refused} for match in late])
    [row], said = cut_short(shell, "cat", "oss://bucket/large")
    assert len(base64.b64decode(row["base64"])) == 30 << 20
    assert said == f"ossconnector: {row['error']}\n"


def test_a_failure_with_nothing_to_show_prints_nothing(shell):
    done = shell.run("ls", "-r", "--json", "oss://no-such-bucket/")
    assert (done.returncode, done.stdout) == (1, "")


def test_the_emulator_prints_one_document_when_it_is_ready():
    with subprocess.Popen(
        [*COMMAND, "emulator", "--json", "--port", "0", "--until-stdin-ends"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        ready = json.loads(running.stdout.readline())
        rest, complaints = running.communicate(timeout=50)
    assert ready["endpoint"].startswith("http://127.0.0.1:")
    assert (rest, complaints, running.returncode) == ("", "", 0)


def test_the_script_of_a_shell_is_the_same_in_the_document(shell):
    document = shell.document("completion", "bash")
    assert document["shell"] == "bash"
    assert document["script"].rstrip() == shell.printed("completion", "bash").rstrip()


def test_bytes_and_a_document_do_not_share_stdout(shell):
    assert "leave --json out" in shell.refused("cp", "--json", "oss://bucket/run/a", "-", status=2)
    assert shell.run("ls", "--json", "-r", "oss://").returncode == 2
