"""Unsafe code has few doors: which files, how many places in each, and every place with its reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CRATES = Path(__file__).parents[1] / "crates"

# File and places. The numbers may fall; one more place is one more decision, and docs/faults.md counts them.
DOORS = {
    "oss-client/src/credentials/process.rs": 1,
    "oss-client/src/fork.rs": 4,
    "oss-client/src/http/socket.rs": 4,
    "oss-client/src/index/map.rs": 1,
    "oss-client/src/lend.rs": 4,
    "oss-client/src/sync.rs": 1,
    "oss-python/src/buffer.rs": 5,
}
_PLACE = re.compile(r"\bunsafe\s*(\{|impl\b|fn\b|extern\b|trait\b)")


def shipped_lines(source):
    """Return the lines of a file that are shipped, what stands in comments and texts blanked."""
    text = source.read_text(encoding="utf-8").split("#[cfg(test)]")[0]
    text = re.sub(r'"(?:[^"\\]|\\.)*"', '""', text)
    return text.splitlines()


def places(lines):
    """Return the numbers of the lines on which unsafe code begins."""
    return [
        number
        for number, line in enumerate(lines)
        if _PLACE.search(line.split("//")[0]) and not line.lstrip().startswith("//")
    ]


def has_reason(lines, number):
    """Say whether a SAFETY comment stands above a place, with nothing but its statement and attributes between."""
    above = lines[max(0, number - 8) : number + 1]
    return any(line.lstrip().startswith("// SAFETY: ") for line in above)


def found():
    sources = sorted(CRATES.glob("*/src/**/*.rs"))
    assert sources
    counted = {str(source.relative_to(CRATES)): places(shipped_lines(source)) for source in sources}
    return {name: numbers for name, numbers in counted.items() if numbers}


def test_s19_unsafe_code_is_behind_its_doors_alone():
    assert {name: len(numbers) for name, numbers in found().items()} == DOORS


def test_s19_the_page_of_faults_counts_them_right():
    page = (CRATES.parent / "docs" / "faults.md").read_text(encoding="utf-8")
    assert f"{sum(DOORS.values())} places in {len(DOORS)} files" in page
    told = page.partition("## Unsafe code")[2].partition("Each is")[0]
    assert f"there are {sum(DOORS.values())} places: " in told
    numbers = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
    parts = [numbers[word] for word in re.findall(r"\w+", told.partition("places: ")[2]) if word in numbers]
    assert sorted(parts) == sorted(DOORS.values())


@pytest.mark.parametrize("name", DOORS)
def test_s19_every_unsafe_place_says_why_it_is_sound(name):
    lines = shipped_lines(CRATES / name)
    without = [number + 1 for number in places(lines) if not has_reason(lines, number)]
    assert without == [], f"{name}: no `// SAFETY:` above these lines"


def test_s19_the_page_says_how_many_there_are():
    page = (CRATES.parent / "docs" / "faults.md").read_text(encoding="utf-8")
    assert f"{sum(DOORS.values())} places in {len(DOORS)} files" in page


def test_s19_a_place_that_is_hidden_is_found():
    lines = ["let a = 1;", "// unsafe { }", "let b = unsafe {", "unsafe impl Send for A {}", 'let c = "";']
    assert places(lines) == [2, 3]
    assert not has_reason(lines, 2)
    assert has_reason(["// SAFETY: it is.", *lines[2:]], 1)
