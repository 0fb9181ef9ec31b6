"""The example of docs/safetensors.md runs as it stands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "safetensors.md"


def test_the_example_of_the_page_runs(tmp_path):
    script = tmp_path / "example.py"
    script.write_text(PAGE.read_text().split("```python\n")[1].split("```")[0])
    ran = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [
        "['bias', 'weight']",
        "['bias', 'weight'] {'epoch': '3'}",
        "tensor([0., 0., 0., 0.])",
        "torch.Size([10, 2])",
    ]
