"""docs/credentials.md names every variable, mode and class that an identity can come from, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from osstorchconnector import credentials

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "credentials.md").read_text(encoding="utf-8")
LINKS = ROOT / "crates" / "oss-client" / "src" / "credentials"
VARIABLE = re.compile(r"\b(?:ALIBABA_CLOUD|OSSCONNECTOR|OSS)_[A-Z][A-Z0-9_]+\b")


def code_of(name):
    """Return a link's source without its tests."""
    return (LINKS / name).read_text(encoding="utf-8").partition("#[cfg(test)]")[0]


def test_every_variable_is_there_and_no_other():
    read = {name for path in LINKS.glob("*.rs") for name in VARIABLE.findall(code_of(path.name))}
    assert set(VARIABLE.findall(PAGE)) == read


def test_every_mode_and_type_is_there():
    modes = re.search(
        r"\*\*Modes of a CLI profile:\*\*(.+?)\*\*Types of an ini section:\*\*(.+?)\n\n", PAGE, re.DOTALL
    )
    assert modes is not None
    for said, source, arm in (
        (modes[1], "profile.rs", r'^        ((?:"\w+" ?\|? ?)+)=>'),
        (modes[2], "ini.rs", r'^            ("\w+") =>'),
    ):
        arms = re.findall(arm, code_of(source), re.MULTILINE)
        known = {name for names in arms for name in re.findall(r'"(\w+)"', names)}
        assert set(re.findall(r"`(\w+)`", said)) == known


def test_every_class_is_there():
    named = set(re.findall(r"^\| `(\w+)\(", PAGE, re.MULTILINE))
    known = {name for name in vars(credentials) if name.endswith("Credentials")}
    assert named == known
