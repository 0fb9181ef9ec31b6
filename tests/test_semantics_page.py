"""docs/semantics.md: every promise names tests, and they exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "semantics.md").read_text(encoding="utf-8")
PROMISES = re.findall(r"^\| (?!promise|---)(.+?) \| (.+?) \|$", PAGE, re.MULTILINE)


def known_tests():
    """Return the names of all tests, Python's and Rust's."""
    sources = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "crates").rglob("*.rs")]
    texts = (source.read_text(encoding="utf-8") for source in sources)
    return {name for text in texts for name in re.findall(r"\b(?:def|fn) (test_\w+)", text)}


@pytest.mark.parametrize(("promise", "tests"), PROMISES, ids=[promise[:40] for promise, _ in PROMISES])
def test_a_promise_names_tests_that_exist(promise, tests):
    named = re.findall(r"`(test_\w+)`", tests)
    assert named, promise
    assert set(named) <= known_tests()


def test_the_promises_are_found():
    assert len(PROMISES) >= 10
