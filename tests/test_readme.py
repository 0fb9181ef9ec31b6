"""The README's example runs as it stands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.timeout(120)
def test_the_example_of_the_readme_runs(tmp_path):
    example = README.read_text().split("```python\n")[1].split("```")[0]
    script = tmp_path / "example.py"
    script.write_text(example)
    ran = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False
    )
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert len(lines) == 256 // 32 + 1
    assert all(line.startswith("torch.Size([32, 20000]) /demo/train/") for line in lines[:-1])
    assert lines[-1] == "{'step': 1}"
