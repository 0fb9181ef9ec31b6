"""`ossconnector cp --resume` of uploads: what OSS holds is not sent again, and only our own upload of the same is taken."""

from __future__ import annotations

import os
import resource
import signal

import pytest

from command_process import Shell
from osstorchconnector import OssCheckpoint, OssClient

MIB = 1 << 20
PARTS = 20
SENT_BEFORE = 12
DATA = os.urandom(PARTS * MIB - 4321)
TARGET = "oss://bucket/log/big"


@pytest.fixture
def shell(site, tmp_path):
    site.fill({"there": b"an object"})
    site.arguments = site.configured(checkpointConfig={"uploadIoSizeMB": 1})
    home = tmp_path / "home"
    home.mkdir()
    (home / "big").write_bytes(DATA)
    return Shell(site, home)


@pytest.fixture
def client(site):
    return OssClient(**site.arguments)


@pytest.fixture
def copy(site):
    """Give the words of a copy of the file with parts of 1 MiB."""
    config_path = site.configured(checkpointConfig={"uploadIoSizeMB": 1})["config_path"]
    return ("cp", "--config-path", config_path, "big", TARGET)


def begun(shell, *copy, **options):
    """Begin a copy whose later parts do not arrive; return it when the earlier ones are there."""
    held_up = {
        "match": {"op": "UploadPart", "part": list(range(SENT_BEFORE + 1, PARTS + 1))},
        "action": {"stop_reading": True},
    }
    shell.oss.rules([held_up])
    running = shell.begun(*copy, **options)
    # Asks the journal, which asking does not make longer.
    while sum(request["status"] == 200 for request in shell.oss.requests("UploadPart")) < SENT_BEFORE:
        assert running.poll() is None, running.communicate()
    return running


def killed(shell, client, *copy):
    """Kill a copy half-way; return the id of what it leaves."""
    with begun(shell, *copy) as running:
        running.send_signal(signal.SIGKILL)
    shell.oss.rules([])
    [left] = client.abandoned_uploads(TARGET)
    assert left.part_count == SENT_BEFORE
    return left.upload_id


def sent_since(shell, count):
    """Sum up the bytes of parts that were sent after so many requests of that kind."""
    return sum(request["bytes_in"] for request in shell.oss.requests("UploadPart")[count:])


def test_a_copy_that_was_killed_goes_on_with_what_oss_holds(shell, client, copy):
    upload_id = killed(shell, client, *copy)
    before = len(shell.oss.requests("UploadPart"))
    said = shell.printed(*copy[:1], "--resume", *copy[1:])
    assert "1 copied" in said
    assert "1 gone on with" in said
    missing = len(DATA) - SENT_BEFORE * MIB
    assert missing <= sent_since(shell, before) < missing + 2 * MIB
    [complete] = shell.oss.requests("CompleteMultipartUpload")
    assert dict(complete["query"])["uploadId"] == upload_id
    assert len(shell.oss.requests("InitiateMultipartUpload")) == 1
    shell.printed("cp", TARGET, "back")
    assert (shell.directory / "back").read_bytes() == DATA
    assert client.abandoned_uploads(TARGET) == []
    assert "0 copied (0 B)" in shell.printed(*copy[:1], "--resume", *copy[1:]), "it is there now"


def test_a_file_that_changed_meanwhile_begins_anew_and_drops_the_old_parts(shell, client, copy):
    upload_id = killed(shell, client, *copy)
    changed = DATA[: 5 * MIB] + b"changed" + DATA[5 * MIB + 7 :]
    (shell.directory / "big").write_bytes(changed)
    before = len(shell.oss.requests("UploadPart"))
    assert "gone on with" not in shell.printed(*copy[:1], "--resume", *copy[1:])
    assert sent_since(shell, before) == len(changed)
    [dropped] = shell.oss.requests("AbortMultipartUpload")
    assert dict(dropped["query"])["uploadId"] == upload_id
    assert client.abandoned_uploads(TARGET) == []
    assert shell.printed("cat", TARGET, text=False) == changed


@pytest.mark.parametrize("option", [("--content-type", "text/x-log"), ("--storage-class", "IA")])
def test_other_options_begin_anew(shell, client, copy, option):
    killed(shell, client, *copy)
    assert "gone on with" not in shell.printed(*copy[:1], "--resume", *option, *copy[1:])
    [known] = shell.document("stat", TARGET)
    assert option[1] in (known["content_type"], known["storage_class"])
    assert client.abandoned_uploads(TARGET) == []


def test_without_the_option_it_begins_anew(shell, client, copy):
    killed(shell, client, *copy)
    assert "gone on with" not in shell.printed(*copy)
    assert client.abandoned_uploads(TARGET) == []


def test_an_upload_of_somebody_else_with_the_same_parts_is_left_alone(shell, client, copy, site):
    writer = OssCheckpoint(**site.configured(checkpointConfig={"uploadIoSizeMB": 1})).writer(TARGET)
    writer.write(DATA)
    while [upload.part_count for upload in client.abandoned_uploads(TARGET)] != [PARTS - 1]:
        pass
    [theirs] = client.abandoned_uploads(TARGET)
    before = len(shell.oss.requests("UploadPart"))
    assert "gone on with" not in shell.printed(*copy[:1], "--resume", *copy[1:])
    assert sent_since(shell, before) == len(DATA)
    assert [upload.upload_id for upload in client.abandoned_uploads(TARGET)] == [theirs.upload_id]
    writer.close()
    assert client.abandoned_uploads(TARGET) == []


def test_a_copy_that_still_runs_is_not_taken_over(shell, client, copy):
    with begun(shell, *copy) as running:
        running.send_signal(signal.SIGSTOP)
        shell.oss.rules([])
        assert "gone on with" not in shell.printed(*copy[:1], "--resume", *copy[1:])
        [theirs] = client.abandoned_uploads(TARGET)
        assert theirs.part_count >= SENT_BEFORE
        running.kill()
    assert shell.printed("cat", TARGET, text=False) == DATA


def test_ctrl_c_keeps_what_was_sent_where_it_is_to_be_gone_on_with(shell, client, copy):
    resuming = (*copy[:1], "--resume", *copy[1:])
    with begun(shell, *resuming) as running:
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=8)
    assert running.returncode == 130
    assert "the same command with --resume copies what remains" in said
    shell.oss.rules([])
    [left] = client.abandoned_uploads(TARGET)
    assert left.part_count == SENT_BEFORE
    before = len(shell.oss.requests("UploadPart"))
    assert "1 gone on with" in shell.printed(*resuming)
    assert sent_since(shell, before) < len(DATA) - SENT_BEFORE * MIB + 2 * MIB
    assert shell.printed("cat", TARGET, text=False) == DATA


def broken_off(shell, *copy, **options):
    """Stop a copy whose later parts do not arrive by Ctrl-C."""
    with begun(shell, *copy, **options) as running:
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=15)
    assert running.returncode == 130
    shell.oss.rules([])


def test_ctrl_c_leaves_nothing_that_is_not_to_be_gone_on_with(shell, client, copy):
    broken_off(shell, *copy)
    assert client.abandoned_uploads(TARGET) == []


def test_ctrl_c_leaves_nothing_of_a_pipe_which_cannot_be_gone_on_with(shell, client, copy):
    with open(shell.directory / "big", "rb") as pipe:
        broken_off(shell, *copy[:1], "--resume", *copy[1:3], "-", TARGET, stdin=pipe)
    assert client.abandoned_uploads(TARGET) == []


@pytest.mark.parametrize("obstacle", ["no directory", "no room"])
def test_ctrl_c_leaves_nothing_where_no_note_can_be_kept(shell, client, copy, site, obstacle):
    limits = {}
    if obstacle == "no directory":
        (site.directory / "cache").write_text("a file, where a directory was to be")
    else:
        # SIGXFSZ is ignored by Python: a file that may not grow is an error, as on a full disk.
        limits["preexec_fn"] = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    broken_off(shell, *copy[:1], "--resume", *copy[1:], **limits)
    assert client.abandoned_uploads(TARGET) == []


def test_a_note_that_makes_no_sense_is_no_note(shell, client, copy, site):
    killed(shell, client, *copy)
    [note] = (site.directory / "cache" / "osstorchconnector" / "uploads").iterdir()
    assert note.stat().st_mode & 0o077 == 0 or note.parent.stat().st_mode & 0o077 == 0
    note.write_text('{"upload_id": ')
    assert "gone on with" not in shell.printed(*copy[:1], "--resume", *copy[1:])
    assert list(note.parent.iterdir()) == []
    assert shell.printed("cat", TARGET, text=False) == DATA


def test_where_no_note_can_be_kept_a_copy_works_all_the_same(shell, copy, site):
    (site.directory / "cache").write_text("a file, where a directory was to be")
    assert "1 copied" in shell.printed(*copy[:1], "--resume", *copy[1:])
    assert shell.printed("cat", TARGET, text=False) == DATA
