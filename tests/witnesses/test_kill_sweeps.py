"""F63 beside the original: the same save over an old object, killed at each of its requests, with both packages.

`tests/faults/test_save_sweeps.py` holds the promise itself. Here the figures of docs/migrating.md are made.
"""

from __future__ import annotations

import itertools
import re
import signal
from pathlib import Path

import pytest
from package_process import place_of
from same_programs import BUCKET, all_programs

from osstorchconnector import OssCheckpoint

PAGE = Path(__file__).parents[2] / "docs" / "migrating.md"
SAVE = "a_save_of_three_parts"
OLD, NEW = b"old", bytes(2_500_000)

pytestmark = pytest.mark.timeout(120)


def left_by(site_of, oss_emulator):
    """Say what is there after a kill: the old object, the new one, or neither."""
    # What the killed process had asked for is carried out before its answer is missed.
    while any(entry["elapsed_ms"] is None for entry in oss_emulator.requests()):
        pass
    try:
        with OssCheckpoint(**site_of).reader(f"oss://{BUCKET}/k") as reader:
            found = reader.read()
    except FileNotFoundError:
        return "neither"
    return {OLD: "old", NEW: "new"}.get(found, "neither")


def swept(process, oss_emulator, directory):
    """Kill the save at and after each of its requests; count what was left."""
    left = {"old": 0, "new": 0, "neither": 0}
    for step in itertools.count(1):
        ended = []
        for after in (False, True):
            oss_emulator.reset()
            oss_emulator.put_object(BUCKET, "k", OLD)
            place = place_of(oss_emulator, directory / f"{step}-{after}", all_programs()[SAVE].config, 1)

            def arm(child, step=step, after=after):
                kill = {"pid": child, "signal": int(signal.SIGKILL), "after": after}
                oss_emulator.rules([{"match": {"nth": step}, "action": {"kill_client_at": kill}}])

            outcome = process.ask({"program": SAVE, "place": place, "held": True}, arm)
            oss_emulator.rules([])
            ended.append(outcome.get("ends"))
            if outcome.get("ends") == "SIGKILL":
                left[left_by(oss_emulator.arguments(), oss_emulator)] += 1
        if "SIGKILL" not in ended:
            return left
    raise AssertionError("unreachable")


def test_f63_the_original_loses_the_old_object_where_ours_does_not(both_packages, oss_emulator, tmp_path):
    said = {
        name: swept(process, oss_emulator, tmp_path / name)
        for name, process in zip(("the original", "this package"), both_packages, strict=True)
    }
    assert said["this package"]["neither"] == 0
    rows = re.findall(
        r"^\| (the original|this package) \| (\d+) \| (\d+) \| (\d+) \|$", PAGE.read_text(), re.MULTILINE
    )
    assert {name: [*left.values()] for name, left in said.items()} == {
        name: [int(count) for count in counts] for name, *counts in rows
    }
