"""Where a saved index is kept on this machine: whole or not at all, and as readable as any new file."""

from __future__ import annotations

import os
import stat

import pytest

from osstorchconnector import saved_index
from osstorchconnector.errors import NotFoundError


def no_store():
    pytest.fail("a path of this machine asks for no store")


def test_it_replaces_an_older_one_and_has_the_mode_of_any_new_file(tmp_path):
    place, other = tmp_path / "index", tmp_path / "other"
    other.touch()
    for packed in (b"older and longer", b"newer"):
        saved_index.write(no_store, str(place), packed)
        assert saved_index.read(no_store, str(place), "") == packed
    assert stat.S_IMODE(place.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["index", "other"]


def test_a_failed_save_leaves_nothing_behind(tmp_path):
    place = tmp_path / "index"
    place.mkdir()
    (place / "kept").touch()
    with pytest.raises(IsADirectoryError):
        saved_index.write(no_store, str(place), b"packed")
    assert os.listdir(tmp_path) == ["index"]


def test_what_is_not_there_is_named_with_the_remedy(tmp_path):
    with pytest.raises(NotFoundError, match=r"load .*/index: there is no such file; list again"):
        saved_index.read(no_store, str(tmp_path / "index"), "list again")
