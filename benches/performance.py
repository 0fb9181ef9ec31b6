"""Measure everything that docs/performance.md shows, and write its tables and pictures: `make performance`.

What was measured is kept in docs/performance/measured.json; `--page-only` makes tables and pictures from that again.
`--tiny` tries every step with sizes that tell nothing; it writes no page unless `--out` names a folder for one.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import behaviours
import curves
import page
import plots
import report
import run
from rows import ROWS
from server import Served

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DOCS = Path(__file__).parents[1] / "docs"


@dataclass(frozen=True)
class Amount:
    """How much of everything is measured."""

    size: run.Size
    rounds: int
    distant: int
    by_original: int
    admitted: int
    slow: int
    troubled: int
    far_bytes: int
    first_batch: int
    pictures: int
    curve_bytes: int
    curve_latency: int
    timeline: int
    repeats: int
    is_tiny: bool = False


FULL = Amount(
    size=run.FULL,
    rounds=3,
    distant=20_000,
    by_original=3_000,
    admitted=24_000,
    slow=6_000,
    troubled=8_000,
    far_bytes=2 << 30,
    first_batch=1_000_000,
    pictures=1024,
    curve_bytes=512 << 20,
    curve_latency=2_000,
    timeline=6_000,
    repeats=7,
)
TINY = Amount(
    size=run.Size(Served(600, 110 * 1024, 64 << 20), Served(1500, 1024, 1 << 20)),
    rounds=1,
    distant=1500,
    by_original=300,
    admitted=9_000,
    slow=600,
    troubled=600,
    far_bytes=256 << 20,
    first_batch=20_000,
    pictures=256,
    curve_bytes=8 << 20,
    curve_latency=300,
    timeline=1_500,
    repeats=1,
    is_tiny=True,
)


def measure(amount: Amount, names: Sequence[str]) -> dict[str, Any]:
    """Measure all of it."""
    began, load_average = time.time(), run.load_before()
    with run.opened(amount.size, with_original=True) as site:
        rows = [row for row in ROWS if row.name in names]
        rounds = _timed("rows", lambda: run.measured(site, rows, amount.rounds, others_in=2, peers_in=1))
        figures = {name: _timed(name, step) for name, step in _figures(site, amount).items()}
        drawn = {name: _timed(name, step) for name, step in _curves(site, amount).items()}
        found = _timed("timeline", lambda: curves.timeline(site, amount.timeline))
    return {
        "machine": report.machine(),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(began)),
        "took_seconds": round(time.time() - began),
        "load_average_before": round(load_average, 1),
        "is_tiny": amount.is_tiny,
        "served": asdict(amount.size.served),
        "described": amount.size.describe(),
        "round_count": amount.rounds,
        "table": report.cells(rounds, run.LIMITS),
        "shares": report.shares(rounds, ROWS),
        "figures": figures,
        "curves": drawn,
        "timeline": found,
    }


def _figures(site: run.Site, amount: Amount) -> dict[str, Callable[[], behaviours.Figures]]:
    return {
        "distant": lambda: behaviours.distant(site, amount.distant, by_original=amount.by_original),
        "admitted": lambda: behaviours.admitted(site, amount.admitted),
        "shared": lambda: behaviours.shared(site, 8 if amount.is_tiny else 64),
        "slow connection": lambda: behaviours.one_slow_connection(site, amount.slow),
        "troubled": lambda: behaviours.troubled(site, amount.troubled, min(amount.rounds, 2)),
        "first batch": lambda: behaviours.first_batch(site, amount.first_batch),
        "far checkpoint": lambda: behaviours.far_checkpoint(site, amount.far_bytes),
        "listings": lambda: behaviours.listings(site),
        "pictures": lambda: behaviours.pictures(site, amount.pictures),
        "ticking": lambda: behaviours.ticking(site),
        "ready objects": lambda: behaviours.ready_objects(site),
        "import": lambda: behaviours.import_time(amount.repeats),
    }


def _curves(site: run.Site, amount: Amount) -> dict[str, Callable[[], curves.Points]]:
    program = site.server.raw_client
    few = 2 if amount.is_tiny else None
    sizes = [size for size in curves.SIZES if not amount.is_tiny or size <= amount.curve_bytes]
    return {
        "size": lambda: curves.by_size(site, program, sizes, amount.curve_bytes),
        "in_flight": lambda: curves.by_in_flight(site, curves.IN_FLIGHT[:few]),
        "workers": lambda: curves.by_workers(site, curves.WORKERS[:few]),
        "latency": lambda: curves.by_latency(site, curves.FIRST_BYTES_MS[:few], amount.curve_latency),
    }


def _timed(name: str, step: Callable[[], Any]) -> Any:
    began = time.monotonic()
    found = step()
    print(f"bench: {name}: {time.monotonic() - began:.0f} s", flush=True)
    return found


def main() -> None:
    """Parse the arguments, measure, and write the page."""
    known = [row.name for row in ROWS if row.limit.startswith("raw")]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true", help="try every step, with sizes that tell nothing")
    parser.add_argument("--rounds", type=int, help="of the rows that have a limit (3)")
    parser.add_argument("--rows", nargs="*", default=known, choices=known, help="measure only these rows")
    parser.add_argument("--page-only", action="store_true", help="measure nothing, write tables and pictures")
    parser.add_argument("--out", type=Path, help="the folder of performance.md, docs by default")
    options = parser.parse_args()
    docs = options.out or DOCS
    kept = docs / "performance" / "measured.json"
    if not options.page_only:
        amount = TINY if options.tiny else FULL
        if options.rounds:
            amount = Amount(**{**vars(amount), "rounds": options.rounds})
        measured = measure(amount, options.rows)
        print(f"\nmeasured in {measured['took_seconds']} s: {report.save('performance', measured)}")
        if options.tiny and options.out is None:
            return
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(measured, indent=1) + "\n")
    measured = json.loads(kept.read_text())
    plots.draw(measured, kept.parent)
    page.write(measured, docs / "performance.md")


if __name__ == "__main__":
    main()
