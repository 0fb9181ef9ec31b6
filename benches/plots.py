"""Pictures of what was measured, as SVG.

Colours are of the Okabe-Ito palette, which people see apart who do not see all colours, on a light and on a dark ground;
each contender has a mark of its own besides. Paper and ink follow the reader's colour scheme.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib import pyplot as plt

import goals
from figures import speed, spread

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from figures import Run, Spread

PAPER, INK, SOFT, GRID = "#fefefe", "#1f2329", "#57606b", "#dfe3e8"
OURS, THEIRS, LIMIT, MAP, FIXED = "#0072b2", "#d55e00", "#828a93", "#009e73", "#cc79a7"
# What each becomes where the reader prefers a dark scheme.
DARK = {
    PAPER: "#0d1117",
    INK: "#e6edf3",
    SOFT: "#9aa5b1",
    GRID: "#2b323b",
    OURS: "#3f9fe0",
    THEIRS: "#e8772e",
}
# Colour, mark, dashes, name.
STYLES: dict[str, tuple[str, str, str, str]] = {
    "limit": (LIMIT, "s", "--", "raw client: no signature, no check"),
    "ours": (OURS, "o", "-", "this package"),
    "iterable": (OURS, "o", "-", "this package"),
    "map": (MAP, "D", "-", "this package, map dataset"),
    "held at 24": (FIXED, "v", "-", "this package, held at 24"),
    "original": (THEIRS, "^", "-", "original 1.2.3"),
}
KIB = 1024
FIRST_BYTE_MS = 30
WIDTH = 8.6


def draw(measured: dict[str, Any], directory: Path) -> None:
    """Write `rows.svg`, `curves.svg` and `level.svg`."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, figure in figures(measured).items():
        path = directory / f"{name}.svg"
        figure.savefig(path, metadata={"Date": None}, bbox_inches="tight", pad_inches=0.12)
        path.write_text(following_the_scheme(path.read_text()))
        plt.close(figure)


def figures(measured: dict[str, Any]) -> dict[str, Figure]:
    """Draw all."""
    mpl.rcParams.update(
        {
            # Without this, each run would write other ids for the same picture.
            "svg.hashsalt": "osstorchconnector",
            "font.size": 9.5,
            "font.family": "sans-serif",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.axisbelow": True,
            "axes.titlesize": 10,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.titlepad": 9,
            "figure.facecolor": PAPER,
            "axes.facecolor": PAPER,
            "savefig.facecolor": PAPER,
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.titlecolor": INK,
            "axes.edgecolor": SOFT,
            "xtick.color": SOFT,
            "ytick.color": SOFT,
            "xtick.labelcolor": INK,
            "ytick.labelcolor": INK,
            "grid.color": GRID,
            "grid.linewidth": 0.8,
        }
    )
    return {"rows": _rows(measured), "curves": _curves(measured), "level": _level(measured)}


def following_the_scheme(svg: str) -> str:
    """Let paper and ink change with the reader's colour scheme; a picture alone knows nothing of the page around it."""
    rules = "".join(
        f'[style*="{what}: {light}"]{{{what}:{dark}!important}}'
        for light, dark in DARK.items()
        for what in ("fill", "stroke")
    )
    return svg.replace("<defs>", f"<style>@media (prefers-color-scheme:dark){{{rules}}}</style>\n <defs>", 1)


def _caption(measured: dict[str, Any], more: str = "") -> str:
    machine = measured["machine"]
    tiny = "TRIAL SIZES, TELL NOTHING. " if measured["is_tiny"] else ""
    return (
        f"{tiny}{machine['cpus']} cores of {machine['cpu']}, shared by client and server; "
        f"medians of {measured['round_count']} rounds{more}"
    )


def _rows(measured: dict[str, Any]) -> Figure:
    """Bars: the share of the raw limit that each row reaches, with its goal as a mark; figures stand in a column."""
    rows = [row for row in goals.raw_rows() if goals.share(row).of(measured, "ours")]
    figure, axes = plt.subplots(figsize=(WIDTH, max(5, 0.5 * len(rows) + 2)), layout="constrained")
    most = 1.0
    for at, row in enumerate(rows):
        line = goals.share(row)
        ours, seeds, theirs = (line.of(measured, who) for who in ("ours", "seeds", "original"))
        assert ours is not None, "rows that were not measured are left out"
        _bar(axes, at - 0.13, ours, 0.38, "ours")
        _told(axes, at - 0.13, ours, "ours", _judged(line, measured))
        if seeds is not None:
            axes.plot(seeds.median, at - 0.13, "o", color=PAPER, markeredgecolor=INK, markersize=5, zorder=4)
        if theirs is not None:
            _bar(axes, at + 0.21, theirs, 0.22, "original")
            _told(axes, at + 0.22, theirs, "original", "")
        if line.bound is not None:
            axes.plot([line.bound.value] * 2, [at - 0.4, at + 0.12], color=INK, linewidth=2.4, zorder=5)
        most = max(most, ours.most, seeds.median if seeds is not None else 0)
    axes.axvline(1, color=LIMIT, linestyle="--", linewidth=1.2, zorder=0)
    axes.text(1, -0.62, "raw client", ha="center", va="bottom", color=SOFT, fontsize=8.5)
    axes.text(
        1.06,
        -0.62,
        "share",
        transform=axes.get_yaxis_transform(),
        ha="right",
        va="bottom",
        color=SOFT,
        fontsize=8.5,
    )
    axes.text(
        1.075, -0.62, "goal", transform=axes.get_yaxis_transform(), va="bottom", color=SOFT, fontsize=8.5
    )
    axes.set_yticks(range(len(rows)), [row.title for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.45, -0.6)
    axes.set_xlim(0, 1.06 * most)
    axes.set_xlabel("speed as a share of the raw client's, in the same round")
    _row_legend(axes)
    figure.supxlabel(_caption(measured, "; thin lines: least to most"), fontsize=8, color=SOFT)
    return figure


def _bar(axes: Axes, at: float, found: Spread, height: float, who: str) -> None:
    axes.barh(at, found.median, height, color=STYLES[who][0], linewidth=0)
    axes.plot([found.least, found.most], [at, at], color=INK, linewidth=1, zorder=3)


def _judged(line: goals.Line, measured: dict[str, Any]) -> str:
    met = line.is_met(measured)
    return "" if met is None else f"{line.goal()} {'met' if met else 'not met'}"


def _told(axes: Axes, at: float, found: Spread, who: str, judged: str) -> None:
    """Write a figure, and whether it is what was aimed at, in a column to the right of the bars."""
    where = axes.get_yaxis_transform()
    placed: dict[str, Any] = {"transform": where, "va": "center"}
    axes.text(
        1.06, at, f"{found.median:.2f}", color=STYLES[who][0], weight="bold", fontsize=9, ha="right", **placed
    )
    weight = "bold" if judged.endswith("not met") else "normal"
    axes.text(1.075, at, judged, color=INK, fontsize=8.5, weight=weight, **placed)


def _row_legend(axes: Axes) -> None:
    axes.barh(0, 0, color=OURS, label="this package")
    axes.plot(
        [], [], "o", color=PAPER, markeredgecolor=INK, markersize=5, label="with the original's config file"
    )
    axes.barh(0, 0, color=THEIRS, label="original 1.2.3")
    axes.plot([], [], "|", color=INK, markersize=11, markeredgewidth=2.2, label="goal")
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.02),
        ncols=4,
        frameon=False,
        columnspacing=1.4,
        handlelength=1.4,
    )


def _curves(measured: dict[str, Any]) -> Figure:
    """Four curves: size, requests in flight, workers, latency."""
    figure, grid = plt.subplots(2, 2, figsize=(WIDTH, 6.6), layout="constrained")
    layout: Any = figure.get_layout_engine()
    layout.set(hspace=0.09, wspace=0.06)
    curves = measured["curves"]
    size, flight, workers, latency = grid.flat
    _by_powers(size)
    _by_powers(latency)
    _lines(size, curves["size"], _gigabytes, _size)
    size.set(title="Object size", xlabel="bytes of an object, one process", ylabel="GB/s")
    _lines(flight, curves["in_flight"], _gigabytes, str)
    flight.set(title="Requests in flight", xlabel="at most so many, objects of 110 KiB", ylabel="GB/s")
    _lines(workers, curves["workers"], _gigabytes, str)
    workers.set(title="DataLoader workers", xlabel="workers, objects of 110 KiB", ylabel="GB/s")
    _lines(latency, curves["latency"], _objects, str)
    latency.set(title="Distance", xlabel="ms to the first byte, objects of 110 KiB", ylabel="objects/s")
    _goal_at_a_distance(latency, [point["x"] for point in curves["latency"]])
    for axes in (size, latency):
        axes.tick_params(axis="x", labelsize=8)
    figure.legend(*_legend(grid), loc="outside upper left", ncols=4, frameon=False, columnspacing=1.6)
    figure.supxlabel(_caption(measured, "; bands: least to most"), fontsize=8, color=SOFT)
    return figure


def _gigabytes(run: Run) -> float:
    return speed(run) / 1e9


def _objects(run: Run) -> float:
    return float(run["objects"]) / float(run["seconds"])


def _lines(
    axes: Axes, points: list[dict[str, Any]], of: Callable[[Run], float], name: Callable[[int], str]
) -> None:
    """Draw a line for each contender; the xs, each some times the one before, stand at equal distances."""
    for who, (colour, mark, dashes, title) in STYLES.items():
        found = [
            (at, spread([of(run) for run in point[who]])) for at, point in enumerate(points) if who in point
        ]
        drawn = [(at, one) for at, one in found if one is not None]
        if not drawn:
            continue
        xs = [at for at, _ in drawn]
        axes.fill_between(
            xs, [one.least for _, one in drawn], [one.most for _, one in drawn], color=colour, alpha=0.2, lw=0
        )
        axes.plot(
            xs,
            [one.median for _, one in drawn],
            color=colour,
            marker=mark,
            linestyle=dashes,
            markersize=4.5,
            lw=1.7,
            label=title,
        )
    axes.set_xticks(range(len(points)), [name(point["x"]) for point in points])
    axes.grid(axis="y")
    if axes.get_yscale() == "linear":
        axes.set_ylim(bottom=0)


def _goal_at_a_distance(axes: Axes, xs: list[float]) -> None:
    line = next(line for line in goals.BEHAVIOURS if line.unit.suffix == " objects/s")
    if FIRST_BYTE_MS not in xs or line.bound is None:
        return
    at = xs.index(FIRST_BYTE_MS)
    axes.set_ylim(top=max(axes.get_ylim()[1], 3 * line.bound.value))
    axes.plot([at - 0.28, at + 0.28], [line.bound.value] * 2, color=INK, lw=2.2, zorder=5)
    axes.annotate(
        f"goal at {FIRST_BYTE_MS} ms: {line.bound.value:,.0f}",
        (at, line.bound.value),
        xytext=(at + 0.1, line.bound.value * 1.9),
        arrowprops={"arrowstyle": "-", "color": SOFT, "lw": 0.8},
        fontsize=8.5,
        ha="center",
    )


def _by_powers(axes: Axes) -> None:
    """Let equal ratios be equal heights, with numbers as people write them."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.yaxis.set_minor_formatter(lambda *_: "")
    axes.tick_params(axis="y", which="minor", length=0)


def _legend(grid: Any) -> tuple[list[Any], list[str]]:
    found: dict[str, Any] = {}
    for axes in grid.flat:
        handles, names = axes.get_legend_handles_labels()
        found |= {name: handle for name, handle in zip(names, handles, strict=True) if name not in found}
    return list(found.values()), list(found)


def _level(measured: dict[str, Any]) -> Figure:
    """Requests in flight over time, at 30 ms to the first byte: how it begins, and the whole of it."""
    figure, (begins, whole) = plt.subplots(
        1, 2, figsize=(WIDTH, 3.5), sharey=True, width_ratios=(3, 2), layout="constrained"
    )
    told, step = measured["timeline"]["requests"], measured["timeline"]["step_seconds"]
    # The original is fixed at 24 too; ours held there stands for it where it cannot run.
    beside = "original" if "original" in told else "held at 24"
    seconds = {who: len(told[who]) * step for who in ("ours", beside)}
    for who in ("ours", beside):
        xs = [at * step for at in range(len(told[who]))]
        for axes in (begins, whole):
            axes.step(xs, told[who], where="post", color=STYLES[who][0], lw=1.7)
            if who == "ours":
                axes.fill_between(xs, told[who], step="post", color=STYLES[who][0], alpha=0.12, lw=0)
    most = max(max(told[who]) for who in seconds)
    above = max(told[beside]) + 0.05 * most
    begins.set(title="How the level is found", xlabel="seconds", ylabel="requests in flight, at the server")
    whole.set(title=f"Until {measured['timeline']['objects']:,} objects are there", xlabel="seconds")
    begins.set_xlim(0, 1.12 * seconds["ours"])
    whole.set_xlim(0, 1.03 * max(seconds.values()))
    begins.set_ylim(0, 1.12 * most)
    colour, name = STYLES[beside][0], STYLES[beside][3]
    box = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.85, "pad": 1.5}
    begins.text(
        0.99 * begins.get_xlim()[1],
        above,
        f"{name}: fixed at 24",
        color=colour,
        ha="right",
        weight="bold",
        bbox=box,
    )
    whole.text(
        1.25 * seconds["ours"],
        0.72 * most,
        f"this package\n{seconds['ours']:.1f} s",
        color=OURS,
        weight="bold",
    )
    whole.text(
        0.98 * seconds[beside],
        above,
        f"{name}\n{seconds[beside]:.1f} s",
        color=colour,
        ha="right",
        weight="bold",
    )
    for axes in (begins, whole):
        axes.grid(axis="y")
    figure.supxlabel(
        f"{FIRST_BYTE_MS} ms to the first byte, objects of 110 KiB, one process, nothing configured; "
        "one run, counted from the server's journal",
        fontsize=8,
        color=SOFT,
    )
    return figure


def _size(size_bytes: int) -> str:
    for unit, name in ((KIB**3, "Gi"), (KIB**2, "Mi"), (KIB, "Ki")):
        if size_bytes >= unit:
            return f"{size_bytes // unit} {name}"
    return f"{size_bytes} B"
