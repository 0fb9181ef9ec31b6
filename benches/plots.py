"""Pictures of what was measured, as SVG: one colour for ours, grey for the limit, one for the original."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

COLOURS = {
    "limit": "#9aa0a6",
    "ours": "#0b6e4f",
    "iterable": "#0b6e4f",
    "map": "#5fae57",
    "held at 24": "#d98e04",
    "original": "#c8553d",
}
NAMES = {
    "limit": "raw client: no signature, no check",
    "ours": "this package",
    "iterable": "this package",
    "map": "this package, map dataset",
    "held at 24": "this package, held at 24",
    "original": "original 1.2.3",
}
KIB = 1024


def draw(measured: dict[str, Any], directory: Path) -> None:
    """Write `rows.svg`, `curves.svg` and `level.svg`."""
    directory.mkdir(parents=True, exist_ok=True)
    # Without these two, each run would write other ids and dates for the same picture.
    mpl.rcParams.update({"svg.hashsalt": "osstorchconnector", "font.size": 9, "font.family": "sans-serif"})
    mpl.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True})
    for name, figure in (
        ("rows", _rows(measured)),
        ("curves", _curves(measured)),
        ("level", _level(measured)),
    ):
        figure.savefig(directory / f"{name}.svg", metadata={"Date": None}, bbox_inches="tight")
        plt.close(figure)


def _rows(measured: dict[str, Any]) -> Any:
    """Bars: the share of the raw limit that each row reaches, with its goal as a mark."""
    shares = [one for one in measured["shares"] if one["ours"] is not None]
    figure, axes = plt.subplots(figsize=(8, 0.5 * len(shares) + 1))
    for at, one in enumerate(shares):
        bars = [("ours", one["ours"], 0.36), ("original", one.get("original"), 0.22)]
        for number, (who, share, height) in enumerate(bars):
            if share is None:
                continue
            label = NAMES[who] if at == 0 else None
            where = at - 0.14 + number * 0.32
            axes.barh(where, share, height, color=COLOURS[who], label=label)
            axes.text(share + 0.01, where, f"{share:.2f}", va="center", fontsize=8)
        if one["goal"] is not None:
            label = "goal" if at == 0 else None
            axes.plot([one["goal"]] * 2, [at - 0.36, at + 0.08], color="black", linewidth=1.5, label=label)
    axes.axvline(1, color=COLOURS["limit"], linestyle="--", linewidth=1)
    axes.set_yticks(range(len(shares)), [one["name"] for one in shares])
    axes.invert_yaxis()
    axes.set_xlabel("share of the raw limit of the same server, in the same round (1 = raw client)")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False)
    return figure


def _curves(measured: dict[str, Any]) -> Any:
    """Four curves: size, requests in flight, workers, latency."""
    figure, grid = plt.subplots(2, 2, figsize=(9, 6.4), layout="constrained")
    curves = measured["curves"]
    size, flight, workers, latency = grid.flat
    _lines(size, curves["size"], "object size", "GB/s", log=True)
    ticks = [point["x"] for point in curves["size"]]
    size.set_xticks(ticks, [_size(tick) for tick in ticks], rotation=45, minor=False)
    _lines(flight, curves["in_flight"], "requests in flight at most", "GB/s", log=True)
    _plain_ticks(flight, curves["in_flight"])
    _lines(workers, curves["workers"], "DataLoader workers", "GB/s", log=False)
    _lines(latency, curves["latency"], "milliseconds to the first byte", "objects/s", log=False)
    figure.legend(*_legend(grid), loc="outside lower center", ncols=3, frameon=False)
    return figure


def _lines(axes: Axes, points: list[dict[str, Any]], x_name: str, y_name: str, *, log: bool) -> None:
    for who, colour in COLOURS.items():
        chosen = [(point["x"], point[who]) for point in points if point.get(who) is not None]
        if chosen:
            xs, ys = zip(*chosen, strict=True)
            axes.plot(xs, ys, color=colour, marker="o", markersize=3.5, linewidth=1.6, label=NAMES[who])
    if log:
        axes.set_xscale("log", base=2)
        axes.minorticks_off()
    top = max(value for point in points for who, value in point.items() if who != "x")
    axes.set_ylim(0, 1.08 * top)
    axes.set_xlabel(x_name)
    axes.set_ylabel(y_name)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)


def _plain_ticks(axes: Axes, points: list[dict[str, Any]]) -> None:
    ticks = [point["x"] for point in points]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])


def _legend(grid: Any) -> tuple[list[Any], list[str]]:
    found: dict[str, Any] = {}
    for axes in grid.flat:
        handles, names = axes.get_legend_handles_labels()
        found |= {name: handle for name, handle in zip(names, handles, strict=True) if name not in found}
    return list(found.values()), list(found)


def _level(measured: dict[str, Any]) -> Any:
    """Requests in flight over time, at 30 ms to the first byte: how it begins, and the whole of it."""
    figure, (begins, whole) = plt.subplots(
        1, 2, figsize=(9, 3.4), sharey=True, width_ratios=(3, 4), layout="constrained"
    )
    found = measured["timeline"]
    for who, points in found.items():
        xs, ys = [point[0] for point in points], [point[1] for point in points]
        for axes in (begins, whole):
            axes.plot(xs, ys, color=COLOURS[who], linewidth=1.6, label=f"{NAMES[who]}: {max(xs):.1f} s")
    ended = max(point[0] for point in found["ours"])
    begins.set_xlim(0, 1.05 * ended)
    begins.set_title("until this package is done")
    whole.set_xlim(left=0)
    whole.set_title("until all are done")
    begins.set_ylabel("requests in flight, as the server sees them")
    whole.legend(loc="upper right", frameon=False)
    for axes in (begins, whole):
        axes.set_ylim(bottom=0)
        axes.set_xlabel("seconds")
        axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    return figure


def _size(size_bytes: int) -> str:
    for unit, name in ((KIB**3, "GiB"), (KIB**2, "MiB"), (KIB, "KiB")):
        if size_bytes >= unit:
            return f"{size_bytes // unit} {name}"
    return f"{size_bytes} B"
