"""The tables of docs/performance.md, put between marks; the words around them are written by hand."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

import goals
import report
from figures import speed, spread, stages
from rows import ROWS, beside, limits, original

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from goals import Line
    from rows import Row

NOT_MET = "**not met**"


def write(measured: dict[str, Any], path: Path) -> None:
    """Replace what stands between the marks `<!-- measured: NAME -->` and `<!-- end -->`."""
    text = path.read_text() if path.exists() else "".join(f"{_begin(name)}\n{END}\n" for name in _PARTS)
    for name, made in _PARTS.items():
        begin = _begin(name)
        before, found, rest = text.partition(begin)
        if not found or END not in rest:
            raise SystemExit(f"error: {path} has no {begin} ... {END}; put the marks back")
        text = f"{before}{begin}\n{made(measured)}\n{END}{rest.partition(END)[2]}"
    path.write_text(text)


END = "<!-- end -->"


def _begin(name: str) -> str:
    return f"<!-- measured: {name} -->"


def _when(measured: dict[str, Any]) -> str:
    machine = measured["machine"]
    load = measured["load_average_before"]
    met, judged = goals.count(measured)
    told = (
        f"Measured on {measured['date']}, {measured['round_count']} rounds, {measured['took_seconds']} s, on "
        f"{machine['cpus']} cores of {machine['cpu']}, {machine['memory_gib']} GiB, Linux {machine['kernel']}, "
        f"Python {machine['python']}; client and server share the cores. {measured['described']}."
    )
    lines = [told, f"Of {judged} goals {met} are met; the others say so."]
    if measured["is_tiny"]:
        lines.append("**Sizes of a trial run: these figures show that the page can be made, nothing else.**")
    if load > 1:
        lines.append(f"**Other work was running (load {load} before the first round): rough figures.**")
    return "\n".join(lines)


def _shares(measured: dict[str, Any]) -> str:
    head = (
        "share of the raw limit",
        "ours",
        "with the original's config file",
        "goal",
        "original 1.2.3",
        "ours : original",
        "goal",
        "",
    )
    return _table([head, *(_share(measured, row) for row in goals.raw_rows())])


def _share(measured: dict[str, Any], row: Row) -> tuple[str, ...]:
    share, times = goals.share(row), goals.times_original(row)
    ratios = [times.of(measured, who) for who in goals.OURS]
    return (
        f"{row.title} (`{row.name}`)",
        *_three(measured, share),
        " / ".join(times.unit.text(one.median) for one in ratios if one is not None) or "-",
        times.goal(),
        _verdict(measured, {"share": share, "speed": times}),
    )


def _three(measured: dict[str, Any], line: Line) -> tuple[str, ...]:
    ours, seeds, theirs = (line.shown(line.of(measured, who)) for who in ("ours", "seeds", "original"))
    return ours, seeds, line.goal(), theirs


def _verdict(measured: dict[str, Any], lines: dict[str, Line]) -> str:
    """Say whether all goals of a row are met, and if not, which one is not."""
    judged = {name: line.is_met(measured) for name, line in lines.items()}
    missed = [name for name, met in judged.items() if met is False]
    if missed:
        return NOT_MET + (f": {' and '.join(missed)}" if len(judged) > 1 else "")
    if any(judged.values()):
        return "met"
    return "not measured" if any(line.bound for line in lines.values()) else ""


def _lines(measured: dict[str, Any], lines: Sequence[Line]) -> str:
    head = ("what", "ours", "with the original's config file", "goal", "original 1.2.3", "")
    rows = [(line.what, *_three(measured, line), _verdict(measured, {"": line})) for line in lines]
    return _table([head, *rows])


def _costs(measured: dict[str, Any]) -> str:
    return _lines(measured, goals.costs())


def _behaviour(measured: dict[str, Any]) -> str:
    told = measured["behaviours"].get("listings", {}).get("s3torchconnector", [])
    by_peer = [
        f"\n\ns3torchconnector asks for {one['list_requests']} in the case of the last row." for one in told
    ]
    return _lines(measured, goals.BEHAVIOURS) + "".join(by_peer)


def _models(measured: dict[str, Any]) -> str:
    head = ("what", "GB", "seconds", "stages, seconds", "original 1.2.3", "its stages", "ours : original")
    rows = [row for row in ROWS if row.place == "emulator"]
    return _table([head, *(_model(measured, row) for row in rows)])


def _model(measured: dict[str, Any], row: Row) -> tuple[str, ...]:
    ours, theirs = (measured["rounds"].get(name, []) for name in (row.name, original(row)))
    ratio = goals.times_original(row)
    return (
        row.title,
        f"{ours[0]['bytes'] / 1e9:.2f}" if ours else "-",
        _seconds(ours),
        report.in_words(stages(ours)) or "-",
        _seconds(theirs),
        report.in_words(stages(theirs)) or "-",
        ratio.shown(ratio.of(measured, "ours")),
    )


def _seconds(runs: list[dict[str, Any]]) -> str:
    took = spread([run["seconds"] for run in runs])
    return "-" if took is None else f"{took.median:.2f} ({took.least:.2f}..{took.most:.2f})"


def _raw(measured: dict[str, Any]) -> str:
    """Say in one line what the limits themselves reach: a share tells nothing without."""
    found: dict[str, list[float]] = {}
    for row in goals.raw_rows():
        found.setdefault(row.limit, []).extend(map(speed, measured["rounds"].get(beside(row), [])))
    told = [f"{limit} {median(speeds) / 1e9:.3g}" for limit, speeds in found.items() if speeds]
    return f"Medians of the limits, GB/s: {', '.join(told)}."


def _all(measured: dict[str, Any]) -> str:
    return _table([report.HEAD, *report.cells(measured["rounds"], limits())])


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


_PARTS = {
    "when": _when,
    "shares": _shares,
    "raw": _raw,
    "costs": _costs,
    "models": _models,
    "behaviour": _behaviour,
    "all": _all,
}
