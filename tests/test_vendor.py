"""The vendor's package beside this one is noticed, and named."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from osstorchconnector import OssCheckpoint, vendor

OURS = Path(__file__).parents[1] / "python"


@pytest.fixture
def theirs(tmp_path):
    """Make a directory that holds what the vendor's package is known by."""
    (tmp_path / "there" / "osstorchconnector" / "_oss_connector").mkdir(parents=True)
    return str(tmp_path / "there")


@pytest.fixture(autouse=True)
def _not_said_yet():
    vendor.warn_once.cache_clear()
    yield
    vendor.warn_once.cache_clear()


def test_a_path_without_it_is_quiet(caplog, site):
    OssCheckpoint(**site.arguments)
    assert not [record for record in caplog.records if record.name == vendor.__name__]


def test_the_first_object_made_names_both_places_once(caplog, site, theirs, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, theirs, theirs])
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            OssCheckpoint(**site.arguments)
    (said,) = [record.getMessage() for record in caplog.records if record.name == vendor.__name__]
    assert said.count(theirs) == 1
    assert str(Path(vendor.__file__).parents[1]) in said
    assert "pip uninstall osstorchconnector" in said


def test_its_files_among_ours_are_noticed(tmp_path):
    (tmp_path / "osstorchconnector" / "_oss_connector").mkdir(parents=True)
    assert vendor.places([str(tmp_path), ""]) == [str(tmp_path)]


def test_the_real_wheel_behind_ours_is_noticed_by_a_plain_program():
    wheel = Path(__file__).parents[1] / ".cache" / "original"
    if not (wheel / "osstorchconnector").is_dir():
        pytest.skip("the vendor's wheel is not installed; `make original` fetches it where it can be had")
    ran = subprocess.run(
        [sys.executable, "-c", "from osstorchconnector import OssClient; OssClient('')"],
        env={**os.environ, "PYTHONPATH": f"{OURS}{os.pathsep}{wheel}"},
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    assert str(wheel) in ran.stderr
