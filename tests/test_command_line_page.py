"""docs/command-line.md: its commands run, and its tables name every command and what completes them."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from command_process import COMMAND, Shell

PAGE = (Path(__file__).parent.parent / "docs" / "command-line.md").read_text(encoding="utf-8")


@pytest.fixture
def shell(site, tmp_path):
    site.fill({"first": b""})
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("hello, object")
    return Shell(site, tmp_path)


def test_the_commands_run(shell):
    outputs = {}
    for line in "".join(re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)).splitlines():
        command, *arguments = shlex.split(line.removeprefix("$ "))
        assert command == "ossconnector"
        done = shell.run(*arguments)
        assert done.returncode == 0, done
        outputs[arguments[0], arguments[-1]] = done.stdout
    assert outputs["cat", "oss://bucket/train/a.txt"] == "hello, obj"
    assert (shell.directory / "copy" / "a.txt").read_text() == "hello, object"


def test_the_table_names_every_command(shell):
    listed = shell.printed().partition("Commands:\n")[2]
    table = PAGE.partition("```console")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == re.findall(
        r"^  (\w+)  ", listed, re.MULTILINE
    )


def test_every_option_that_the_page_names_is_there(shell):
    section = ""
    for line in PAGE.splitlines():
        section = line.removeprefix("## ") if line.startswith("## ") else section
        if section in ("cp", "doctor", "rm"):
            helped = shell.printed(section, "--help")
            assert all(option in helped for option in re.findall(r"`(--[a-z-]+)`", line))


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_each_line_of_a_start_up_file_is_there_and_prints_a_script(shell, name):
    assert f"ossconnector completion {name}" in PAGE
    script = shell.printed("completion", name)
    assert "_OSSCONNECTOR_COMPLETE" in script
    if name == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True, timeout=50)


def test_what_the_script_asks_for_is_answered(shell):
    asked = {
        "_OSSCONNECTOR_COMPLETE": "bash_complete",
        "COMP_WORDS": "ossconnector cp --re",
        "COMP_CWORD": "2",
    }
    done = subprocess.run(
        COMMAND, env={**shell.variables, **asked}, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.stdout.split() == ["plain,--recursive", "plain,--resume", "plain,--region"]


def test_the_doctors_table_names_its_lines(shell):
    table = PAGE.partition("## doctor")[2].partition("## ")[0]
    named = ", ".join(re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE))
    lines = json.loads(shell.printed("doctor", "--json"))
    assert re.findall(r"`(\w+)`", named) == [row["name"] for row in lines]
