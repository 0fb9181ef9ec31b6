"""docs/configuration.md: its tables are made from the keys of the code; `make docs` writes them, the test compares."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from osstorchconnector import _native
from osstorchconnector.config_keys import KEYS, SECTIONS

PAGE = Path(__file__).parent.parent / "docs" / "configuration.md"
CONFIG = PAGE.parents[1] / "crates" / "oss-client" / "src" / "config.rs"
TABLE = re.compile(r"(<!-- table of keys: (\w+) -->\n\n)(?:\|.*\n)*")
HEADS = {
    "original": ("key", "value", "without it", "what it does here"),
    "ours": ("key", "value", "default", "what it does"),
    "timers": ("key", "default", "how long"),
}
# Options whose default in the native code bears another name.
NATIVE_NAMES = {"retry_base_seconds": "base", "retry_cap_seconds": "cap"}
NO_EFFECT = "accepted, without effect"


def native_defaults():
    """Read every default of a number from the one place that has them, in seconds or as it stands."""
    source = CONFIG.read_text()
    times = re.findall(
        r"^            (\w+): (?:Duration::)?(?:from_)?(seconds|secs|millis)\((\d+)\),$", source, re.MULTILINE
    )
    found = {name: int(count) / (1000 if unit == "millis" else 1) for name, unit, count in times}
    counts = re.findall(r"^            (\w+): (\d+)(?: << (\d+))?,$", source, re.MULTILINE)
    return found | {name: int(count) << int(shift or 0) for name, count, shift in counts}


NATIVE = native_defaults()


def default(key):
    if key.default or not key.target or not key.does:
        return key.default
    if key.kind == "switch":
        return ""
    return f"{NATIVE[NATIVE_NAMES.get(key.target, key.target.removesuffix('_seconds'))]:.12g}"


def value(key):
    """Say what may be written in the file."""
    if key.words:
        return ", ".join(f'`"{word}"`' for word in key.words)
    unit = {1 << 20: ", MiB", 0.001: ", milliseconds"}.get(key.scale, "")
    seconds = ", seconds" if key.kind == "number" else ""
    return {
        "count": f"whole number{unit}",
        "number": f"number{seconds}",
        "switch": "true or false",
        "text": "text",
        "bytes": "bytes, a whole number or its digits as text",
        "level": '0 to 3, or `"DEBUG"`, `"INFO"`, `"WARN"`, `"ERROR"`',
    }[key.kind]


def does(key):
    if key.idle is not None:
        return f"without effect; one warning unless it says {json.dumps(key.idle)}"
    if key.idle_because:
        return f"{NO_EFFECT}, said once in the log: {key.idle_because}"
    return key.does or NO_EFFECT


def row(name, key, section):
    named = f"`{name}`" + ("" if key.original is None else f" ({key.original})")
    cells = (named, value(key), default(key), does(key))
    return cells if section != "timers" else (named, default(key), does(key))


def table(section):
    head = HEADS[section]
    first, *rest = [head, *(row(name, key, section) for name, key in SECTIONS[section].items())]
    lines = [" | ".join(first), "|".join(["---"] * len(head)), *map(" | ".join, rest)]
    return "".join(f"| {line} |\n" if "---|" not in line else f"|{line}|\n" for line in lines)


def made(page):
    """Return the page with its tables made anew."""
    return TABLE.sub(lambda found: found[1] + table(found[2]), page)


def test_the_tables_of_the_page_are_those_of_the_code():
    page = PAGE.read_text(encoding="utf-8")
    if os.environ.get("OSSTORCHCONNECTOR_WRITE_DOCS"):
        PAGE.write_text(made(page), encoding="utf-8")
        return
    assert [section for _, section in TABLE.findall(page)] == list(SECTIONS)
    assert page == made(page), "make docs writes it anew"


def test_every_key_says_what_it_does_or_has_no_effect():
    for name, key in KEYS.items():
        assert bool(key.does) == bool(key.target), name
        assert default(key) or not key.target or key.kind == "switch", name


def test_every_option_of_the_native_side_has_a_key():
    options = {key.target for key in KEYS.values() if key.target and not key.is_field}
    assert options <= set(_native.option_names())
