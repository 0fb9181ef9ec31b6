"""`ossconnector cp`: up, down and within OSS, whole or not at all, stopped and gone on with."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess

import pytest

from command_process import COMMAND, Shell
from osstorchconnector.cli.cp.stopping import Stop, StoppedError

MIB = 1 << 20
BIG = bytes(range(256)) * (40 * MIB // 256)


@pytest.fixture
def shell(site, tmp_path):
    site.fill({"there": b"an object"})
    home = tmp_path / "home"
    home.mkdir()
    return Shell(site, home)


@pytest.fixture
def tree(shell):
    """Make files as a run leaves them; return them by their path below `run`."""
    files = {"a.json": b"{}", "deep/b": b"22", "deep/er/c": b"333", "empty": b"", "large": BIG}
    for name, data in files.items():
        path = shell.directory / "run" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return files


def below(directory):
    found = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in found}


def test_a_tree_goes_up_within_and_down(shell, tree):
    assert "5 copied (40.0 MiB)" in shell.printed("cp", "-r", "run", "oss://bucket/run")
    [known] = shell.document("stat", "oss://bucket/run/a.json")
    assert known["content_type"] == "application/json"
    assert "5 copied" in shell.printed("cp", "-r", "oss://bucket/run/", "oss://bucket/copy/")
    assert shell.oss.requests("UploadPartCopy") == []
    assert "5 copied" in shell.printed("cp", "-r", "oss://bucket/copy", "back")
    assert below(shell.directory / "back") == tree


def test_single_things_go_where_they_are_named_or_into_a_directory(shell, tree):
    assert shell.printed("cp", "-q", "run/a.json", "oss://bucket/x") == ""
    shell.printed("cp", "run/a.json", "run/deep/b", "oss://bucket/into/")
    shell.printed("cp", "oss://bucket/x", "x.json")
    shell.printed("cp", "oss://bucket/into/b", "oss://bucket/x", "new/")
    shell.printed("cp", "oss://bucket/into/a.json", "new")
    assert (shell.directory / "x.json").read_bytes() == tree["a.json"]
    assert below(shell.directory / "new") == {"b": b"22", "x": b"{}", "a.json": b"{}"}


def test_streams_are_copied_too(shell):
    assert "1 copied (3 B)" in shell.printed("cp", "-", "oss://bucket/piped", input="abc")
    assert shell.printed("cp", "oss://bucket/piped", "-") == "abc"
    shell.printed("cp", "oss://bucket/piped", "/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.usefixtures("tree")
def test_options_of_new_objects_reach_them(shell):
    options = ("--content-type", "text/x-log", "--storage-class", "IA")
    shell.printed("cp", *options, "run/a.json", "oss://bucket/a")
    [known] = shell.document("stat", "oss://bucket/a")
    assert (known["content_type"], known["storage_class"]) == ("text/x-log", "IA")
    assert "cannot be" in shell.refused("cp", "--content-type", "a\nb", "run/a.json", "oss://bucket/a")


@pytest.mark.usefixtures("tree")
def test_nothing_is_replaced_with_if_absent(shell):
    assert "--if-absent" in shell.refused("cp", "--if-absent", "oss://bucket/there", "run/a.json")
    assert (shell.directory / "run/a.json").read_bytes() == b"{}"
    assert "FileAlreadyExists" in shell.refused("cp", "--if-absent", "run/a.json", "oss://bucket/there")
    assert shell.printed("cat", "oss://bucket/there") == "an object"
    shell.printed("cp", "--if-absent", "oss://bucket/there", "new")
    assert (shell.directory / "new").read_bytes() == b"an object"


@pytest.mark.usefixtures("tree")
def test_a_document_names_what_was_copied_with_its_checksum(shell):
    document = shell.document("cp", "-r", "run/deep", "oss://bucket/deep")
    rows = {row["target"]: (row["how"], row["size"]) for row in document["copied"]}
    assert rows == {"oss://bucket/deep/b": ("copied", 2), "oss://bucket/deep/er/c": ("copied", 3)}
    [known] = shell.document("stat", "oss://bucket/deep/b")
    assert known["crc64"] in {row["crc64"] for row in document["copied"]}
    assert (document["failed"], document["remaining"], document["all_found"]) == ([], [], True)


def test_resuming_leaves_alone_what_has_the_same_bytes(shell, tree):
    shell.printed("cp", "-r", "run", "oss://bucket/run")
    (shell.directory / "run/deep/b").write_bytes(b"23")
    written = len(shell.oss.requests("PutObject"))
    assert "1 copied (2 B)" in shell.printed("cp", "-r", "--resume", "run", "oss://bucket/run")
    assert len(shell.oss.requests("PutObject")) == written + 1
    assert "5 copied" in shell.printed("cp", "-r", "--resume", "oss://bucket/run", "back")
    (shell.directory / "back/deep/er/c").write_bytes(b"334")
    said = shell.printed("cp", "-r", "--resume", "oss://bucket/run", "back")
    assert "1 copied (3 B)" in said
    assert "4 already there" in said
    assert below(shell.directory / "back") == {**tree, "deep/b": b"23"}
    shell.printed("cp", "-r", "oss://bucket/run", "oss://bucket/copy")
    assert "0 copied (0 B)" in shell.printed("cp", "-r", "--resume", "oss://bucket/run", "oss://bucket/copy")


def begin_slowly(shell, operation, count, *arguments):
    """Begin a copy over a slow network; return it when so many requests have been answered."""
    shell.oss.shape(rate_bytes_per_second=4 * MIB)
    running = shell.begun(*arguments)
    while len(shell.oss.requests(operation)) < count and running.poll() is None:
        pass
    assert running.poll() is None, running.communicate()
    return running


def interrupted(running):
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=8)
    assert running.returncode == 130
    assert "Traceback" not in said
    [line] = said.splitlines()
    return line


def stopped_download(shell, count):
    """Stop a download of `big` when so many requests have been answered; return what it said, and its part."""
    with begin_slowly(shell, "GetObject", count, "cp", "oss://bucket/big", "big") as running:
        while not any(path.stat().st_size for path in shell.directory.glob(".big.*.part")):
            assert running.poll() is None
        said = interrupted(running)
    [part] = shell.directory.glob(".big.*.part")
    return said, part


def test_a_download_that_is_stopped_leaves_its_target_and_is_gone_on_with(shell, site):
    site.fill({"big": BIG * 2})
    (shell.directory / "big").write_bytes(b"old")
    said, part = stopped_download(shell, 8)
    assert "0 of 1 copied; 1 under way given up" in said
    assert "--resume" in said
    assert (shell.directory / "big").read_bytes() == b"old"
    assert BIG[: part.stat().st_size] == part.read_bytes()[: len(BIG)]
    shell.oss.shape()
    said = shell.printed("cp", "--resume", "oss://bucket/big", "big")
    assert "1 gone on with" in said
    assert (shell.directory / "big").read_bytes() == BIG * 2
    assert list(shell.directory.glob(".big*")) == []


def test_a_part_that_is_not_what_it_seems_is_not_trusted(shell, site):
    site.fill({"big": BIG})
    _, part = stopped_download(shell, 4)
    part.write_bytes(b"x" * part.stat().st_size)
    shell.oss.shape()
    shell.printed("cp", "--resume", "oss://bucket/big", "big")
    assert (shell.directory / "big").read_bytes() == BIG


def test_what_replaces_a_part_that_was_not_trusted_is_compared_too(shell, site):
    site.fill({"big": BIG})
    _, part = stopped_download(shell, 4)
    part.write_bytes(b"x" * (16 * MIB))
    shell.oss.shape()
    # The end comes whole behind the part, which is then found out, and damaged when all is fetched.
    end = {"op": "GetObject", "range": f"bytes={len(BIG) - 4 * MIB}-*", "nth": 2}
    shell.oss.rules([{"match": end, "action": {"flip_bit": 77}}])
    done = shell.run("cp", "--resume", "oss://bucket/big", "big")
    assert done.returncode == 1
    assert "damaged on the way" in done.stderr
    assert list(shell.directory.iterdir()) == []


@pytest.mark.usefixtures("tree")
def test_an_upload_that_is_stopped_ends_at_once_and_leaves_nothing(shell):
    with begin_slowly(
        shell, "InitiateMultipartUpload", 1, "cp", "run/large", "oss://bucket/there"
    ) as running:
        said = interrupted(running)
    assert "0 of 1 copied; 1 under way given up, their targets are as before" in said
    shell.oss.shape()
    assert shell.printed("cat", "oss://bucket/there") == "an object"
    assert shell.document("uploads", "oss://bucket/") == []


def test_many_that_are_stopped_say_what_remains_and_are_gone_on_with(shell):
    shell.oss.fill("bucket", "many/", 200, 100_000)
    shell.oss.shape(rate_bytes_per_second=200_000)
    with shell.begun("cp", "-r", "--json", "oss://bucket/many/", "many") as running:
        while len(shell.oss.requests("GetObject")) < 32:
            assert running.poll() is None
        running.send_signal(signal.SIGINT)
        output, _ = running.communicate(timeout=8)
    assert running.returncode == 130
    document = json.loads(output)
    copied = {row["target"] for row in document["copied"]}
    remaining = {row["target"] for row in document["remaining"]}
    assert len(copied) + len(remaining) == 200
    assert remaining
    assert {f"many/{name}" for name in below(shell.directory / "many") if "." not in name} == copied
    shell.oss.shape()
    said = shell.printed("cp", "-r", "--resume", "oss://bucket/many/", "many")
    assert f"{len(remaining)} copied" in said
    assert len(below(shell.directory / "many")) == 200


def test_keys_that_lead_out_of_the_directory_are_refused_and_the_others_come(shell, site):
    site.fill(
        {"evil/ok": b"1", "evil/../../out": b"2", "evil//abs": b"3", "evil/sub/": b"", "evil/x/./y": b"4"}
    )
    done = shell.run("cp", "-r", "oss://bucket/evil/", "into")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 3
    assert all("cannot be a path below into" in line for line in done.stderr.splitlines())
    assert "1 copied (1 B)" in done.stdout
    assert "3 failed" in done.stdout
    assert below(shell.directory) == {"into/ok": b"1"}


@pytest.mark.usefixtures("tree")
def test_what_cannot_be_a_file_is_one_failure_among_the_others(shell):
    os.mkfifo(shell.directory / "run/pipe")
    os.symlink("nowhere", shell.directory / "run/broken")
    os.symlink("a.json", shell.directory / "run/link")
    done = shell.run("cp", "-r", "run", "oss://bucket/run")
    assert done.returncode == 1
    broken, pipe = sorted(done.stderr.splitlines())
    assert broken.endswith("run/broken: No such file or directory")
    assert "run/pipe is no file" in pipe
    assert shell.printed("cat", "oss://bucket/run/link") == "{}"
    assert len(shell.document("ls", "-r", "oss://bucket/run/")) == 6


def test_links_and_other_peoples_files_are_not_written_through(shell, site):
    site.fill({"big": BIG})
    (shell.directory / "real").write_bytes(b"old")
    os.symlink("real", shell.directory / "link")
    shell.printed("cp", "oss://bucket/there", "link")
    assert (shell.directory / "link").is_symlink()
    assert (shell.directory / "real").read_bytes() == b"an object"
    shell.oss.shape(rate_bytes_per_second=4 * MIB)
    running = begin_slowly(shell, "GetObject", 2, "cp", "oss://bucket/big", "big")
    while not list(shell.directory.glob(".big.*.part")):
        assert running.poll() is None
    [part] = shell.directory.glob(".big.*.part")
    assert "another copy" in shell.refused("cp", "oss://bucket/big", "big")
    running.kill()
    running.communicate()
    part.unlink()
    os.symlink("/etc/hostname", part)
    shell.oss.shape()
    assert "is a link" in shell.refused("cp", "oss://bucket/big", "big")


def test_a_damaged_object_is_fetched_again_and_never_takes_the_name(shell):
    damage = {"match": {"op": "GetObject"}, "action": {"flip_bit": True}}
    shell.oss.rules([damage])
    line = shell.refused("cp", "oss://bucket/there", "got")
    assert "CRC" in line or "checksum" in line
    assert list(shell.directory.iterdir()) == []


@pytest.mark.usefixtures("tree")
def test_a_missing_bucket_ends_all_at_once(shell):
    done = shell.run("cp", "-r", "run", "oss://no-such-bucket/run")
    assert done.returncode == 1
    odd = [line for line in done.stderr.splitlines() if "NoSuchBucket" not in line and "stopped:" not in line]
    assert odd == []
    assert done.stdout == ""


def test_what_is_opened_after_the_stop_is_ended_at_once():
    stop, ended = Stop(), []
    with stop.waking(lambda: ended.append("in time")):
        pass
    stop.set()
    with pytest.raises(StoppedError), stop.waking(lambda: ended.append("too late")):
        raise AssertionError("the block must not begin")
    assert ended == ["too late"]


@pytest.mark.parametrize(
    ("arguments", "line", "status"),
    [
        (("run", "oss://bucket/x"), "-r copies what lies below it", 2),
        (("oss://bucket/dir/", "x"), "-r copies what lies below it", 2),
        (("oss://bucket", "x"), "-r copies what lies below it", 2),
        (("run/a.json", "run/b"), "none of these is on OSS", 2),
        (("oss:/bucket/there", "x"), "neither oss://bucket/key nor a path", 2),
        (("s3://bucket/there", "x"), "neither oss://bucket/key nor a path", 2),
        (("oss://bucket/there", "oss://bucket/there"), "to itself", 2),
        (("oss://bucket/there",), "missing argument", 2),
        (("--if-absent", "oss://bucket/there", "oss://bucket/x"), "are of uploads", 2),
        (("-", "oss://bucket/dir/"), "stdin has no name", 2),
        (("oss://bucket/there", "run/a.json", "oss://bucket/x"), "is no directory", 2),
        (("-r", "oss://bucket/", "oss://bucket/below/"), "lies below", 2),
        (("nofile", "oss://bucket/x"), "nofile: No such file or directory", 1),
        (("oss://bucket/typo", "x"), "there is no such object", 1),
        (("oss://bucket/th", "x"), "there is no such object", 1),
        (("-r", "oss://bucket/nothing/", "x"), "no object lies below it", 1),
        (("oss://bucket/there", "run/a.json/x"), "ot a directory", 1),
    ],
)
@pytest.mark.usefixtures("tree")
def test_what_is_wrong_is_one_line_and_leaves_nothing(shell, arguments, line, status):
    before = below(shell.directory)
    assert line in shell.refused("cp", *arguments, status=status)
    assert below(shell.directory) == before
    assert len(shell.document("ls", "-r", "oss://bucket/")) == 1


@pytest.mark.usefixtures("tree")
def test_two_sources_for_one_target_are_refused(shell):
    done = shell.run("cp", "run/a.json", "run/deep/../a.json", "oss://bucket/into/")
    assert done.returncode == 1
    assert "would both be copied to oss://bucket/into/a.json" in done.stderr


@pytest.mark.usefixtures("tree")
def test_a_terminal_sees_progress_and_nobody_else(shell):
    shell.oss.shape(rate_bytes_per_second=20 * MIB)
    seen = subprocess.run(
        ["script", "-qec", " ".join([*COMMAND, "cp", "-r", "run", "oss://bucket/run"]), "/dev/null"],
        env=shell.variables,
        cwd=shell.directory,
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    assert "of 5, " in seen.stdout
    assert "MiB/s" in seen.stdout
    assert "5 copied" in seen.stdout.split("\x1b[K")[-1]


@pytest.mark.usefixtures("tree")
def test_a_file_that_changes_while_it_is_read_is_not_published(shell):
    with begin_slowly(
        shell, "InitiateMultipartUpload", 1, "cp", "run/large", "oss://bucket/there"
    ) as running:
        with open(shell.directory / "run/large", "ab") as file:
            file.write(b"more")
        shell.oss.shape()
        _, said = running.communicate(timeout=40)
    assert running.returncode == 1
    assert "the file changed while it was read" in said
    assert shell.printed("cat", "oss://bucket/there") == "an object"
    assert shell.document("uploads", "oss://bucket/") == []
