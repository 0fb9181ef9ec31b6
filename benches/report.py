"""From rounds of measurements to one table, and one JSON file."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from figures import against, cpu_seconds_per_byte, speed, spread, stages, taken
from rows import BESIDE

if TYPE_CHECKING:
    from figures import Rounds

HEAD = ("who, what", "rounds", "GB", "GB/s", "min..max", "share", "of", "CPU s/GB", "peak MB")
HERE = Path(__file__).parent


def table(rounds: Rounds, limits: dict[str, str]) -> str:
    """Lay out medians; a ratio is the median over rounds of (ours / its limit in the same round)."""
    rows = [HEAD, *cells(rounds, limits)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def cells(rounds: Rounds, limits: dict[str, str]) -> list[tuple[str, ...]]:
    """Return the cells of the table, without its head."""
    return [_row(name, rounds, limits.get(name, "-")) for name in rounds]


def _row(name: str, rounds: Rounds, limit: str) -> tuple[str, ...]:
    runs = rounds[name]
    speeds = spread([speed(run) / 1e9 for run in runs])
    assert speeds is not None, "a contender that did not run has no row"
    ratio = spread(against(rounds, name, limit, speed))
    cpu = spread([one * 1e9 for one in taken(runs, cpu_seconds_per_byte)])
    peak = spread(taken(runs, lambda run: run["peak_bytes"] / 1e6))
    return (
        name,
        str(len(runs)),
        _short(median(run["bytes"] for run in runs) / 1e9),
        _short(speeds.median),
        f"{_short(speeds.least)}..{_short(speeds.most)}",
        f"{ratio.median:.2f}" if ratio else "-",
        limit.partition(BESIDE)[0],
        _short(cpu.median) if cpu else "-",
        f"{peak.median:.0f}" if peak else "-",
    )


def _short(value: float) -> str:
    """Write three digits that count: gigabytes of small objects are few."""
    return f"{float(f'{value:.3g}'):,.10g}"


def stage_lines(rounds: Rounds) -> list[str]:
    """Say in one line for each contender that tells them how long its stages took, medians in seconds."""
    told = {name: stages(runs) for name, runs in rounds.items()}
    return [f"{name}, stages: {in_words(found)}" for name, found in told.items() if found]


def in_words(seconds: dict[str, float]) -> str:
    """Name each stage and its seconds."""
    return ", ".join(f"{stage.removesuffix('_seconds')} {took:.2f}" for stage, took in seconds.items())


def machine() -> dict[str, Any]:
    """Say what the figures were measured on."""
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": model,
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def save(name: str, content: dict[str, Any]) -> Path:
    """Write the JSON of one run below benches/results, and return its path."""
    directory = HERE / "results"
    directory.mkdir(exist_ok=True)
    path = directory / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(text(content))
    return path


def text(content: dict[str, Any]) -> str:
    """Write JSON with a line for each run: what holds nothing but numbers and words stands in one."""
    return f"{_lines(content, 0)}\n"


def _lines(value: Any, depth: int) -> str:
    held = (
        list(value.values() if isinstance(value, dict) else value) if isinstance(value, (dict, list)) else []
    )
    if not any(one and isinstance(one, (dict, list)) for one in held):
        return json.dumps(value)
    inner, outer = " " * (depth + 1), " " * depth
    if isinstance(value, dict):
        rows = [f"{json.dumps(name)}: {_lines(one, depth + 1)}" for name, one in value.items()]
        return "{\n" + ",\n".join(f"{inner}{row}" for row in rows) + f"\n{outer}}}"
    return "[\n" + ",\n".join(f"{inner}{_lines(one, depth + 1)}" for one in value) + f"\n{outer}]"
