"""Open files of the file system: what they read, when they publish, and when they must not."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import signal
import zipfile

import fsspec
import pytest

from osstorchconnector.errors import (
    AlreadyExistsError,
    ClosedError,
    ConfigError,
    NotFoundError,
    ObjectChangedError,
    PermissionDeniedError,
    UploadError,
)
from osstorchconnector.fsspec import OssFileSystem
from osstorchconnector.fsspec.files import WriteFile


@pytest.fixture
def fs(bare):  # noqa: ARG001  (it sets the environment)
    return OssFileSystem()


def forbidden(operation):
    return [{"match": {"op": operation}, "action": {"status": 403, "code": "AccessDenied"}}]


def write_and_fail(opened, data):
    with opened as file:
        file.write(data)
        raise ZeroDivisionError


def _only_member(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        (name,) = archive.namelist()
        return archive.read(name)


def test_a_file_reads_as_a_file_does_and_tells_what_fsspec_asks(fs):
    fs.pipe("bucket/d/lines", b"first\nsecond|third\nlast")
    with fs.open("oss://bucket/d/lines") as file:
        assert (file.size, file.loc, file.mode, file.path, file.fs) == (23, 0, "rb", "bucket/d/lines", fs)
        assert file.info() == file.details == fs.info("bucket/d/lines")
        assert file.full_name == "oss://bucket/d/lines"
        assert file.readline() == b"first\n"
        assert file.readuntil(b"|", blocks=2) == b"second|"
        file.loc = 0
        assert list(file) == [b"first\n", b"second|third\n", b"last"]
        assert file.readuntil(b"|") == b""
        assert file.seek(-4, 2) == 19
        assert file.read() == b"last"
    with pytest.raises(ClosedError):
        file.read()


def test_a_mark_across_two_blocks_is_found(fs):
    fs.pipe("bucket/k", b"aaaa<>bbbb")
    with fs.open("bucket/k") as file:
        assert file.readuntil(b"<>", blocks=5) == b"aaaa<>"
        assert file.read() == b"bbbb"
    assert fs.read_block("bucket/k", 1, 6, delimiter=b"<>") == b"bbbb"


def test_text_and_compression_work_on_top(fs):
    with fs.open("bucket/t", "w", encoding="utf-8", newline="") as file:
        file.write("grüße\n")
    assert fs.cat("bucket/t") == "grüße\n".encode()
    with fsspec.open("oss://bucket/t.gz", "wt", compression="infer") as file:
        file.write("packed")
    assert fs.cat("bucket/t.gz")[:2] == b"\x1f\x8b"
    with fsspec.open("oss://bucket/t.gz", "rt", compression="infer") as file:
        assert file.read() == "packed"


UNPACKED = {"gz": gzip.decompress, "bz2": bz2.decompress, "xz": lzma.decompress, "zip": _only_member}


@pytest.mark.parametrize("suffix", UNPACKED)
@pytest.mark.parametrize("mode", ["wb", "wt", "w"])
def test_what_is_packed_while_it_is_written_is_saved(fs, suffix, mode):
    data = os.urandom(1000).hex() * 100
    path = f"bucket/packed.{suffix}"
    with fs.open(path, mode, compression="infer") as file:
        file.write(data.encode() if mode == "wb" else data)
    assert UNPACKED[suffix](fs.cat(path)) == data.encode()
    file = fs.open(path, mode, compression="infer")
    file.write(b"again" if mode == "wb" else "again")
    file.close()
    file.close()
    assert file.closed
    assert UNPACKED[suffix](fs.cat(path)) == b"again"
    with fs.open(path, "rt", compression="infer") as file:
        assert file.read() == "again"


@pytest.mark.parametrize("suffix", ["gz", "bz2", "xz"])
@pytest.mark.parametrize("mode", ["wb", "w"])
def test_f61_an_exception_while_a_packed_file_is_written_publishes_nothing(fs, suffix, mode):
    path = f"bucket/packed.{suffix}"
    fs.pipe(path, b"old")
    with pytest.raises((ZeroDivisionError, UploadError)):
        write_and_fail(fs.open(path, mode, compression="infer"), b"half" if mode == "wb" else "half")
    assert fs.cat(path) == b"old"
    with fs.transaction:
        fs.pipe("bucket/whole", b"whole")
        with pytest.raises(ZeroDivisionError):
            write_and_fail(fs.open(path, "wb", compression="infer"), b"half")
        with fs.open(f"bucket/in.{suffix}", "wb", compression="infer") as file:
            file.write(b"transaction")
        assert not fs.exists(f"bucket/in.{suffix}")
    assert (fs.cat(path), fs.cat("bucket/whole")) == (b"old", b"whole")
    assert UNPACKED[suffix](fs.cat(f"bucket/in.{suffix}")) == b"transaction"


def test_f62_a_packed_file_that_is_dropped_publishes_nothing(fs):
    fs.pipe("bucket/k.gz", b"old")
    file = fs.open("bucket/k.gz", "wb", compression="gzip")
    file.write(b"new")
    with pytest.warns(ResourceWarning, match="NOTHING WAS SAVED"):
        del file
    assert fs.cat("bucket/k.gz") == b"old"


def test_an_unknown_compression_is_refused_before_a_file_is_opened(fs, recwarn):
    with pytest.raises(ValueError, match="nonsense"):
        fs.open("bucket/k", "wb", compression="nonsense")
    assert not [str(one.message) for one in recwarn if one.category is ResourceWarning]


def test_a_missing_file_is_missing_when_it_is_opened(fs):
    fs.pipe("bucket/d/k", b"x")
    for path in ("bucket/none", "bucket/d", "nobody/k"):
        with pytest.raises(FileNotFoundError, match=path):
            fs.open(path)


def test_f38_one_version_is_read_whole_or_not_at_all(fs, bare):
    fs.pipe("bucket/k", b"a" * 100)
    with fs.open("bucket/k") as file:
        bare.oss.put_object("bucket", "k", b"b" * 50)
        assert (file.read(), file.size, file.seek(0, 2)) == (b"b" * 50, 50, 50)
    large = 64 << 20
    fs.pipe("bucket/k", b"a" * large)
    with fs.open("bucket/k") as file:
        assert file.read(1) == b"a"
        bare.oss.put_object("bucket", "k", b"b" * 50)
        with pytest.raises(ObjectChangedError):
            file.read()


def test_appending_writes_the_object_anew_as_a_whole(fs):
    with fs.open("bucket/log", "ab") as file:
        file.write(b"one\n")
    with fs.open("bucket/log", "a") as file:
        file.write("two\n")
    assert fs.cat("bucket/log") == b"one\ntwo\n"
    with pytest.raises(ZeroDivisionError):
        write_and_fail(fs.open("bucket/log", "ab"), b"three\n")
    assert fs.cat("bucket/log") == b"one\ntwo\n"


def test_f34_appending_to_what_may_not_be_read_is_refused(fs, bare):
    fs.pipe("bucket/log", b"one\n")
    bare.oss.rules(forbidden("GetObject"))
    with pytest.raises(PermissionDeniedError):
        fs.open("bucket/log", "ab")
    bare.oss.rules([])
    assert fs.cat("bucket/log") == b"one\n"


def test_f38_appending_to_what_is_deleted_meanwhile_publishes_nothing(fs, bare, monkeypatch):
    # Longer than what is taken over at a time and what is read ahead of it.
    bare.oss.fill("bucket", "log/", 1, 48 << 20)
    write, path = WriteFile.write, "bucket/log/00000000"

    def delete_and_write(file, data):
        monkeypatch.setattr(WriteFile, "write", write)
        fs.rm_file(path)
        return write(file, data)

    monkeypatch.setattr(WriteFile, "write", delete_and_write)
    with pytest.raises(NotFoundError):
        fs.open(path, "ab")
    assert not fs.exists(path)
    assert bare.oss.requests("CompleteMultipartUpload") == []
    assert fs.store.abandoned_uploads("/bucket/log/") == []


def test_exclusive_writing_has_one_winner(fs):
    first, second = fs.open("bucket/lock", "xb"), fs.open("bucket/lock", "xb")
    first.write(b"first")
    second.write(b"second")
    first.close()
    with pytest.raises(FileExistsError):
        second.close()
    assert fs.cat("bucket/lock") == b"first"
    with pytest.raises(AlreadyExistsError):
        fs.open("bucket/lock", "xb")
    with pytest.raises(AlreadyExistsError):
        fs.pipe_file("bucket/lock", b"", mode="create")


@pytest.mark.parametrize("mode", ["r+b", "w+b", "zb"])
def test_other_modes_are_refused(fs, mode):
    with pytest.raises(ValueError, match="'rb', 'wb', 'xb' or 'ab'"):
        fs.open("bucket/k", mode)


def test_an_unknown_option_is_refused_and_those_about_caching_have_no_effect(fs):
    fs.pipe("bucket/k", b"x")
    with fs.open("bucket/k", cache_type="all", cache_options={}, block_size=7) as file:
        assert (file.read(), file.blocksize) == (b"x", 7)
    with pytest.raises(ConfigError, match="colour"):
        fs.open("bucket/k", colour="red")
    with pytest.raises(ConfigError, match="an object is needed"):
        fs.open("bucket")


def test_what_is_written_may_have_options(fs):
    with fs.open(
        "bucket/k", "wb", content_type="text/plain", metadata={"epoch": "7"}, storage_class="IA"
    ) as file:
        file.write(b"x")
    info = fs.info("bucket/k")
    assert (info["ContentType"], info["metadata"], info["StorageClass"]) == (
        "text/plain",
        {"epoch": "7"},
        "IA",
    )


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("size_bytes", [10, 40 << 20])
def test_f61_an_exception_in_the_block_publishes_nothing(fs, text, size_bytes):
    fs.pipe("bucket/k", b"old")
    with pytest.raises(UploadError if text else ZeroDivisionError) as failed:
        write_and_fail(
            *(
                (fs.open("bucket/k", "w"), "x" * size_bytes)
                if text
                else (fs.open("bucket/k", "wb"), b"x" * size_bytes)
            )
        )
    assert not text or isinstance(failed.value.__cause__, ZeroDivisionError)
    assert fs.cat("bucket/k") == b"old"


def test_f61_an_exception_in_the_block_of_an_open_file_publishes_nothing(fs):
    fs.pipe("bucket/k", b"old")
    # OpenFile calls close() alone: nothing but the exception on its way says that the bytes are not all.
    with pytest.raises(UploadError) as failed:
        write_and_fail(fsspec.open("oss://bucket/k", "wb"), b"half")
    assert isinstance(failed.value.__cause__, ZeroDivisionError)
    assert fs.cat("bucket/k") == b"old"


def test_f62_a_file_that_is_dropped_publishes_nothing(fs):
    fs.pipe("bucket/k", b"old")
    file = fs.open("bucket/k", "wb")
    file.write(b"new")
    with pytest.warns(ResourceWarning, match="NOTHING WAS SAVED"):
        del file
    assert fs.cat("bucket/k") == b"old"


def test_a_transaction_publishes_at_its_end(fs):
    with fs.transaction:
        with fs.open("bucket/t/a", "wb") as file:
            file.write(b"a")
        with fs.open("bucket/t/b", "w") as file:
            file.write("b")
        fs.pipe("bucket/t/c", b"c")
        assert not fs.exists("bucket/t")
    assert fs.cat("bucket/t", recursive=True) == {f"bucket/t/{key}": key.encode() for key in "abc"}
    fs.start_transaction()
    fs.pipe("bucket/t/d", b"d")
    assert not fs.exists("bucket/t/d")
    fs.end_transaction()
    assert fs.exists("bucket/t/d")


def test_f61_a_transaction_that_raises_publishes_nothing(fs):
    fs.pipe("bucket/t/a", b"old")

    def fail():
        with fs.transaction:
            fs.pipe("bucket/t/a", b"new")
            write_and_fail(fs.open("bucket/t/b", "wb"), b"b")

    with pytest.raises(ZeroDivisionError):
        fail()
    assert fs.cat("bucket/t", recursive=True) == {"bucket/t/a": b"old"}


@pytest.mark.parametrize("mode", ["w", "wb"])
def test_f61_a_file_whose_block_raised_stays_out_of_its_transaction(fs, mode):
    with fs.transaction:
        fs.pipe("bucket/t/a", b"a")
        with pytest.raises(ZeroDivisionError):
            write_and_fail(fs.open("bucket/t/b", mode), "half" if mode == "w" else b"half")
    assert fs.find("bucket/t") == ["bucket/t/a"]


def in_child(work):
    """Run `work` in a forked child; return what it returns."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(30)
        try:
            said = pickle.dumps(work())
        except BaseException as failure:  # noqa: BLE001
            said = pickle.dumps(repr(failure))
        os.write(write, said)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return pickle.loads(said)


def test_f72_a_fork_after_use_works_and_leaves_the_parent_alone(fs):
    fs.pipe("bucket/k", b"data" * 1000)
    file = fs.open("bucket/k")
    assert file.read(4) == b"data"
    assert in_child(lambda: (file.read(4), fs.cat("bucket/k")[:4], fs.pipe("bucket/child", b"x"))) == (
        b"data",
        b"data",
        None,
    )
    assert file.read() == b"data" * 999
    assert fs.cat("bucket/child") == b"x"


def test_f72_a_file_that_the_parent_writes_is_not_published_by_a_child(fs):
    file = fs.open("bucket/k", "wb")
    file.write(b"data")
    assert "ForkedHandleError" in in_child(file.close)
    assert not fs.exists("bucket/k")
    file.close()
    assert fs.cat("bucket/k") == b"data"


def test_files_of_the_file_system_are_streams_of_the_standard_library(fs):
    with fs.open("bucket/k", "wb") as file:
        assert isinstance(file, io.BufferedIOBase)
        assert (file.writable(), file.readable(), file.seekable()) == (True, False, False)
        assert (file.write(b"data"), file.tell(), file.loc, file.size) == (4, 4, 4, 4)
        file.flush()
        file.flush(True)
        with pytest.raises(ValueError, match="while it is written"):
            file.info()
    with pytest.raises(NotFoundError):
        fs.open("bucket/none")
