"""docs/objects.md: its example runs, and its table names every option of a writer."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from osstorchconnector import OssCheckpoint

PAGE = (Path(__file__).parent.parent / "docs" / "objects.md").read_text(encoding="utf-8")


def test_the_example_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(example, "docs/objects.md", "exec"), {"__name__": "example"})
    written, shape, after = capsys.readouterr().out.splitlines()
    assert "WriteTimings" in written
    assert shape == "torch.Size([1000, 4])"
    assert after == written.split()[0]


def test_the_table_names_every_option_of_a_writer():
    options = [
        name
        for name, parameter in inspect.signature(OssCheckpoint.writer).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    rows = re.findall(r"^\| (`.*?`) \|", PAGE, re.MULTILINE)
    assert re.findall(r"`(\w+)`", ", ".join(rows)) == options
