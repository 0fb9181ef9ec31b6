"""A document is read whole, whatever happens while it is written."""

from __future__ import annotations

import errno
import itertools
import os
import signal

import pytest

from osstorchconnector import whole_file


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "document")


def test_the_newest_document_is_read(path):
    for number in range(5):
        whole_file.write(path, {"number": number})
        assert whole_file.read(path) == {"number": number}


def test_longer_and_shorter_documents_leave_nothing_of_each_other(path):
    for size in (1000, 1, 500, 2):
        whole_file.write(path, "x" * size)
        assert whole_file.read(path) == "x" * size


def bytes_at(path, place):
    with open(path, "rb") as file:
        file.seek(place)
        return file.read(64)


def test_the_one_before_is_read_while_one_is_written_and_when_its_writer_was_cut_off(path):
    for number in range(3):
        whole_file.write(path, number)
    before = {place: bytes_at(path, place) for place in (0, 1 << 20)}
    whole_file.write(path, "the newest")
    [changed] = [place for place in before if bytes_at(path, place) != before[place]]
    file = os.open(path, os.O_RDWR)
    whole = bytes_at(path, changed)
    for cut in range(len(whole.rstrip(b"\0"))):
        # So many bytes of the newest stand before what was there.
        os.pwrite(file, whole[:cut] + before[changed][cut:], changed)
        assert whole_file.read(path) == 2
    os.close(file)
    whole_file.write(path, "behind it")
    assert whole_file.read(path) == "behind it"


def test_a_document_that_does_not_fit_or_is_not_taken_leaves_the_one_before(path, monkeypatch):
    whole_file.write(path, "before")
    with pytest.raises(OSError, match="could not be written whole"):
        whole_file.write(path, "x" * (1 << 20))

    def full(*_):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="no space"):
        whole_file.write(path, "after")
    assert whole_file.read(path) == "before"


def test_what_holds_no_document_says_so(path):
    with pytest.raises(FileNotFoundError):
        whole_file.read(path)
    for data in (b"", b"{}", bytes(64), b"\xff" * 64):
        with open(path, "wb") as file:
            file.write(data)
        with pytest.raises(ValueError, match="no whole document"):
            whole_file.read(path)


def test_readers_of_a_writer_that_is_killed_see_whole_documents_alone(path):
    whole_file.write(path, [0, "x"])
    child = os.fork()
    if child == 0:
        try:
            for number in itertools.count(1):
                whole_file.write(path, [number, "x" * (number * 37 % 5000)])
        finally:
            os._exit(1)
    try:
        seen = [whole_file.read(path)]
        # A busy machine may let the reader be done before the writer has begun.
        while len(seen) < 2000 or seen[-1][0] == 0:
            seen.append(whole_file.read(path))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    seen.append(whole_file.read(path))
    numbers = [number for number, _ in seen]
    assert numbers == sorted(numbers)
    assert numbers[-1] > 0
    assert all(text == ("x" * (number * 37 % 5000) if number else "x") for number, text in seen)
