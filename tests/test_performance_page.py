"""docs/performance.md shows what was measured, and nothing else."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "performance.md"
MEASURED = ROOT / "docs" / "performance" / "measured.json"


@pytest.fixture
def benches(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benches"))


@pytest.mark.usefixtures("benches")
def test_the_tables_are_those_of_what_was_measured(tmp_path):
    import page

    copy = tmp_path / "performance.md"
    shutil.copy(PAGE, copy)
    page.write(json.loads(MEASURED.read_text()), copy)
    assert copy.read_text() == PAGE.read_text()


@pytest.mark.usefixtures("benches")
def test_a_page_without_its_marks_is_not_written(tmp_path):
    import page

    copy = tmp_path / "performance.md"
    copy.write_text("no marks")
    with pytest.raises(SystemExit, match="put the marks back"):
        page.write(json.loads(MEASURED.read_text()), copy)
    assert copy.read_text() == "no marks"


def test_every_picture_is_there():
    pictures = re.findall(r"\]\((performance/\w+\.svg)\)", PAGE.read_text())
    assert len(pictures) == 3
    assert all((ROOT / "docs" / picture).stat().st_size > 1000 for picture in pictures)


@pytest.mark.usefixtures("benches")
def test_requests_in_flight_are_counted_from_the_journal():
    import curves

    entries = [
        {"started_ms": 1000, "elapsed_ms": 30},
        {"started_ms": 1010, "elapsed_ms": 30},
        {"started_ms": 1050, "elapsed_ms": None},
    ]
    assert curves.in_flight(entries, step_ms=20) == [[0.0, 1.0], [0.02, 2.0], [0.04, 0.0], [0.06, 0.0]]
