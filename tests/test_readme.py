"""The README's examples run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from torch_versions import need_checkpoints

README = Path(__file__).parent.parent / "README.md"

FORMS = re.DOTALL | re.MULTILINE


def printed(tmp_path, number, **environment):
    """Run one of the examples; return the lines it prints."""
    example = README.read_text().split("```python\n")[number].split("```")[0]
    script = tmp_path / "example.py"
    script.write_text(example)
    ran = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


@pytest.mark.timeout(120)
def test_the_example_of_the_readme_runs(tmp_path):
    lines = printed(tmp_path, 1)
    assert len(lines) == 256 // 32 + 1
    assert all(line.startswith("torch.Size([32, 20000]) /demo/train/") for line in lines[:-1])
    assert lines[-1] == "{'step': 1}"


@pytest.mark.timeout(120)
def test_the_four_ways_to_save_and_load_run_where_the_environment_points(tmp_path, site):
    need_checkpoints()
    site.fill({"loss.csv": b""})
    assert printed(tmp_path, 2, **site.oss.environ()) == ["torch.Size([10, 4])", "0.5"]


def test_the_chinese_readme_has_the_same_examples_and_sections():
    english, chinese = (
        (README.parent / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh.md")
    )
    for form in (r"```.*?```", r"^## ", r"\]\((docs/(?!README)[\w.-]+)\)"):
        assert re.findall(form, chinese, FORMS) == re.findall(form, english, FORMS)
