"""Every fenced block of code on a page runs: here, or in the test of its page, or the reason is given why it cannot.

What a shell is told runs in bash, with stand-ins for `make` and `pip`, which note what they were asked for.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from osstorchconnector import config
from page_programs import run_python

ROOT = Path(__file__).parents[1]
HERE = Path(__file__).name
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "benches" / "README.md"]
PAGES += ROOT.glob("crates/*/README.md")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NAMED = re.compile(r"\b([A-Z_]+)=")
# Output and drawings.
NO_CODE = {"", "text"}

# By page and language: how many blocks there are, and which test runs them.
RUNNERS = {
    ("README.md", "python"): (2, "test_readme.py"),
    ("README.md", "sh"): (3, HERE),
    # Compared with the English ones, block by block.
    ("README.zh.md", "python"): (2, "test_readme.py"),
    ("README.zh.md", "sh"): (3, "test_readme.py"),
    ("benches/README.md", "sh"): (1, HERE),
    ("crates/oss-emulator/README.md", "json"): (1, HERE),
    ("docs/bare-paths.md", "python"): (5, "test_bare_paths_page.py"),
    ("docs/bare-paths.md", "sh"): (1, HERE),
    ("docs/checkpoints.md", "console"): (1, "test_checkpoints_page.py"),
    ("docs/checkpoints.md", "python"): (1, "test_checkpoints_page.py"),
    ("docs/command-line.md", "console"): (1, "test_command_line_page.py"),
    ("docs/datasets.md", "python"): (3, "test_datasets_page.py"),
    ("docs/migrating.md", "json"): (1, HERE),
    ("docs/migrating.md", "sh"): (1, HERE),
    ("docs/object-index.md", "python"): (1, HERE),
    ("docs/objects.md", "python"): (1, "test_objects_page.py"),
    ("docs/performance.md", "sh"): (1, HERE),
    ("docs/quickstart.md", "python"): (4, "test_quickstart_page.py"),
    ("docs/quickstart.md", "sh"): (1, HERE),
    ("docs/safetensors.md", "python"): (1, "test_safetensors_page.py"),
    ("docs/stats.md", "python"): (3, "test_stats_page.py"),
    ("docs/troubleshooting.md", "python"): (1, HERE),
    ("docs/troubleshooting.md", "sh"): (1, HERE),
}
IN_SHELL = [page for (page, language), (_, runner) in RUNNERS.items() if language == "sh" and runner == HERE]


def blocks(page, language=None):
    found = BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    return [text if language else kind for kind, text in found if language in (None, kind)]


def test_every_block_of_every_page_has_a_runner():
    counted = {}
    for path in PAGES:
        page = str(path.relative_to(ROOT))
        counted |= {
            (page, kind): count for kind, count in Counter(blocks(page)).items() if kind not in NO_CODE
        }
    assert counted == {place: count for place, (count, _) in RUNNERS.items()}


@pytest.mark.parametrize(("page", "language"), RUNNERS)
def test_a_runner_reads_its_page(page, language):
    runner = RUNNERS[page, language][1]
    source = (ROOT / "tests" / runner).read_text(encoding="utf-8")
    assert Path(page).name in source
    assert runner == HERE or language in source or page == "README.zh.md"


@pytest.fixture
def shell(tmp_path, site):
    """Give a function that runs a block, and returns what it printed and what the stand-ins were asked for."""
    site.fill({"prefix/a": b"1"})
    asked = tmp_path / "asked"
    asked.touch()
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, does in {
        "make": f'echo "make $@" >> {asked}',
        "pip": f'echo "pip $@" >> {asked}',
        "python": f'exec {sys.executable} "$@"',
        "ossconnector": f'exec {sys.executable} -m osstorchconnector.cli "$@"',
    }.items():
        (tools / name).write_text(f"#!/bin/sh\n{does}\n")
        (tools / name).chmod(0o755)
    variables = {**os.environ, **site.oss.environ(), "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}

    def run(text):
        done = subprocess.run(
            ["bash", "-euc", text],
            cwd=tmp_path,
            env=variables,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert done.returncode == 0, done
        return done.stdout, asked.read_text().splitlines()

    return run


@pytest.mark.parametrize("page", IN_SHELL)
def test_what_a_page_tells_a_shell_runs(page, shell):
    helped = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = set(re.findall(r"^  make ([a-z-]+) ", helped, re.MULTILINE))
    extras = set(importlib.metadata.metadata("osstorchconnector").get_all("Provides-Extra"))
    version = importlib.metadata.version("osstorchconnector")
    for text in blocks(page, "sh"):
        said, asked = shell(text)
        for line in asked:
            program, *words = line.split()
            if program == "make":
                assert {word for word in words if word.islower()} & targets, line
                continue
            assert words.pop(0) in ("install", "uninstall"), line
            for word in words:
                wheel = re.fullmatch(
                    r"dist/osstorchconnector-(\*|\S+?)(?:-cp\S+)?\.whl(?:\[([\w,]+)\])?", word
                )
                assert wheel or word in ("torch", "osstorchconnector"), line
                assert not wheel or wheel[1] in ("*", version), line
                assert not wheel or set(filter(None, (wheel[2] or "").split(","))) <= extras, line
        exported = {
            name for line in re.findall(r"^export (.*)", text, re.MULTILINE) for name in NAMED.findall(line)
        }
        assert exported <= {"OSS_ENDPOINT", "OSS_ACCESS_KEY_ID", "OSS_ACCESS_KEY_SECRET"}
        if "__version__" in text:
            assert said.splitlines()[-1] == version
        if "doctor" in text:
            assert "ok      list" in said


def test_the_example_of_the_object_index_runs(tmp_path, site):
    site.fill({f"train/{number}": b"1" for number in range(5)})
    [text] = blocks("docs/object-index.md", "python")
    ran = run_python(f"from osstorchconnector import OssClient\n{text}\nprint(len(index))", tmp_path, site)
    assert (ran.returncode, ran.stdout) == (0, "5\n"), ran.stderr


def test_the_lines_that_troubleshooting_asks_for_show_more(tmp_path, site):
    site.fill({"a": b"1"})
    [text] = blocks("docs/troubleshooting.md", "python")
    use = "from osstorchconnector import OssClient\nOssClient().get_object('bucket', 'a').read()\n"
    ran = run_python(text.replace("logging.INFO", "logging.DEBUG") + use, tmp_path, site)
    assert ran.returncode == 0, ran.stderr
    assert "GetObject oss://bucket/a" in ran.stderr


def test_the_compatibility_of_the_page_on_moving_over_is_taken():
    [text] = blocks("docs/migrating.md", "json")
    read = config.parse(text, "/c.json")
    assert (read.missing, read.empty_prefix) == ("skip", "allow")


def test_the_rules_of_the_emulators_page_are_taken(site):
    [text] = blocks("crates/oss-emulator/README.md", "json")
    document = json.loads(text)
    site.oss.rules(document["rules"], document["seed"])
    assert [rule["name"] for rule in site.oss.rule_hits()] == ["cut"]
