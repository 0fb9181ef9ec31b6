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
