"""The index file: a private place, one owner, nothing left behind."""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from osstorchconnector.epochs import SharedEpoch
from osstorchconnector.errors import ConfigError
from osstorchconnector.index import IndexFile, MemoryIndex
from osstorchconnector.sources import ObjectsSource, PrefixSource


@pytest.fixture(autouse=True)
def private_tmp(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def files_in(place):
    return sorted(path.name for path in Path(place).glob("osstorchconnector-*/*"))


def test_making_one_touches_no_disk(private_tmp):
    IndexFile()
    assert list(private_tmp.iterdir()) == []


def test_the_directory_is_private(private_tmp):
    file = IndexFile()
    directory = Path(file.directory)
    assert directory == private_tmp / f"osstorchconnector-{os.getuid()}"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert not file.is_built


def test_a_directory_others_may_enter_is_refused(private_tmp):
    (private_tmp / f"osstorchconnector-{os.getuid()}").mkdir(mode=0o755)
    with pytest.raises(ConfigError, match="not a private directory"):
        _ = IndexFile().directory


def test_a_link_in_its_place_is_refused(private_tmp):
    (private_tmp / "elsewhere").mkdir(mode=0o700)
    (private_tmp / f"osstorchconnector-{os.getuid()}").symlink_to(private_tmp / "elsewhere")
    with pytest.raises(ConfigError, match="not a private directory"):
        _ = IndexFile().directory


def test_files_go_with_their_dataset(private_tmp):
    file = IndexFile()
    Path(file.path).touch()
    Path(file.beside("7-a.stats")).touch()
    assert file.is_built
    assert file.is_owned()
    assert [found.name for found in file.stats_files()] == [f"{file.name}.7-a.stats"]
    assert len(files_in(private_tmp)) == 2
    del file
    gc.collect()
    assert files_in(private_tmp) == []


def test_files_go_that_workers_wrote_where_their_parent_never_looked(private_tmp):
    file, epoch = IndexFile(), SharedEpoch()
    child = os.fork()
    if not child:
        Path(file.path).touch()
        epoch.is_first("told", is_worker=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert len(files_in(private_tmp)) == 2
    del file, epoch
    gc.collect()
    assert files_in(private_tmp) == []


def test_two_datasets_do_not_share_a_file():
    assert IndexFile().path != IndexFile().path


def test_once_pickled_the_file_stays_until_the_process_exits(private_tmp):
    file = IndexFile()
    Path(file.path).touch()
    pickled = pickle.dumps(file)
    del file
    gc.collect()
    again = pickle.loads(pickled)
    assert again.is_built
    del again
    gc.collect()
    assert len(files_in(private_tmp)) == 1


OWNER = """
import os, pickle, sys, tempfile
tempfile.tempdir = sys.argv[1]
from pathlib import Path
from osstorchconnector.index import IndexFile
file = IndexFile()
Path(file.path).touch()
pickle.dumps(file)
{end}
"""


def run_owner(place, end):
    return subprocess.run([sys.executable, "-c", OWNER.format(end=end), str(place)], check=False)


def test_the_owner_removes_it_at_exit(private_tmp):
    assert run_owner(private_tmp, "").returncode == 0
    assert files_in(private_tmp) == []


def test_a_forked_child_leaves_it_to_the_owner(private_tmp):
    end = "child = os.fork()\nif not child: sys.exit(0)\nos.waitpid(child, 0)\nassert file.is_built"
    assert run_owner(private_tmp, end).returncode == 0
    assert files_in(private_tmp) == []


def test_what_a_killed_process_left_is_removed_by_the_next_build(private_tmp):
    run_owner(private_tmp, "os.kill(os.getpid(), 9)")
    assert len(files_in(private_tmp)) == 1
    living = IndexFile()
    Path(living.path).touch()
    other = IndexFile()
    _ = other.directory
    assert files_in(private_tmp) == [f"{living.name}.index"]


def test_strange_files_in_the_directory_are_left_alone():
    strange = Path(IndexFile().directory) / "notes-1.txt"
    strange.touch()
    _ = IndexFile().directory
    assert strange.exists()


def test_a_list_of_objects_is_taken_once():
    source = ObjectsSource(f"oss://b/{number}" for number in range(3))
    for _ in range(2):
        assert [row[0] for row in source.rows(None)] == ["/b/0", "/b/1", "/b/2"]  # type: ignore[arg-type]


def test_one_uri_is_a_list_of_one():
    assert [row[0] for row in ObjectsSource("oss://b/k").rows(None)] == ["/b/k"]  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [[], "", ["oss://b/k", ""], ["oss://b"], ["s3://b/k"]])
def test_wrong_lists_are_refused_at_once(wrong):
    with pytest.raises(ConfigError, match="object_uris"):
        ObjectsSource(wrong)


def test_a_pickled_list_whose_file_is_gone_says_so():
    with pytest.raises(ConfigError, match="make the dataset again"):
        ObjectsSource(["oss://b/k"]).without_list().rows(None)  # type: ignore[arg-type]


def test_a_prefix_leaves_out_empty_objects_and_markers():
    rows = [("/b/p/", 0, None, ""), ("/b/p/empty", 0, None, ""), ("/b/p/full", 3, None, "")]
    assert [row[0] for row in rows if PrefixSource("oss://b/p/").delivers(row)] == ["/b/p/full"]
    wide = PrefixSource("oss://b/p/", include_empty=True)
    assert [row[0] for row in rows if wide.delivers(row)] == ["/b/p/empty", "/b/p/full"]


def test_rows_in_memory_are_an_index():
    index = MemoryIndex([("/a/b", 1, None, "x")])
    assert len(index) == 1
    assert index.row(0) == ("/a/b", 1, None, "x")
