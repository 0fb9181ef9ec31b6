"""docs/checkpoints.md: its example runs, and its commands and options are there."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path

from dcp_states import file_system
from osstorchconnector import OssStorageWriter
from osstorchconnector.cli import main

PAGE = (Path(__file__).parent.parent / "docs" / "checkpoints.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_example_and_the_commands_run(site, monkeypatch, capsys):
    fs = file_system(site)
    for name, value in site.oss.environ().items():
        monkeypatch.setenv(name, value)
    (example,) = blocks("python")
    exec(compile(example, "docs/checkpoints.md", "exec"), {"__name__": "example"})
    assert fs.latest("oss://bucket/run") is not None
    for line in "".join(blocks("console")).splitlines():
        command, *arguments = shlex.split(line.removeprefix("$ "), comments=True)
        assert command == "ossconnector"
        assert main(arguments) == 0
    assert "oss://bucket/run/step-" in capsys.readouterr().out


def test_the_table_names_every_option_of_ours_and_its_default():
    ours = {
        name: parameter.default
        for name, parameter in inspect.signature(OssStorageWriter).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    table = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", PAGE, re.MULTILINE))
    assert table.keys() == ours.keys()
    assert table["grace_seconds"] == f"{ours['grace_seconds']:.0f}"
    assert table["prefix_strategy"] == f'`"{ours["prefix_strategy"]}"`'
