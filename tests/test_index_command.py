"""Object indexes of their own: saved, loaded, shown, compared; from Python and as `ossconnector index`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from osstorchconnector import OssClient
from osstorchconnector.cli import main
from osstorchconnector.errors import EmptyDatasetError, FormatError, NotFoundError


@pytest.fixture
def environment(site, monkeypatch):
    """Let the command find the emulator as a user's shell would."""
    site.fill({"p/a": b"1", "p/b": b"22", "p/c": b"333", "p/empty": b""})
    for name, value in site.oss.environ().items():
        monkeypatch.setenv(name, value)
    return site


@pytest.mark.parametrize("place", ["file", "object"])
def test_an_index_is_saved_and_loaded(environment, tmp_path, place):
    client = OssClient(**environment.arguments)
    where = str(tmp_path / "train.index") if place == "file" else "oss://bucket/indexes/train"
    index = client.build_index("oss://bucket/p/")
    assert (len(index), index.left_out_empty, index.size_bytes()) == (3, 1, 6)
    assert client.save_index(index, where) > 0
    again = client.load_index(where)
    assert list(again) == list(index)
    assert (again.fingerprint, again.left_out_empty) == (index.fingerprint, 1)
    assert list(index.differences(again)) == []


def test_the_command_builds_shows_and_compares(environment, tmp_path, capsys):
    old, new = str(tmp_path / "old"), str(tmp_path / "new")
    assert main(["index", "build", "oss://bucket/p/", old]) == 0
    assert "3 objects" in capsys.readouterr().out
    environment.fill({"p/b": b"changed", "p/d": b"4"})
    OssClient(**environment.arguments).remove_object("bucket", "p/a")
    assert main(["index", "build", "oss://bucket/p/", new]) == 0
    capsys.readouterr()
    assert main(["index", "diff", old, old]) == 0
    assert capsys.readouterr().out == ""
    assert main(["index", "diff", old, new]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "- oss://bucket/p/a",
        "! oss://bucket/p/b",
        "+ oss://bucket/p/d",
    ]
    assert main(["index", "show", "--json", "--rows", "1", new]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["objects"], shown["rows"][0][:2]) == (3, ["oss://bucket/p/b", 7])
    assert main(["index", "show", "--rows", "1", new]) == 0
    assert "oss://bucket/p/b\t7" in capsys.readouterr().out


def test_an_empty_prefix_is_an_error_and_writes_nothing(environment, tmp_path, capsys):
    assert main(["index", "build", "oss://bucket/none/", str(tmp_path / "none")]) == 1
    assert "oss://bucket/none/: no objects; check the prefix" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["site"] or "none" not in os.listdir(tmp_path)
    with pytest.raises(EmptyDatasetError):
        OssClient(**environment.arguments).build_index("oss://bucket/none/")


def test_what_is_no_index_is_refused(environment, tmp_path):
    client = OssClient(**environment.arguments)
    good = tmp_path / "good"
    client.save_index(client.build_index("oss://bucket/p/"), good)
    packed = good.read_bytes()
    spoilt = {
        "garbage": (b"garbage", "no packed index"),
        "cut": (packed[:-3], "cut or damaged"),
        "newer": (packed[:8] + b"\x09" + packed[9:], "version 9, this build reads version 1"),
    }
    for name, (data, reason) in spoilt.items():
        path = Path(tmp_path / name)
        path.write_bytes(data)
        with pytest.raises(FormatError, match=reason) as caught:
            client.load_index(path)
        assert str(path) in str(caught.value)
    with pytest.raises(NotFoundError, match="nowhere"):
        client.load_index(tmp_path / "nowhere")
    with pytest.raises(NotFoundError):
        client.load_index("oss://bucket/nowhere")


def test_programs_are_told_in_json(environment, tmp_path, capsys):
    old, new = str(tmp_path / "old"), str(tmp_path / "new")
    assert main(["index", "build", "--json", "oss://bucket/p/", old]) == 0
    built = json.loads(capsys.readouterr().out)
    assert (built["objects"], built["left_out_empty"], built["target"]) == (3, 1, old)
    environment.fill({"p/b": b"changed"})
    main(["index", "build", "oss://bucket/p/", new])
    capsys.readouterr()
    assert main(["index", "diff", "--json", old, new]) == 1
    assert json.loads(capsys.readouterr().out) == [{"change": "changed", "uri": "oss://bucket/p/b"}]
    assert main(["index", "diff", "--json", old, old]) == 0
    assert json.loads(capsys.readouterr().out) == []
