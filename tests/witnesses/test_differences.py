"""The same programs with the original wheel and with ours, against one emulator; what differs is what the page says.

docs/migrating.md lists every difference with both outcomes; `make docs` writes that list anew, without it the test
compares. Each difference on the list is named by a row of the page's tables of deliberate changes.
"""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest
from package_process import cannot_witness, place_of
from same_programs import BUCKET, all_programs

PROGRAMS = all_programs()

PAGE = Path(__file__).parents[2] / "docs" / "migrating.md"
START, END = "<!-- what the programs saw -->\n", "<!-- end -->\n"
ROW = re.compile(r"^\| `(\w+)` \| (.*?) \| (.*?) \|$", re.MULTILINE)

# Its forked workers hang now and then, whatever the program: what counts is what it does when they do not.
TRIES_OF_THE_ORIGINAL = 3
HANGS = {"ends": "does not end"}

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def user_faults_work(both_packages):
    """Say whether the original's prefetching readers can work here."""
    return both_packages[0].ask({"program": None})


@pytest.fixture(scope="module")
def closed_port():
    """Give a port at which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture
def outcomes(both_packages, closed_port, oss_emulator, tmp_path):
    """Give a function that runs a program with both packages, each from the same start."""

    def run(name):
        theirs, our_own = both_packages
        original = once(theirs, name, tmp_path / "a")
        for attempt in range(TRIES_OF_THE_ORIGINAL - 1):
            if original != HANGS:
                break
            original = once(theirs, name, tmp_path / f"a{attempt}")
        return original, once(our_own, name, tmp_path / "b")

    def once(process, name, directory):
        asked = PROGRAMS[name]
        oss_emulator.reset()
        oss_emulator.put_object(BUCKET, "there", b"a bucket")
        for key, data in asked.objects.items():
            oss_emulator.put_object(BUCKET, key, data)
        oss_emulator.rules(asked.rules)
        place = place_of(oss_emulator, directory / name, asked.config, closed_port)
        return process.ask({"program": name, "place": place})

    return run


def agree(original, ours):
    """Say whether code that knew the original sees no difference: its value, or a class that its handlers catch."""
    if "raises" in original and "raises" in ours:
        return original["raises"] in [ours["raises"], *ours["classes"]]
    return original == ours


def told(outcome):
    """Write an outcome for the page."""
    if "ends" in outcome:
        return outcome["ends"]
    if "raises" in outcome:
        return outcome["raises"]
    return f"`{outcome['gives']!r}`".replace("|", "\\|")


def documented():
    """Read the list of differences from the page."""
    text = PAGE.read_text(encoding="utf-8")
    listed = text[text.index(START) : text.index(END)]
    return {name: (original, ours) for name, original, ours in ROW.findall(listed)}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_does_the_same_or_what_the_page_says(name, outcomes, user_faults_work):
    if PROGRAMS[name].needs_user_faults and not user_faults_work:
        cannot_witness("its prefetching reader needs userfaultfd, which this machine does not give")
    original, ours = outcomes(name)
    seen = None if agree(original, ours) else (told(original), told(ours))
    assert seen == documented().get(name), "a bug of ours, or docs/migrating.md is out of date"


@pytest.mark.skipif("OSSTORCHCONNECTOR_WRITE_DOCS" not in os.environ, reason="`make docs` writes it")
@pytest.mark.timeout(600)
def test_write_the_list_of_differences(outcomes, user_faults_work):
    assert user_faults_work, "the list is written where all programs run"
    rows = ["| program | the original | here |\n|---|---|---|\n"]
    for name in sorted(PROGRAMS):
        original, ours = outcomes(name)
        if not agree(original, ours):
            rows.append(f"| `{name}` | {told(original)} | {told(ours)} |\n")
    text = PAGE.read_text(encoding="utf-8")
    before, after = text[: text.index(START)], text[text.index(END) :]
    PAGE.write_text(before + START + "".join(rows) + after, encoding="utf-8")


def test_each_difference_is_a_deliberate_change_of_the_page():
    text = PAGE.read_text(encoding="utf-8")
    named = re.findall(r"`(\w+)`", text[: text.index(START)])
    assert set(documented()) <= set(named) & set(PROGRAMS)


def test_each_program_that_the_page_names_exists_and_differs():
    text = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| .* \| ([^|]*) \|$", text[: text.index(START)], re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([a-z]\w+_\w+)`", row)}
    assert {name for name in named if not name.startswith("test_")} <= set(documented())
