"""docs/configuration.md names every key of the config file, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from osstorchconnector import config

PAGE = Path(__file__).parent.parent / "docs" / "configuration.md"
KEY = re.compile(
    r"`((?:network|compatibility|datasetConfig|checkpointConfig)\.\w+|logLevel|logPath|auditPath|ioEngineType)`"
)


def test_the_page_names_every_key_and_no_other():
    assert set(KEY.findall(PAGE.read_text())) == set(config._KEYS)


# Options whose default in the native code bears another name.
NATIVE_NAMES = {"retry_base_seconds": "base", "retry_cap_seconds": "cap"}


def native_defaults():
    """Read every default of a number from the one place that has them, in seconds or as it stands."""
    source = (PAGE.parents[1] / "crates" / "oss-client" / "src" / "config.rs").read_text()
    times = re.findall(
        r"^            (\w+): (?:Duration::)?(?:from_)?(seconds|secs|millis)\((\d+)\),$", source, re.MULTILINE
    )
    found = {name: int(count) / (1000 if unit == "millis" else 1) for name, unit, count in times}
    counts = re.findall(r"^            (\w+): (\d+)(?: << (\d+))?,$", source, re.MULTILINE)
    return found | {name: int(count) << int(shift or 0) for name, count, shift in counts}


def test_the_page_tells_the_defaults_of_the_code():
    told = re.findall(r"^\| `network\.(\w+)` \| (\d[\d.]*) \|", PAGE.read_text(), re.MULTILINE)
    assert len(told) >= 15
    defaults = native_defaults()
    for name, default in told:
        option = config._KEYS[f"network.{name}"].target
        field = NATIVE_NAMES.get(option, option.removesuffix("_seconds"))
        assert float(default) == defaults[field], name
