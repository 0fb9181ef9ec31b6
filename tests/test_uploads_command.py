"""`ossconnector uploads`: what killed saves leave is listed, and removed by age; and the same from Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from osstorchconnector import OssCheckpoint, OssClient
from osstorchconnector.cli import main
from osstorchconnector.cli.amounts import age_seconds
from osstorchconnector.errors import ConfigError, NotFoundError

MIB = 1 << 20
HOURS = 3600

SAVING = """
import sys
from osstorchconnector import OssCheckpoint
writer = OssCheckpoint().writer(sys.argv[1])
writer.write(bytes(40 << 20))
sys.stdin.readline()
"""


@pytest.fixture
def environment(site, monkeypatch):
    """Let the command find the emulator as a user's shell would."""
    site.fill({"there": b"an object"})
    for name, value in site.oss.environ().items():
        monkeypatch.setenv(name, value)
    return site


def wait_for_parts(client, uri, count):
    """Wait until the only upload to `uri` has so many parts."""
    while [upload.part_count for upload in client.abandoned_uploads(uri)] != [count]:
        pass


def kill_a_save(site, uri):
    """Begin a save of 40 MiB, wait until its two whole parts are there, and kill it."""
    with subprocess.Popen(
        [sys.executable, "-c", SAVING, uri], env={**os.environ, **site.oss.environ()}, stdin=subprocess.PIPE
    ) as running:
        wait_for_parts(OssClient(**site.arguments), uri, 2)
        running.kill()


def said(capsys, *arguments):
    capsys.readouterr()
    status = main(["uploads", *arguments])
    return status, capsys.readouterr()


def test_what_a_killed_save_left_is_listed_and_removed_by_age(environment, capsys):
    kill_a_save(environment, "oss://bucket/ckpt/a")
    kill_a_save(environment, "oss://bucket/other/b")
    status, printed = said(capsys, "oss://bucket/ckpt/")
    assert status == 0
    head, row, total = printed.out.splitlines()
    assert head.split() == ["AGE", "SIZE", "PARTS", "CUT", "BY", "URI", "UPLOAD", "ID"]
    assert row.split()[1:6] == ["32.0", "MiB", "2", "us", "oss://bucket/ckpt/a"]
    assert total == "1 upload(s), 32.0 MiB"

    status, printed = said(capsys, "oss://bucket/ckpt/", "--abort-older-than", "1h")
    assert (status, printed.out) == (0, "0 upload(s), 0 B\n")
    environment.oss.clock(2 * HOURS)
    status, printed = said(capsys, "oss://bucket/ckpt/", "--abort-older-than", "1h", "--json")
    assert status == 0
    [removed] = json.loads(printed.out)
    assert (removed["uri"], removed["removed"]) == ("oss://bucket/ckpt/a", True)
    assert 2 * HOURS <= removed["age_seconds"] < 2 * HOURS + 100
    [left] = OssClient(**environment.arguments).abandoned_uploads("oss://bucket/")
    assert left.uri == "oss://bucket/other/b"


def test_uploads_of_a_writer_with_little_memory_are_ours(environment, capsys):
    config = {"checkpointConfig": {"uploadBufferSizeMB": 16}}
    writer = OssCheckpoint(**environment.configured(**config)).writer("oss://bucket/ckpt/x")
    writer.write(bytes(20 * MIB))
    client = OssClient(**environment.arguments)
    # Half of the memory each.
    wait_for_parts(client, "oss://bucket/ckpt/x", 2)
    path = environment.oss.write_config(environment.directory, config)
    status, printed = said(capsys, "oss://bucket/ckpt/", "--abort-older-than", "0s", "--config-path", path)
    assert status == 0
    assert "1 upload(s), 16.0 MiB, removed" in printed.out
    assert client.abandoned_uploads("oss://bucket/ckpt/") == []
    writer.abort()


def test_uploads_cut_by_others_are_left_alone_unless_all_are_wanted(environment, capsys):
    wider = environment.configured(checkpointConfig={"uploadIoSizeMB": 1})
    writer = OssCheckpoint(**wider).writer("oss://bucket/ckpt/x")
    writer.write(bytes(3 * MIB))
    client = OssClient(**environment.arguments)
    wait_for_parts(client, "oss://bucket/ckpt/x", 2)
    status, printed = said(capsys, "oss://bucket/ckpt/", "--abort-older-than", "0s")
    assert status == 0
    assert "shown with --all" in printed.out
    assert len(client.abandoned_uploads("oss://bucket/ckpt/")) == 1
    # With the options of the writer they are recognised.
    [seen] = OssClient(**wider).abandoned_uploads("oss://bucket/ckpt/")
    assert seen.shape == "ours"
    status, printed = said(capsys, "oss://bucket/ckpt/", "--abort-older-than", "0s", "--all")
    assert "1 upload(s), 2.0 MiB, removed" in printed.out
    assert client.abandoned_uploads("oss://bucket/ckpt/") == []
    writer.abort()


@pytest.mark.usefixtures("environment")
def test_nothing_to_list_says_so(capsys):
    assert said(capsys, "oss://bucket/none/")[1].out == "0 upload(s), 0 B\n"
    assert json.loads(said(capsys, "oss://bucket/none/", "--json")[1].out) == []


@pytest.mark.usefixtures("environment")
def test_a_failure_is_one_line_and_a_status(capsys):
    for arguments, expected in (
        (["oss://no-such-bucket/x"], "NoSuchBucket"),
        (["nonsense"], "is not an OSS location"),
        (["oss://bucket/x", "--cred-path", "/nowhere/credentials"], "/nowhere/credentials"),
    ):
        status, printed = said(capsys, *arguments)
        assert status == 1
        assert printed.out == ""
        assert printed.err.count("\n") == 1
        assert printed.err.startswith("ossconnector: ")
        assert expected in printed.err


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("12h", 43_200), ("1d", 86_400), ("1.5h", 5400)]
)
def test_ages_are_read(text, seconds):
    assert age_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "d", "-1d", "1y", "1d "])
def test_what_is_no_age_is_refused(text, capsys):
    with pytest.raises(SystemExit) as refused:
        main(["uploads", "oss://bucket/x", f"--abort-older-than={text}"])
    assert refused.value.code == 2
    assert "is not an age" in capsys.readouterr().err


def test_a_removed_upload_may_be_removed_again(environment):
    writer = OssCheckpoint(**environment.arguments).writer("oss://bucket/ckpt/y")
    writer.write(bytes(20 * MIB))
    client = OssClient(**environment.arguments)
    [upload] = client.abandoned_uploads("oss://bucket/ckpt/y")
    writer.abort()
    client.remove_abandoned(upload)
    client.remove_abandoned(upload)
    assert client.abandoned_uploads("oss://bucket/ckpt/y") == []


def test_wrong_arguments_are_refused(environment):
    client = OssClient(**environment.arguments)
    with pytest.raises(ConfigError):
        client.abandoned_uploads("relative/prefix")
    with pytest.raises(ValueError, match="older_than_seconds"):
        client.abandoned_uploads("oss://bucket/", -1)
    with pytest.raises(NotFoundError):
        client.abandoned_uploads("oss://no-such-bucket/")


def test_a_command_that_needs_torch_says_so_in_one_line():
    script = (
        "import sys; sys.modules['torch'] = None; from osstorchconnector.cli import main; "
        "sys.exit(main(['checkpoints', 'latest', 'oss://bucket/run']))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=False
    )
    assert ran.returncode == 1
    assert ran.stderr == "ossconnector: this command needs torch: pip install 'osstorchconnector[torch]'\n"
