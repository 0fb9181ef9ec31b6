"""docs/faults.md: every row and control is there, and names tests that exist, or says plainly why there is none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ([FS]\d\d) \| (.+?) \| (.+?) \|$", PAGE, re.MULTILINE)
EXCUSES = ("does not apply: ", "not yet: ", "not by a test: ")


def known_tests():
    """Return the names of all tests, Python's and Rust's."""
    sources = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "crates").rglob("*.rs")]
    texts = (source.read_text(encoding="utf-8") for source in sources)
    return {name for text in texts for name in re.findall(r"\b(?:def|fn) (\w+)", text)}


KNOWN = known_tests()
ROWS_WITH_TESTS = {
    f"{kind}{int(number):02}" for name in KNOWN for kind, number in re.findall(r"^test_([fs])(\d\d?)_", name)
}


@pytest.mark.parametrize(("row", "what", "held"), ROWS, ids=[row for row, _, _ in ROWS])
def test_a_row_is_held_by_tests_or_says_why_not(row, what, held):
    named = re.findall(r"`(\w+)`", held)
    if held.startswith(EXCUSES):
        assert row.lower() not in ROWS_WITH_TESTS, f"{row} ({what}) has tests: name them"
        return
    assert named, f"{row} ({what}) names no test"
    assert [name for name in named if name not in KNOWN and name not in ROWS_WITH_TESTS] == []
    assert row.lower() in named or row.lower() not in ROWS_WITH_TESTS


def test_every_row_is_there_once_and_in_order():
    rows = [f"F{number:02}" for number in range(1, 98)] + [f"S{number:02}" for number in range(1, 25)]
    assert [row for row, _, _ in ROWS] == rows


def test_no_test_is_named_after_a_row_that_does_not_exist():
    assert {row.upper() for row in ROWS_WITH_TESTS} <= {row for row, _, _ in ROWS}
