"""From rounds of measurements to one table, and one JSON file."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from rows import BESIDE, beside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rows import Row

HERE = Path(__file__).parent
Rounds = dict[str, list[dict[str, Any]]]


def speed(result: dict[str, Any]) -> float:
    """Bytes per second."""
    return float(result["bytes"]) / float(result["seconds"])


def table(rounds: Rounds, limits: dict[str, str]) -> str:
    """Lay out medians; a ratio is the median over rounds of (ours / its limit in the same round)."""
    head = ("contender", "GB/s", "min..max", "ratio", "to limit", "CPU s/GB", "peak MiB")
    rows = [head, *cells(rounds, limits)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def cells(rounds: Rounds, limits: dict[str, str]) -> list[tuple[str, ...]]:
    """Return the cells of the table, without its head."""
    return [_row(name, rounds, limits.get(name, "-")) for name in rounds]


def shares(rounds: Rounds, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Say for each row which share of its limit ours reached, with the original's config file, and the original."""
    return [
        {
            "name": row.name,
            "goal": row.goal,
            "ours": _share(rounds, row.name, beside(row)),
            "seeds": _share(rounds, f"{row.name}, seed's config", beside(row)),
            "original": _share(rounds, f"original {row.name}", beside(row)),
        }
        for row in rows
        if row.limit.startswith("raw")
    ]


def _share(rounds: Rounds, name: str, limit: str) -> float | None:
    pairs = zip(rounds.get(name, []), rounds.get(limit, []), strict=False)
    ratios = [speed(ours) / speed(theirs) for ours, theirs in pairs]
    return median(ratios) if ratios else None


def _row(name: str, rounds: Rounds, limit: str) -> tuple[str, ...]:
    results = rounds[name]
    speeds = [speed(result) / 1e9 for result in results]
    pairs = zip(results, rounds.get(limit, []), strict=False)
    ratios = [speed(ours) / speed(theirs) for ours, theirs in pairs]
    cpu = [result["cpu_seconds"] / result["bytes"] * 1e9 for result in results if "cpu_seconds" in result]
    peak = [result["peak_bytes"] / 2**20 for result in results if "peak_bytes" in result]
    return (
        name,
        f"{median(speeds):.2f}",
        f"{min(speeds):.2f}..{max(speeds):.2f}",
        f"{median(ratios):.2f}" if ratios else "-",
        limit.partition(BESIDE)[0],
        f"{median(cpu):.2f}" if cpu else "-",
        f"{median(peak):.0f}" if peak else "-",
    )


def stages(rounds: Rounds) -> list[str]:
    """Say in one line for each contender that tells them how long its stages took, medians in seconds."""
    lines = []
    for name, results in rounds.items():
        told = [result["stages"] for result in results if result.get("stages")]
        if told:
            parts = ", ".join(f"{stage} {median(one[stage] for one in told):.2f}" for stage in told[0])
            lines.append(f"{name}, stages: {parts}")
    return lines


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
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path
