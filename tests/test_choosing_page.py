"""docs/choosing.md: one row for each peer, and no claim without its command or the word that it was not measured."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "choosing.md").read_text(encoding="utf-8")


def _rows(head):
    """Return the cells of the rows of the table whose head begins so."""
    lines = PAGE[PAGE.index(head) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


COMMANDS = {letter: command.strip("`") for letter, command, _ in _rows("| | command")}


def test_each_peer_has_one_row():
    tools = [re.search(r"\*\*(.+?)\*\*", cells[0]).group(1) for cells in _rows("| tool |")]
    assert tools == [
        "this package",
        "osstorchconnector 1.2.3",
        "s3torchconnector",
        "obstore",
        "oss2",
        "ossfs 2.0",
        "webdataset",
        "MosaicML Streaming",
        "multi-storage-client",
    ]


def test_every_claim_has_its_command_or_says_that_it_was_not_measured():
    used = set()
    for tool, _, better, worse, speed in _rows("| tool |"):
        for claim in (*better.split("; "), *worse.split("; ")):
            assert re.search(r"\((?:[a-z]|not measured[^)]*)\)", claim), (tool, claim)
        assert re.match(r"\([a-z]\)|not measured", speed), (tool, speed)
        used |= set(re.findall(r"\(([a-z])\)", f"{better}{worse}{speed}"))
    assert used == set(COMMANDS)


def test_every_command_names_what_there_is(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benches"))
    from rows import ROWS

    tests = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("tests/test_*.py"))
    for command in COMMANDS.values():
        for target in re.findall(r"\bmake ([a-z-]+)", command):
            assert f"\n{target}:" in (ROOT / "Makefile").read_text(encoding="utf-8"), command
        arguments = shlex.split(shlex.split(command)[-1].removeprefix("ARGS=")) if "ARGS=" in command else []
        if "--rows" in arguments:
            assert set(arguments[arguments.index("--rows") + 1 :]) <= {row.name for row in ROWS}
        if "-k" in arguments:
            assert f"def test_{arguments[arguments.index('-k') + 1]}(" in tests
        assert all((ROOT / name).is_file() for name in arguments if name.startswith("tests/"))
