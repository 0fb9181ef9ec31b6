"""`ossconnector ls`, `stat`, `cat`, `du` and `rm`, as a user types them."""

from __future__ import annotations

import base64
import json
import signal
import subprocess

import pytest

from command_process import Shell
from osstorchconnector.checksum import crc64

OBJECTS = {
    "run/a.json": b"{}",
    "run/deep/b": b"22",
    "run/deep/er/c": b"333",
    "run/empty": b"",
    "run2/d": b"4444",
    "top": b"55555",
}


@pytest.fixture
def shell(site, tmp_path):
    site.fill(OBJECTS)
    return Shell(site, tmp_path)


def test_ls_lists_objects_and_groups_in_byte_order(shell):
    assert shell.printed("ls", "oss://bucket/run").split() == ["oss://bucket/run/", "oss://bucket/run2/"]
    assert shell.printed("ls", "oss://bucket/run/").split() == [
        "oss://bucket/run/a.json",
        "oss://bucket/run/deep/",
        "oss://bucket/run/empty",
    ]
    assert shell.printed("ls", "-r", "oss://bucket").split() == [f"oss://bucket/{key}" for key in OBJECTS]


def test_ls_tells_sizes_and_times(shell):
    group, top = shell.printed("ls", "-l", "oss://bucket/run/deep").splitlines()[0], None
    assert group.strip() == "oss://bucket/run/deep/"
    size, when, uri = shell.printed("ls", "-l", "oss://bucket/top").split()
    assert (size, when[-1], uri) == ("5", "Z", "oss://bucket/top")
    assert "5 B" in shell.printed("ls", "-lh", "oss://bucket/top")
    [top] = shell.document("ls", "oss://bucket/top")
    assert (top["uri"], top["size"], top["is_prefix"], top["modified"]) == (uri, 5, False, when)
    assert shell.document("ls", "oss://bucket/run/deep") == [
        {"uri": "oss://bucket/run/deep/", "is_prefix": True}
    ]


def test_ls_of_nothing_fails_and_of_an_empty_bucket_does_not(shell):
    assert "no key begins with this" in shell.refused("ls", "oss://bucket/nothing")
    shell.oss.reset()
    assert shell.printed("ls", "oss://bucket/") == ""
    assert shell.document("ls", "oss://bucket/") == []


def test_a_million_lines_end_with_the_reader_of_them(shell):
    shell.oss.fill("bucket", "many/", 200_000, 1, synthetic=True)
    with shell.begun("ls", "-r", "oss://bucket/many/") as listing:
        assert listing.stdout.readline() == "oss://bucket/many/00000000\n"
        listing.stdout.close()
        assert listing.wait(timeout=30) == 141
        assert listing.stderr.read() == ""


def test_stat_tells_what_oss_knows(shell):
    [known] = shell.document("stat", "oss://bucket/run/deep/b")
    assert (known["uri"], known["size"], known["crc64"]) == (
        "oss://bucket/run/deep/b",
        2,
        str(crc64(b"22")),
    )
    assert (known["storage_class"], known["metadata"]) == ("Standard", {})
    lines = shell.printed("stat", "oss://bucket/run/deep/b", "oss://bucket/top").splitlines()
    assert [line for line in lines if line.startswith("size")] == ["size          2", "size          5"]


def test_a_prefix_where_an_object_was_meant_is_pointed_out(shell):
    for command in ("stat", "cat", "rm"):
        assert "there are keys below it: oss://bucket/run/deep/" in shell.refused(
            command, "oss://bucket/run/deep"
        )


def test_cat_writes_bytes_and_ranges_of_them(shell):
    data = bytes(range(256)) * 200_000
    shell.oss.put_object("bucket", "large", data)
    assert shell.printed("cat", "oss://bucket/large", text=False) == data
    assert shell.printed("cat", "oss://bucket/top", "oss://bucket/run/empty", "oss://bucket/run/a.json") == (
        "55555{}"
    )
    for span, expected in (("1..3", "33"), ("1..", "33"), ("..1", "3"), ("9..", ""), ("0..0", "")):
        assert shell.printed("cat", "--range", span, "oss://bucket/run/deep/er/c") == expected
    for wrong in ("5", "a..b", "3..1", "-1..2"):
        assert "--range" in shell.refused("cat", f"--range={wrong}", "oss://bucket/top", status=2)
    first, second = shell.document("cat", "oss://bucket/large", "oss://bucket/run/empty")
    assert base64.b64decode(first["base64"]) == data
    assert second == {"uri": "oss://bucket/run/empty", "base64": ""}


def test_du_sums_up_by_group(shell):
    rows = shell.document("du", "-d", "2", "oss://bucket/")
    assert [(row["uri"].removeprefix("oss://bucket/"), row["bytes"], row["objects"]) for row in rows] == [
        ("run/", 7, 4),
        ("run/deep/", 5, 2),
        ("run2/", 4, 1),
        ("", 16, 6),
    ]
    head, total = shell.printed("du", "oss://bucket/run").splitlines()
    assert (head.split(), total.split()) == (["BYTES", "OBJECTS", "URI"], ["11", "5", "oss://bucket/run"])
    assert "11 B" in shell.printed("du", "-h", "oss://bucket/run")
    assert "no objects" in shell.refused("du", "oss://bucket/nothing")


def there(shell):
    return [row["uri"].removeprefix("oss://bucket/") for row in shell.document("ls", "-r", "oss://bucket/")]


def test_rm_deletes_what_is_named_and_a_typo_deletes_nothing(shell):
    assert "NoSuchKey" in shell.refused("rm", "oss://bucket/top", "oss://bucket/tpo")
    assert there(shell) == list(OBJECTS)
    done = shell.run("rm", "oss://bucket/top", "oss://bucket/run/empty")
    assert (done.returncode, done.stdout.split()) == (0, ["oss://bucket/top", "oss://bucket/run/empty"])
    assert there(shell) == ["run/a.json", "run/deep/b", "run/deep/er/c", "run2/d"]
    assert shell.run("rm", "-f", "oss://bucket/top").returncode == 0


def test_rm_goes_below_a_prefix_only_with_a_flag_and_a_slash(shell):
    assert "-r deletes what lies below it" in shell.refused("rm", "oss://bucket/run/", status=2)
    assert "write oss://bucket/run/" in shell.refused("rm", "-r", "oss://bucket/run", status=2)
    assert "--whole-bucket" in shell.refused("rm", "-r", "oss://bucket/", status=2)
    assert "no object lies below it" in shell.refused("rm", "-r", "oss://bucket/nothing/")
    said = shell.run("rm", "-rn", "oss://bucket/run/")
    assert (len(said.stdout.splitlines()), said.stderr) == (4, "4 object(s) would be deleted\n")
    assert there(shell) == list(OBJECTS)
    deleted = json.loads(shell.run("rm", "-r", "--json", "oss://bucket/run/").stdout)
    assert {row["uri"].removeprefix("oss://bucket/") for row in deleted} == {
        key for key in OBJECTS if key.startswith("run/")
    }
    assert there(shell) == ["run2/d", "top"]
    assert shell.run("rm", "-r", "--whole-bucket", "--quiet", "oss://bucket/").stdout == ""
    assert there(shell) == []


def test_rm_deletes_thousands_markers_of_directories_included(shell):
    shell.oss.fill("bucket", "many/", 2500, 1)
    shell.oss.put_object("bucket", "many/", b"")
    assert len(shell.run("rm", "-r", "oss://bucket/many/").stdout.splitlines()) == 2501
    assert len(shell.oss.requests("DeleteMultipleObjects")) == 3
    assert there(shell) == list(OBJECTS)


@pytest.mark.parametrize("command", ["ls", "stat", "cat", "rm", "du"])
def test_what_is_wrong_is_one_line_and_a_status(shell, command):
    assert "NoSuchBucket" in shell.refused(command, "oss://no-such-bucket/key")
    assert "is not an OSS location" in shell.refused(command, "s3://bucket/key")
    assert "names no bucket" in shell.refused(command, "oss:///key")
    assert "nowhere" in shell.refused(command, "oss://bucket/top", "--cred-path", "/nowhere")
    assert "cannot be read" in shell.refused(command, "oss://bucket/top", "--config-path", "/nowhere")
    assert "local-directory mode" in shell.refused(command, "/tmp/x", "--endpoint", "")
    if command != "ls":  # which lists the buckets then
        assert "see ossconnector" in shell.refused(command, status=2)


def test_keys_that_a_terminal_would_obey_are_escaped_there_and_whole_elsewhere(shell):
    key = "odd/\x1b[31mred\n\u6d77"
    shell.oss.put_object("bucket", key, b"x")
    assert shell.printed("ls", "oss://bucket/odd/") == f"oss://bucket/{key}\n"
    [row] = shell.document("ls", "oss://bucket/odd/")
    assert row["uri"] == f"oss://bucket/{key}"
    shell.variables["PYTHONIOENCODING"] = "ascii"
    assert "\\u6d77" in shell.printed("ls", "oss://bucket/odd/")
    del shell.variables["PYTHONIOENCODING"]
    seen = subprocess.run(
        ["script", "-qec", f"{' '.join(shell_words('ls', 'oss://bucket/odd/'))}", "/dev/null"],
        env=shell.variables,
        capture_output=True,
        timeout=50,
        check=True,
    )
    assert b"\\x1b[31mred\\n" in seen.stdout


def shell_words(*arguments):
    from command_process import COMMAND

    return [*COMMAND, *arguments]


def test_rm_that_is_stopped_says_what_it_did(shell):
    shell.oss.fill("bucket", "many/", 4000, 1)
    shell.oss.shape(first_byte_ms=300)
    with shell.begun("rm", "-rq", "oss://bucket/many/") as running:
        while not shell.oss.requests("DeleteMultipleObjects"):
            assert running.poll() is None
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=20)
    assert running.returncode == 130
    assert "object(s) deleted, and up to 1000 under way" in said
    assert "Traceback" not in said
