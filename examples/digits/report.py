"""What the demo prints: headings, tables, the machine, and the way to one's own bucket."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

OWN_BUCKET = """\
from osstorchconnector import OssIterableDataset
dataset = OssIterableDataset.from_prefix("oss://BUCKET/PREFIX/", "https://oss-cn-hangzhou.aliyuncs.com", shard="rank")
for sample in dataset: print(sample.key, len(sample.read()))"""


def heading(text: str) -> str:
    """Underline a title."""
    return f"\n{text}\n{'-' * len(text)}"


def columns(lines: Sequence[Sequence[str]]) -> str:
    """Align a table: columns of numbers to the right, of words to the left.

    Args:
        lines: the heading first; all of the same length, at least two.
    """
    aligned = [_aligned(column) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cells).rstrip() for cells in zip(*aligned, strict=True))


def _aligned(column: Sequence[str]) -> list[str]:
    width = max(len(cell) for cell in column)
    are_numbers = all(cell[:1].isdigit() or not cell for cell in column[1:])
    return [cell.rjust(width) if are_numbers else cell.ljust(width) for cell in column]


def pairs(rows: Sequence[tuple[str, str]]) -> str:
    """Set values beside their names."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def machine() -> str:
    """Name processor, cores, memory and versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{len(os.sched_getaffinity(0))} cores of {_processor()}, {memory:.0f} GiB; {platform.system()} "
        f"{platform.release()}; Python {platform.python_version()}, torch {version('torch')}, "
        f"osstorchconnector {version('osstorchconnector')}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())
