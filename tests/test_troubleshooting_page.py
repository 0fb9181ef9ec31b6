"""docs/troubleshooting.md: what it quotes is said by the code, and what it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from osstorchconnector import config_keys

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
QUOTES = re.findall(r"^> (.+)$", PAGE, re.MULTILINE) + re.findall(r"^\| `([^`]+ [^`]+)`", PAGE, re.MULTILINE)


def said_by_the_code():
    """Return all texts of the sources, adjacent string literals joined."""
    sources = [*(ROOT / "python").rglob("*.py"), *(ROOT / "crates").rglob("*.rs")]
    text = "\n".join(source.read_text(encoding="utf-8") for source in sources)
    # Python joins literals that follow each other; Rust joins lines by a backslash.
    joined = re.sub(r'"\s*\n\s*f?"', "", text)
    return re.sub(r"\\\n\s*", "", joined) + (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def sources():
    return said_by_the_code()


@pytest.mark.parametrize("quote", QUOTES)
def test_what_the_page_quotes_is_said(quote, sources):
    assert quote in sources


def test_quotes_are_found():
    assert len(QUOTES) > 10


def test_the_keys_and_counters_of_the_page_exist():
    keys = set(re.findall(r"`((?:network|datasetConfig|checkpointConfig)\.\w+)`", PAGE))
    assert keys
    assert keys <= set(config_keys.KEYS)
    counters = (ROOT / "docs" / "stats.md").read_text(encoding="utf-8")
    for row in re.findall(r"^\| ((?:`\w+`(?:, )?)+)[^|]*\|[^|]*\|[^|]*\|$", PAGE, re.MULTILINE):
        for name in re.findall(r"`(\w+_\w+)`", row):
            assert f"`{name}`" in counters
