"""A command that takes long says on a terminal how far it is, elsewhere nothing; and leaves no trace of the line."""

from __future__ import annotations

import io
import re
import sys

import pytest

from osstorchconnector import OssCheckpoint, OssClient
from osstorchconnector.cli import main
from torch_versions import need_checkpoints

MIB = 1 << 20


class Terminal(io.StringIO):
    """What stderr is to a user."""

    def isatty(self):
        return True


@pytest.fixture
def typed(site, monkeypatch, capsys):
    """Give a function that runs a command, stderr on a terminal or not; it returns status, output and errors."""
    for name, value in site.oss.environ().items():
        monkeypatch.setenv(name, value)

    def run(*arguments, terminal=True):
        capsys.readouterr()
        shown = Terminal() if terminal else io.StringIO()
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stderr", shown)
            status = main(list(map(str, arguments)))
        return status, capsys.readouterr().out, shown.getvalue()

    return run


def left_on_screen(shown):
    """Return what stands on a terminal's lines at the end: each is what came after it was last erased."""
    return [re.split(r"\r\x1b\[K", line)[-1] for line in shown.split("\n") if line]


@pytest.fixture
def many(site):
    site.oss.fill("bucket", "many/", 2500, 1)
    # Longer than the line stays as it is.
    site.oss.shape(first_byte_ms=220)
    return site


@pytest.mark.usefixtures("many")
def test_deleting_below_a_prefix(typed):
    status, said, shown = typed("rm", "-r", "oss://bucket/many/")
    assert (status, said.count("\n")) == (0, 2500)
    assert "1,000 object(s) deleted" in shown
    assert "2,000 object(s) deleted" in shown
    assert left_on_screen(shown) == ["2500 object(s) deleted"]


@pytest.mark.parametrize("option", ["--quiet", "--json"])
def test_nothing_is_drawn_where_it_is_not_wanted(option, site, typed):
    site.fill({"many/a": b""})
    _, _, shown = typed("rm", "-r", option, "oss://bucket/many/")
    assert "\r" not in shown


def test_nothing_is_drawn_where_there_is_no_terminal(site, typed):
    site.fill({"many/a": b""})
    assert "\r" not in typed("rm", "-r", "oss://bucket/many/", terminal=False)[2]


def test_garbage_of_checkpoints(many, typed, monkeypatch):
    need_checkpoints()
    from osstorchconnector.dcp import retention

    found = retention.Garbage([f"/bucket/many/{number:08}" for number in range(2500)], [])
    monkeypatch.setattr(retention, "garbage", lambda *_: found)
    status, said, shown = typed("checkpoints", "gc", "--yes", "oss://bucket/many/")
    assert (status, said.splitlines()[-1]) == (0, "2500 object(s), removed")
    assert "looking below oss://bucket/many/" in shown
    assert "2,000 of 2,500 removed" in shown
    assert left_on_screen(shown) == [""]
    assert list(OssClient(**many.arguments).list_objects("bucket", "many/")) == []


@pytest.fixture
def orphans(site):
    writers = [OssCheckpoint(**site.arguments).writer(f"oss://bucket/{name}") for name in "abc"]
    client = OssClient(**site.arguments)
    for writer in writers:
        writer.write(bytes(20 * MIB))
    while sum(upload.part_count for upload in client.abandoned_uploads("oss://bucket/")) < len(writers):
        pass
    yield client
    for writer in writers:
        writer.abort()


def test_removing_uploads(orphans, site, typed):
    site.oss.shape(first_byte_ms=220)
    status, said, shown = typed("uploads", "--abort-older-than", "0s", "oss://bucket/")
    assert (status, "3 upload(s)" in said) == (0, True)
    assert "looking for uploads below oss://bucket/" in shown
    assert "2 of 3 uploads removed" in shown
    assert left_on_screen(shown) == [""]
    assert orphans.abandoned_uploads("oss://bucket/") == []


def test_uploads_that_were_removed_before_a_failure_are_counted(orphans, site, typed):
    refused = {"status": 403, "code": "AccessDenied"}
    site.oss.rules([{"match": {"op": "AbortMultipartUpload", "nth": [2]}, "action": refused}])
    status, said, shown = typed("uploads", "--abort-older-than", "0s", "oss://bucket/")
    assert (status, said) == (1, "")
    stopped, failure = left_on_screen(shown)
    assert stopped == "ossconnector: stopped: 1 of 3 upload(s) removed"
    assert "AccessDenied" in failure
    assert len(orphans.abandoned_uploads("oss://bucket/")) == 2
