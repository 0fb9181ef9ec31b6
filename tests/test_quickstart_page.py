"""docs/quickstart.md: its pieces run one after the other where the environment points."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from page_programs import run_python

PAGE = Path(__file__).parent.parent / "docs" / "quickstart.md"


@pytest.mark.timeout(120)
def test_the_pieces_of_the_page_run_in_order(tmp_path, site):
    site.fill({"first": b""})
    program = "".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
    ran = run_python(program, tmp_path, site, timeout_seconds=110)
    assert ran.returncode == 0, ran.stderr
    first, *batches, weights, counted = ran.stdout.splitlines()
    assert first == "b'sample 7'"
    assert batches == ["0 25 sample"] * 4 + ["1 25 sample"] * 4
    assert (weights, counted) == ("[1.0, 1.0, 1.0]", "0 0")
