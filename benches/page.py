"""The tables of docs/performance.md, put between marks; the words around them are written by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HEAD = ("who, what", "GB/s", "min..max", "share", "of", "CPU s/GB", "peak MiB")


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
    told = (
        f"Measured on {measured['date']}, {measured['round_count']} rounds, {measured['took_seconds']} s, on "
        f"{machine['cpus']} cores of {machine['cpu']}, {machine['memory_gib']} GiB, Linux {machine['kernel']}, "
        f"Python {machine['python']}; client and server share the cores. {measured['described']}."
    )
    lines = [told]
    if measured["is_tiny"]:
        lines.append("**Sizes of a trial run: these figures show that the page can be made, nothing else.**")
    if load > 1:
        lines.append(f"**Other work was running (load {load} before the first round): rough figures.**")
    return "\n".join(lines)


def _goals(measured: dict[str, Any]) -> str:
    shares = [
        (
            one["name"],
            _number(one["ours"]),
            _number(one["seeds"]),
            _at_least(one["goal"]),
            _number(one["original"]),
        )
        for one in measured["shares"]
        if one["goal"] is not None
    ]
    head = ("share of the raw limit", "ours", "with the original's config file", "goal", "original 1.2.3")
    return _table([head, *shares])


def _behaviour(measured: dict[str, Any]) -> str:
    figures = measured["figures"]
    head = ("what", "measured", "goal", "original 1.2.3")
    rows = [
        (what, _shown(show, figures), goal, _of_original(figures, what)) for what, goal, show in _BEHAVIOUR
    ]
    return _table([head, *rows])


def _shown(show: Any, figures: dict[str, Any]) -> str:
    try:
        return str(show(figures))
    except KeyError:
        # The figures of the page may be older than the row.
        return "not measured"


def _all(measured: dict[str, Any]) -> str:
    return _table([HEAD, *(tuple(cells) for cells in measured["table"])])


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _at_least(value: float | None) -> str:
    return "-" if value is None else f">= {value}"


def _of_original(figures: dict[str, Any], what: str) -> str:
    if what.startswith("30 ms") and "original" in figures["distant"]:
        return f"{figures['distant']['original']:,.0f} objects/s"
    if what.startswith("`import") and "original" in figures["import"]:
        return f"{figures['import']['original']:.2f} s"
    return "-"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _listings(found: dict[str, float]) -> str:
    told = [
        f"{found[name]:,.0f}" if name in found else "not measured"
        for name in ("list_requests", "by_original", "by_s3torchconnector")
    ]
    return f"{', '.join(told)} ({found['least_pages']:,.0f})"


_BEHAVIOUR: tuple[tuple[str, str, Any], ...] = (
    (
        "30 ms to the first byte, 110 KiB objects, one process",
        ">= 5,000 objects/s",
        lambda all_: f"{all_['distant']['objects_per_second']:,.0f} objects/s",
    ),
    (
        "30 ms, with the original's config file",
        ">= 5,000 objects/s",
        lambda all_: f"{all_['distant']['with_seeds_config']:,.0f} objects/s",
    ),
    (
        "2,000 requests/s admitted, the rest refused: used, refused, after 3 s",
        ">= 90 %, <= 2 %",
        lambda all_: f"{_percent(all_['admitted']['used'])}, {_percent(all_['admitted']['refused'])}",
    ),
    (
        "64 processes share 2,000 requests/s, start included: used, refused, least share of a fair part",
        ">= 90 %, <= 5 %, >= 0.5",
        lambda all_: (
            f"{_percent(all_['shared']['used'])}, {_percent(all_['shared']['refused'])}, "
            f"{all_['shared']['least_share']:.2f} ({all_['shared']['processes']:.0f} processes)"
        ),
    ),
    (
        "one connection in 16 is 20 times slower: p99 to median of object latency, extra bytes",
        "<= 3, <= 5 %",
        lambda all_: (
            f"{all_['slow connection']['p99_to_median']:.1f}, {_percent(all_['slow connection']['extra_bytes'])}"
        ),
    ),
    (
        "1 % resets, 1 % 503, 0.2 % stalls: speed against the clean epoch",
        ">= 85 %",
        lambda all_: _percent(all_["troubled"]["share_of_clean_epoch"]),
    ),
    (
        "cold, 50 ms a page: first shuffled batch of 256, 2 workers; list requests (least possible)",
        "-",
        lambda all_: (
            f"{all_['first batch']['seconds']:.1f} s of {all_['first batch']['least_pages'] * 1000:,.0f} objects; "
            f"{all_['first batch']['list_requests']:,.0f} ({all_['first batch']['least_pages']:,.0f})"
        ),
    ),
    (
        "2 GiB over connections of 100 MB/s, 30 ms away, to one connection's rate: `readinto`, writes of 64 MiB",
        ">= 10, >= 10",
        lambda all_: f"{all_['far checkpoint']['read']:.1f}, {all_['far checkpoint']['written']:.1f}",
    ),
    (
        "list requests of one epoch with 4 workers: ours, the original's, s3torchconnector's (least possible)",
        "one listing a job",
        lambda all_: _listings(all_["listings"]),
    ),
    (
        "batches of 256 decoded JPEGs: share of the time spent waiting for data",
        "< 2 %",
        lambda all_: _percent(all_["pictures"]["waiting"]),
    ),
    (
        "largest gap of a Python thread that ticks every ms (with nothing beside it)",
        "<= 20 ms",
        lambda all_: (
            f"{all_['ticking']['largest_gap_ms']:.1f} ms ({all_['ticking']['largest_gap_alone_ms']:.1f} ms)"
        ),
    ),
    (
        "what our Python adds to an object of 1 KiB that is there already (the thread in all, requests made included)",
        "<= 3 us",
        lambda all_: (
            f"{all_['ready objects']['python_microseconds']:.1f} us "
            f"({all_['ready objects']['thread_microseconds']:.1f} us)"
        ),
    ),
    (
        "`import osstorchconnector`, beyond an interpreter's start",
        "<= 0.1 s",
        lambda all_: f"{all_['import']['seconds']:.3f} s",
    ),
)

_PARTS = {"when": _when, "goals": _goals, "behaviour": _behaviour, "all": _all}
