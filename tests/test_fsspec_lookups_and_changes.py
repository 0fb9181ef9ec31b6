"""Everything of the file system but open files: lookups, bytes without a file, copies, moves, deletions."""

from __future__ import annotations

import datetime as dt
import errno
import io
import os
import pickle
import threading
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import fsspec
import pytest

from osstorchconnector.credentials import StaticCredentials
from osstorchconnector.errors import (
    AlreadyExistsError,
    ConfigError,
    CredentialsError,
    NotFoundError,
    OssError,
    PermissionDeniedError,
)
from osstorchconnector.fsspec import OssFileSystem, transfers


@pytest.fixture
def fs(bare):  # noqa: ARG001  (it sets the environment)
    return OssFileSystem()


@pytest.fixture
def tree(bare, fs):
    bare.fill(
        {"d/a": b"a", "d/b.txt": b"bb", "d/sub/c": b"ccc", "d/sub/deep/e": b"eeee", "dd": b"x", "d2/f": b"f"}
    )
    return fs


def operations(site):
    return [entry["operation"] for entry in site.oss.requests()]


def at_a_time(requests):
    """Count the requests that were under way while one of them was, at most."""
    spans = [(entry["started_ms"], entry["started_ms"] + entry["elapsed_ms"]) for entry in requests]
    return max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)


def forbidden(operation):
    return [{"match": {"op": operation}, "action": {"status": 403, "code": "AccessDenied"}}]


def test_paths_are_bucket_and_key_however_they_are_written(fs):
    written = ["oss://bucket/d/k", "/bucket/d/k", "bucket/d/k", "bucket/d/k/", Path("oss://bucket/d/k")]
    assert fs._strip_protocol(written) == ["bucket/d/k"] * 5
    assert [fs._strip_protocol(text) for text in ("oss://", "/", "")] == ["", "", ""]
    assert fs._strip_protocol("oss://bucket//k") == "bucket//k"
    assert [fs._parent(path) for path in ("oss://bucket/d/k", "bucket/d/", "bucket")] == [
        "bucket/d",
        "bucket",
        "",
    ]
    assert fs.unstrip_protocol("bucket/k") == "oss://bucket/k"
    assert fsspec.core.url_to_fs("oss://bucket/k") == (fs, "bucket/k")


def test_a_directory_is_listed_in_byte_order(tree):
    assert tree.ls("oss://bucket/d", detail=False) == ["bucket/d/a", "bucket/d/b.txt", "bucket/d/sub"]
    found = tree.ls("bucket/d/")
    assert [(info["type"], info["size"]) for info in found] == [("file", 1), ("file", 2), ("directory", 0)]
    assert tree.ls("bucket/d/a") == [tree.info("bucket/d/a")]
    assert tree.ls("bucket", detail=False) == ["bucket/d", "bucket/d2", "bucket/dd"]
    with pytest.raises(FileNotFoundError, match="oss://bucket/none"):
        tree.ls("bucket/none")
    with pytest.raises(FileNotFoundError, match="no such bucket"):
        tree.ls("nobody")


def test_listing_and_info_tell_the_same(tree):
    listed = tree.ls("bucket/d")[0]
    asked = tree.info("bucket/d/a")
    assert {name: asked[name] for name in listed} == listed
    assert asked["LastModified"].tzinfo is not None
    age = dt.datetime.now(dt.timezone.utc) - tree.modified("bucket/d/a")
    assert abs(age.total_seconds()) < 60
    assert tree.created("bucket/d/a") == tree.modified("bucket/d/a")
    with pytest.raises(IsADirectoryError):
        tree.modified("bucket/d")


def test_files_directories_and_nothing_are_told_apart(tree):
    kinds = {path: (tree.isfile(path), tree.isdir(path), tree.exists(path)) for path in (
        "bucket", "bucket/d", "bucket/d/", "bucket/d/a", "bucket/dd", "bucket/none", "nobody", "nobody/k", ""
    )}  # fmt: skip
    directory, file, nothing = (False, True, True), (True, False, True), (False, False, False)
    assert kinds == {
        "bucket": directory, "bucket/d": directory, "bucket/d/": directory, "bucket/d/a": file, "bucket/dd": file,
        "bucket/none": nothing, "nobody": nothing, "nobody/k": nothing, "": directory,
    }  # fmt: skip


@pytest.mark.parametrize("refused", ["HeadObject", "ListObjectsV2"])
def test_f34_a_refusal_is_not_taken_for_missing(tree, bare, refused):
    bare.oss.rules(forbidden(refused))
    for question in (tree.exists, tree.isfile, tree.isdir, tree.info):
        with pytest.raises(PermissionDeniedError):
            question("bucket/none")


@pytest.mark.parametrize("maxdepth", [None, 2])
def test_f34_a_refused_listing_is_not_an_empty_one(tree, bare, maxdepth):
    bare.oss.rules(forbidden("ListObjectsV2"))
    for question in (tree.find, tree.glob, tree.du):
        with pytest.raises(PermissionDeniedError):
            question("bucket/d*" if question == tree.glob else "bucket/d", maxdepth=maxdepth)
    with pytest.raises(PermissionDeniedError):
        list(tree.walk("bucket/d"))


def test_f01_an_endpoint_that_does_not_answer_is_not_taken_for_missing(bare, tmp_path):
    config = bare.oss.write_config(tmp_path, {"network": {"deadlineSeconds": 1, "firstContactSeconds": 1}})
    gone = OssFileSystem(endpoint="http://127.0.0.1:9", config_path=config)
    with pytest.raises(ConnectionError):
        gone.exists("bucket/k")


def test_find_walk_glob_and_du_see_the_same_tree(tree):
    files = ["bucket/d/a", "bucket/d/b.txt", "bucket/d/sub/c", "bucket/d/sub/deep/e"]
    directories = ["bucket/d", "bucket/d/sub", "bucket/d/sub/deep"]
    assert tree.find("bucket/d") == files
    assert tree.find("bucket/d", withdirs=True) == sorted(files + directories)
    assert tree.find("bucket/d", maxdepth=1) == files[:2]
    assert tree.find("bucket/d", maxdepth=2, withdirs=True) == sorted(files[:3] + directories)
    assert tree.find("bucket/d", prefix="su") == files[2:]
    assert tree.find("bucket/d/a") == ["bucket/d/a"]
    assert tree.find("bucket/none") == []
    assert tree.find("bucket/d", detail=True)["bucket/d/a"] == tree.ls("bucket/d")[0]
    assert [name for _, _, names in tree.walk("bucket/d") for name in names] == ["a", "b.txt", "c", "e"]
    assert tree.glob("oss://bucket/d/**/?") == ["bucket/d/a", "bucket/d/sub/c", "bucket/d/sub/deep/e"]
    assert tree.glob("bucket/d*/*") == ["bucket/d/a", "bucket/d/b.txt", "bucket/d/sub", "bucket/d2/f"]
    assert (tree.du("bucket/d"), tree.du("bucket/d", total=False)["bucket/d/sub/c"]) == (10, 3)


def test_finding_a_deep_tree_is_one_listing(tree, bare):
    tree.find("bucket/d")
    tree.du("bucket/d")
    assert operations(bare) == ["ListObjectsV2"] * 2


def test_markers_of_directories_are_directories(bare, fs):
    bare.fill({"d/": b"", "d/sub/": b"", "d/k": b"x"})
    assert fs.ls("bucket/d", detail=False) == ["bucket/d/k", "bucket/d/sub"]
    assert (fs.isdir("bucket/d/sub"), fs.ls("bucket/d/sub")) == (True, [])
    assert fs.find("bucket/d") == ["bucket/d/k"]
    with pytest.raises(OSError, match="not empty"):
        fs.rmdir("bucket/d")
    fs.rmdir("bucket/d/sub")
    assert not fs.exists("bucket/d/sub")
    fs.rm("bucket/d", recursive=True)
    assert fs.find("bucket", withdirs=True) == []


def test_keys_with_odd_characters_and_two_slashes_are_found_and_deleted(bare, fs):
    keys = ["d//x", "d/a b&c", "d/%2F", "d/新"]
    bare.fill(dict.fromkeys(keys, b"x"))
    assert fs.find("bucket/d") == sorted(f"bucket/{key}" for key in keys)
    assert len(list(fs.walk("bucket/d"))) == 1
    for key in keys:
        assert fs.cat(f"bucket/{key}") == b"x"
    fs.rm("bucket/d", recursive=True)
    assert fs.find("bucket") == []


def test_ranges_are_slices(fs):
    data = bytes(range(256)) * 100
    fs.pipe("bucket/k", data)
    ends = [None, 0, 1, 100, 25_599, 25_600, 30_000, -1, -100, -30_000]
    for start in ends:
        for end in ends:
            assert fs.cat_file("bucket/k", start, end) == data[start:end], (start, end)
    assert fs.head("bucket/k", 3) == data[:3]
    assert fs.tail("bucket/k", 3) == data[-3:]


def test_ranges_of_many_files_come_in_their_order(fs):
    fs.pipe({"bucket/a": b"0123456789", "bucket/b": b"abcdefghij"})
    names = ["bucket/a", "bucket/b", "bucket/a", "bucket/none"]
    found = fs.cat_ranges(names, [0, 1, 5, 0], [2, 3, None, 1])
    assert found[:3] == [b"01", b"bc", b"56789"]
    assert isinstance(found[3], FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        fs.cat_ranges(names, 0, 1, on_error="raise")
    with pytest.raises(ValueError, match="4 paths and 1 ranges"):
        fs.cat_ranges(names, [0], [1])
    with pytest.raises(TypeError):
        fs.cat_ranges("bucket/a", 0, 1)


def test_neighbouring_ranges_of_a_file_travel_in_one_request(bare, fs):
    data = bytes(range(256)) * 1000
    fs.pipe("bucket/k", data)
    starts = list(range(0, 100_000, 1000))
    before = len(bare.oss.requests("GetObject"))
    found = fs.cat_ranges(["bucket/k"] * 100, starts, [start + 900 for start in starts])
    assert found == [data[start : start + 900] for start in starts]
    assert len(bare.oss.requests("GetObject")) - before <= 2


def test_many_files_are_fetched_as_a_dict(tree):
    assert tree.cat("bucket/d/*") == {"bucket/d/a": b"a", "bucket/d/b.txt": b"bb"}
    assert tree.cat("bucket/d", recursive=True)["bucket/d/sub/deep/e"] == b"eeee"
    assert tree.cat(["bucket/d/a"]) == {"bucket/d/a": b"a"}
    some = ["bucket/d/a", "bucket/none"]
    assert tree.cat(some, on_error="omit") == {"bucket/d/a": b"a"}
    assert isinstance(tree.cat(some, on_error="return")["bucket/none"], NotFoundError)
    with pytest.raises(NotFoundError):
        tree.cat(some)


def test_a_large_file_goes_up_and_comes_down(fs, tmp_path):
    data = os.urandom(20_000_000)
    (tmp_path / "up").write_bytes(data)
    seen = fsspec.callbacks.Callback()
    fs.put_file(str(tmp_path / "up"), "bucket/big", callback=seen)
    assert (seen.size, seen.value) == (len(data), len(data))
    fs.get_file("bucket/big", str(tmp_path / "new" / "down"))
    assert (tmp_path / "new" / "down").read_bytes() == data
    with pytest.raises(AlreadyExistsError):
        fs.put_file(str(tmp_path / "up"), "bucket/big", mode="create")
    with (tmp_path / "open").open("wb") as file:
        fs.get_file("bucket/big", file)
    assert (tmp_path / "open").read_bytes() == data


def test_many_files_travel_at_a_time(bare, fs, tmp_path):
    names = [f"{number:02}" for number in range(32)]
    (tmp_path / "up").mkdir()
    for name in names:
        (tmp_path / "up" / name).write_text(name)
    seen = fsspec.callbacks.Callback()
    bare.oss.rules([{"match": {}, "action": {"delay_ms": 50}}])
    fs.put(f"{tmp_path}/up/", "bucket/up/", recursive=True, callback=seen)
    fs.cp("bucket/up/", "bucket/copy/", recursive=True)
    fs.get("bucket/copy/", f"{tmp_path}/down/", recursive=True)
    fs.mv("bucket/copy/", "bucket/moved/", recursive=True)
    for operation, count in (("PutObject", 32), ("GetObject", 32), ("CopyObject", 64)):
        requests = bare.oss.requests(operation)
        assert len(requests) == count
        assert at_a_time(requests) >= 8, operation
    assert (seen.size, seen.value) == (33, 33)  # the directory is counted too
    assert sorted(path.name for path in (tmp_path / "down").iterdir()) == names
    assert {path.read_text() for path in (tmp_path / "down").iterdir()} == set(names)
    assert fs.find("bucket/moved") == [f"bucket/moved/{name}" for name in names]
    assert fs.find("bucket/copy") == []


def test_f34_one_file_that_is_refused_fails_the_call_and_the_rest_is_not_begun(bare, fs, tmp_path):
    bare.fill({f"d/{number:03}": b"x" for number in range(200)})
    refusal = {"status": 403, "code": "AccessDenied"}
    bare.oss.rules([{"match": {"op": "GetObject", "key": "d/003"}, "action": refusal}])
    with pytest.raises(PermissionDeniedError, match="d/003"):
        fs.get("bucket/d", str(tmp_path / "down"), recursive=True)
    assert len(bare.oss.requests("GetObject")) < 150
    assert not (tmp_path / "down" / "003").exists()


def test_f15_a_download_that_fails_leaves_the_local_file_as_it_was(bare, tmp_path):
    config = bare.oss.write_config(tmp_path, {"network": {"deadlineSeconds": 1}})
    fs = OssFileSystem(config_path=config)
    bare.fill({"k": b"x" * 100_000})
    (tmp_path / "down").write_bytes(b"old")
    bare.oss.rules([{"match": {"op": "GetObject"}, "action": {"truncate_body": 50_000, "status": 500}}])
    with pytest.raises(OssError):
        fs.get_file("bucket/k", str(tmp_path / "down"))
    assert (tmp_path / "down").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "down", "site"]


def test_a_download_goes_through_a_link_and_into_a_pipe(fs, tmp_path):
    fs.pipe("bucket/k", b"bytes")
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "dangling").symlink_to("new")
    os.mkfifo(tmp_path / "pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        for name in ("link", "dangling", "pipe"):
            fs.get_file("bucket/k", str(tmp_path / name))
        assert os.read(reading, 100) == b"bytes"
    finally:
        os.close(reading)
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == (tmp_path / "new").read_bytes() == b"bytes"


def test_a_download_goes_into_what_a_path_leads_to_without_a_name(fs):
    fs.pipe("bucket/k", b"bytes")
    reading, writing = os.pipe()
    try:
        # As /dev/stdout of a pipeline: a link to what has no path of its own.
        fs.get_file("bucket/k", f"/dev/fd/{writing}")
        assert os.read(reading, 100) == b"bytes"
    finally:
        os.close(reading)
        os.close(writing)


def test_a_download_has_its_name_when_all_bytes_are_in_the_file(fs, tmp_path, monkeypatch):
    fs.pipe("bucket/k", b"bytes")
    sizes_bytes = []
    replace = os.replace

    def watched(source, target):
        sizes_bytes.append(os.path.getsize(source))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    fs.get_file("bucket/k", str(tmp_path / "k"))
    assert sizes_bytes == [5]


class FullDisk(io.FileIO):
    def write(self, _):
        raise OSError(errno.ENOSPC, "no space left")


def test_a_download_whose_last_bytes_fill_the_disk_leaves_the_old_file(fs, tmp_path, monkeypatch):
    fs.pipe("bucket/k", b"bytes")
    (tmp_path / "k").write_bytes(b"old")
    monkeypatch.setattr(
        transfers, "open", lambda path, mode: io.BufferedWriter(FullDisk(path, mode)), raising=False
    )
    with pytest.raises(OSError, match="no space left"):
        fs.get_file("bucket/k", str(tmp_path / "k"))
    assert (tmp_path / "k").read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {"k", "site"}


def test_what_does_not_know_its_size_goes_up_whole(fs, tmp_path):
    reading, writing = os.pipe()
    os.write(writing, b"from a pipe")
    os.close(writing)
    fs.put_file(f"/dev/fd/{reading}", "bucket/pipe")
    os.close(reading)
    assert fs.cat("bucket/pipe") == b"from a pipe"
    fs.put_file("/proc/version", "bucket/version")
    assert fs.cat("bucket/version") == Path("/proc/version").read_bytes() != b""
    (tmp_path / "empty").touch()
    fs.put_file(str(tmp_path / "empty"), "bucket/empty")
    assert fs.cat("bucket/empty") == b""


def test_copies_are_made_by_the_service(tree, bare):
    tree.cp("bucket/d/a", "bucket/copy")
    tree.cp("bucket/d", "bucket/copies", recursive=True)
    assert tree.find("bucket/copies") == [
        f"bucket/copies/{name}" for name in ("a", "b.txt", "sub/c", "sub/deep/e")
    ]
    assert tree.cat("bucket/copy") == b"a"
    with pytest.raises(NotFoundError):
        tree.cp("bucket/none", "bucket/copy")
    assert {"PutObject", "GetObject"} & set(operations(bare)[:-1]) == {"GetObject"}


def test_moves_delete_what_was_copied_and_nothing_else(tree, bare):
    tree.mv("bucket/d/a", "bucket/d/moved")
    assert (tree.exists("bucket/d/a"), tree.cat("bucket/d/moved")) == (False, b"a")
    tree.mv("bucket/d", "bucket/e", recursive=True)
    assert tree.find("bucket/d") == []
    assert tree.find("bucket/e") == [f"bucket/e/{name}" for name in ("b.txt", "moved", "sub/c", "sub/deep/e")]
    tree.mv("bucket/e/sub", "bucket/d", recursive=True)
    assert tree.find("bucket/d") == ["bucket/d/c", "bucket/d/deep/e"]
    tree.mv("bucket/d/deep", "bucket/e/", recursive=True)
    tree.mv("bucket/d/c", "bucket/e")
    assert tree.find("bucket/e") == [f"bucket/e/{name}" for name in ("b.txt", "c", "deep/e", "moved")]
    with pytest.raises(FileNotFoundError):
        tree.mv("bucket/none", "bucket/x")
    with pytest.raises(IsADirectoryError):
        tree.mv("bucket/e", "bucket/x")
    bare.oss.rules(forbidden("CopyObject"))
    with pytest.raises(PermissionDeniedError):
        tree.mv("bucket/e", "bucket/x", recursive=True)
    assert len(tree.find("bucket/e")) == 4


@pytest.mark.parametrize("target", ["oss://bucket/d/a", "/bucket/d/a", "bucket/d/", "bucket/d"])
def test_a_file_that_is_moved_onto_itself_stays(tree, target):
    tree.mv("bucket/d/a", target)
    assert tree.cat("bucket/d/a") == b"a"
    tree.mv("bucket/d", "oss://bucket/d/", recursive=True)
    assert tree.du("bucket/d") == 10


def test_a_move_that_would_lose_a_file_is_refused(tree):
    with pytest.raises(ConfigError, match="oss://bucket/dd is a source and a target"):
        tree.mv(["bucket/d/a", "bucket/dd"], ["bucket/dd", "bucket/x"])
    assert (tree.cat("bucket/dd"), tree.cat("bucket/d/a")) == (b"x", b"a")
    tree.mv(["bucket/d/a", "bucket/dd"], ["bucket/y", "bucket/x"])
    assert (tree.cat("bucket/x"), tree.cat("bucket/y")) == (b"x", b"a")


@pytest.mark.parametrize("recursive", [False, True])
def test_a_move_of_two_files_to_one_name_is_refused(tree, bare, recursive):
    bare.fill({"one/run": b"1", "two/run": b"2", "all/run": b"old"})
    for sources, target in (
        (["bucket/one/run", "bucket/two/run"], "bucket/all/"),
        # One of them is there already, and would stay.
        (["bucket/all/run", "bucket/two/run"], "bucket/all/"),
        (["bucket/one/run", "bucket/two/run"], ["bucket/x", "bucket/x"]),
    ):
        with pytest.raises(ConfigError, match=r"two files would become oss://bucket/(all/run|x)"):
            tree.mv(sources, target, recursive=recursive)
    left = [tree.cat(f"bucket/{name}/run") for name in ("one", "two", "all")]
    assert left == [b"1", b"2", b"old"]
    tree.mv(["bucket/one/run", "bucket/one/run"], ["bucket/x", "bucket/x"])
    assert tree.cat("bucket/x") == b"1"


def test_deletions_are_bulk_and_exact(tree, bare):
    tree.rm("bucket/d", recursive=True)
    assert operations(bare).count("DeleteMultipleObjects") == 1
    assert tree.find("bucket") == ["bucket/d2/f", "bucket/dd"]
    tree.rm(["bucket/d2/f", "bucket/dd"])
    assert tree.find("bucket") == []
    tree.rm_file("bucket/none")
    for recursive in (False, True):
        with pytest.raises(FileNotFoundError):
            tree.rm("bucket/none", recursive=recursive)
    with pytest.raises(FileNotFoundError):
        tree.rm(Path("bucket/none"), recursive=True)
    bare.fill({"both": b"x", "both/k": b"x", "both2": b"x"})
    tree.rm("bucket/both", recursive=True)
    assert tree.find("bucket") == ["bucket/both2"]


def test_patterns_and_lists_of_trees_are_deleted_at_once(tree, bare):
    tree.rm("bucket/d/**", recursive=True)
    assert operations(bare).count("DeleteMultipleObjects") == 1
    assert tree.find("bucket") == ["bucket/d2/f", "bucket/dd"]
    bare.fill({"e/a": b"a", "e/sub/c": b"c"})
    tree.rm(["bucket/e", "bucket/none", "bucket/e/sub", "bucket/dd"], recursive=True)
    assert tree.find("bucket") == ["bucket/d2/f"]
    tree.rm(["bucket/none"], recursive=True)
    with pytest.raises(FileNotFoundError):
        tree.rm("bucket/none/*", recursive=True)
    with pytest.raises(FileNotFoundError, match="no such bucket"):
        tree.rm(["nobody/none"], recursive=True)


def test_a_pattern_that_matches_a_tree_and_its_files_lists_it_once(tree, bare):
    since = len(bare.oss.journal())
    tree.rm(["bucket/d", "bucket/d/a", "bucket/d/b.txt", "bucket/d/sub", "bucket/d/sub/c"], recursive=True)
    made = [entry["operation"] for entry in bare.oss.journal(since) if entry.get("operation")]
    assert sorted(made) == ["DeleteMultipleObjects", "HeadObject", "ListObjectsV2"]


def test_a_directory_is_not_deleted_by_accident(tree):
    with pytest.raises(IsADirectoryError, match="recursive=True"):
        tree.rm("bucket/d")
    tree.rm("bucket/d", recursive=True, maxdepth=1)
    assert tree.find("bucket/d") == ["bucket/d/sub/c", "bucket/d/sub/deep/e"]


def test_touching_and_making_directories(fs, bare):
    bare.fill({"k": b"data"})
    fs.mkdir("bucket/new")
    fs.makedirs("bucket/new/deep", exist_ok=True)
    assert not fs.exists("bucket/new")
    fs.touch("bucket/new/file", truncate=False)
    assert fs.info("bucket/new/file")["size"] == 0
    with pytest.raises(NotImplementedError):
        fs.touch("bucket/k", truncate=False)
    assert fs.cat("bucket/k") == b"data"
    fs.touch("bucket/k")
    assert fs.cat("bucket/k") == b""


def test_a_key_changes_when_the_object_does(fs):
    fs.pipe("bucket/k", b"one")
    first = fs.ukey("bucket/k"), fs.checksum("bucket/k")
    assert (fs.ukey("bucket/k"), fs.checksum("bucket/k")) == first
    fs.pipe("bucket/k", b"two")
    assert fs.ukey("bucket/k") != first[0]
    assert fs.checksum("bucket/k") != first[1]


def test_listings_are_kept_only_when_asked_for(bare, fs):
    bare.fill({"d/a": b"a"})
    keeping = OssFileSystem(use_listings_cache=True)
    assert [len(each.ls("bucket/d")) for each in (fs, keeping)] == [1, 1]
    bare.oss.put_object("bucket", "d/b", b"b")  # as another process writes it
    assert [len(each.ls("bucket/d")) for each in (fs, keeping)] == [2, 1]
    assert (fs.exists("bucket/d/b"), keeping.exists("bucket/d/b")) == (True, False)
    assert len(keeping.ls("bucket/d", refresh=True)) == 2
    keeping.pipe("bucket/d/c", b"c")
    assert [info["name"][-1] for info in keeping.ls("bucket/d")] == ["a", "b", "c"]
    keeping.rm("bucket/d/a")
    keeping.cp("bucket/d/b", "bucket/d/e")
    assert [info["name"][-1] for info in keeping.ls("bucket/d")] == ["b", "c", "e"]
    before = len(bare.oss.requests())
    assert keeping.info("bucket/d/b")["size"] == 1
    assert keeping.isdir("bucket/d")
    assert len(bare.oss.requests()) == before


def test_a_file_system_pickles_and_threads_share_its_client(fs, bare):
    bare.fill({"k": b"x"})
    again = pickle.loads(pickle.dumps(fs))
    assert again == fs
    assert again.cat("bucket/k") == b"x"
    others = []
    thread = threading.Thread(target=lambda: others.append(OssFileSystem()))
    thread.start()
    thread.join()
    assert others[0] is not fs
    assert others[0].store.native is fs.store.native


def test_secrets_given_in_code_go_into_no_pickle_text_or_repr(bare):
    arguments = {"endpoint": bare.oss.endpoint, "key": "the-id", "secret": "the-secret", "token": "the-token"}
    fs = OssFileSystem(**arguments)
    with pytest.raises(TypeError, match="allow_pickle_secrets"):
        pickle.dumps(fs)
    for text in (repr(fs), str(fs), fs.to_json(), fs.to_json(include_password=False)):
        assert "the-secret" not in text
        assert "the-token" not in text
    allowed = OssFileSystem(**arguments, allow_pickle_secrets=True)
    assert pickle.loads(pickle.dumps(allowed)) == allowed
    assert OssFileSystem.from_json(allowed.to_json()) == allowed


def test_identities_are_never_mixed_up(bare, monkeypatch):
    bare.fill({"k": b"x"})
    for name in ("OSS_ACCESS_KEY_ID", "OSS_ACCESS_KEY_SECRET"):
        monkeypatch.delenv(name)
    good = StaticCredentials(bare.oss.access_key_id, bare.oss.access_key_secret)
    bad = StaticCredentials("stranger", "secret")
    first, second = OssFileSystem(cred_provider=good), OssFileSystem(cred_provider=bad)
    assert repr(good) == repr(bad)
    assert first != second
    assert first.cat("bucket/k") == b"x"
    with pytest.raises(OssError):
        second.cat("bucket/k")


def test_arguments_of_ossfs_are_taken_and_strangers_are_refused(bare):
    bare.fill({"k": b"x"})
    oss = bare.oss
    fs = OssFileSystem(
        oss.endpoint, oss.access_key_id, oss.access_key_secret, None,
        default_cache_type="readahead", default_block_size=123, psize=20, use_listings_cache=False,
        region=oss.region,
    )  # fmt: skip
    assert fs.open("oss://bucket/k").blocksize == 123
    assert fs.ls("/bucket", detail=False) == ["bucket/k"]
    for wrong, said in (
        ({"colour": "red"}, "colour"),
        ({"asynchronous": True}, "synchronous"),
        ({"key": "id", "secret": "s", "cred_path": "/x"}, "one identity"),
        ({"anon": True, "key": "id", "secret": "s"}, "one identity"),
    ):
        with pytest.raises(ConfigError, match=said):
            OssFileSystem(**wrong)
    with pytest.raises(CredentialsError):
        OssFileSystem(key="id")


def test_a_signed_url_gets_the_file_for_a_while(fs, bare):
    bare.fill({"d/a b+c": b"data"})
    url = fs.sign("oss://bucket/d/a b+c", expiration=60)
    assert bare.oss.access_key_secret not in url
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert answer.read() == b"data"
    bare.oss.clock(120)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(url, timeout=30)
    bare.oss.clock(0)
    for seconds in (0, 604_801):
        with pytest.raises(ConfigError, match="604800"):
            fs.sign("bucket/d/a", expiration=seconds)
    with pytest.raises(ConfigError, match="anonymous"):
        OssFileSystem(anon=True).sign("bucket/d/a")


def test_other_file_systems_stand_on_it(fs, tmp_path):
    fs.pipe("bucket/d/k", b"data")
    for chain in ("simplecache", "filecache"):
        with fsspec.open(
            f"{chain}::oss://bucket/d/k", **{chain: {"cache_storage": str(tmp_path / chain)}}
        ) as file:
            assert file.read() == b"data"
    below = fsspec.filesystem("dir", path="bucket/d", fs=fs)
    assert (below.ls("", detail=False), below.cat("k")) == (["k"], b"data")
    mapping = fs.get_mapper("bucket/map")
    mapping["a/b"] = b"1"
    mapping.setitems({"a/c": b"2"})
    assert dict(mapping) == {"a/b": b"1", "a/c": b"2"}
    assert mapping.getitems(["a/b", "none"], on_error="omit") == {"a/b": b"1"}
    del mapping["a/b"]
    assert list(mapping) == ["a/c"]
    with fs.open("bucket/z.zip", "wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("inner", b"zipped")
    with fsspec.open("zip://inner::oss://bucket/z.zip") as file:
        assert file.read() == b"zipped"


def test_buckets_and_schemes_are_never_mixed(fs, bare):
    bare.fill({"k": b"one"}, "one")
    bare.fill({"k": b"two"}, "two")
    fs.cp("oss://one/k", "oss://two/copy")
    assert (fs.find("one"), fs.find("two")) == (["one/k"], ["two/copy", "two/k"])
    for stranger in ("s3://one/k", "file:///etc/passwd"):
        with pytest.raises(ConfigError):
            fs.cat(stranger)
    with pytest.raises(ConfigError, match="name one"):
        fs.ls("oss://")
    with pytest.raises(ConfigError, match="an object is needed"):
        fs.rm_file("bucket")
