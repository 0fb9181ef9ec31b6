"""docs/migrating.md has a line for every change that the contract with old code knows, and shows it by tests that exist.

The lines carry the contract's ids in comments: `M` for the faults of the vendor's package that end here, and the letters
of its sections. `tests/witnesses/test_differences.py` holds what both packages do.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "migrating.md").read_text(encoding="utf-8").partition("## What the programs saw")[0]
IDS = re.compile(r"<!-- ([A-Z][\w -]*) -->")

# No change for code that works: the programs of tests/witnesses see an error, or the same, from both packages.
SEEN_THE_SAME = {
    "M43": "a_checkpoint_reader_of_a_uri_without_a_key",
    "M47": "reading_an_item_of_a_listing",
    "J4-rename": "renaming_an_object_to_itself",
    "E1-path": "an_endpoint_with_a_path",
    "D2-empty": "a_provider_of_empty_keys",
}
DEMANDED = {
    *(f"M{number}" for number in range(1, 48)),
    "A3",
    *("C-bounds", "C-timeoutMs", "C-prefetchMB", "C-sizes", "C-zero", "C-most", "C-unknown"),
    *("D2-once", "D2-empty", "E1-path", "E3-order", "H-ranks", "H-listing", "J4-rename"),
    *("L-kinds", "L-which", "L-rotation"),
}


def lines_by_id():
    found = {}
    for line in PAGE.splitlines():
        for ids in IDS.findall(line):
            for name in ids.split():
                assert name not in found, f"{name} has two lines"
                found[name] = line
    return found


def known_tests():
    sources = (ROOT / "tests").rglob("*.py")
    return {
        name for path in sources for name in re.findall(r"\bdef (test_\w+)", path.read_text(encoding="utf-8"))
    }


def test_every_change_of_the_contract_has_one_line():
    assert set(lines_by_id()) == DEMANDED - set(SEEN_THE_SAME)


def test_what_has_no_line_is_seen_the_same_by_a_program():
    witnesses = (ROOT / "tests" / "witnesses").glob("same_*.py")
    programs = "\n".join(path.read_text(encoding="utf-8") for path in witnesses)
    for program in SEEN_THE_SAME.values():
        assert re.search(rf'(?:def {program}\(|"{program}":)', programs)
        assert f"`{program}`" not in PAGE


def test_every_line_of_a_table_is_shown_by_something_that_exists():
    tests = known_tests()
    for line in re.findall(r"^\| .* \|$", PAGE, re.MULTILINE):
        named = re.findall(r"`(test_\w+)`", line)
        assert [name for name in named if name not in tests] == []
