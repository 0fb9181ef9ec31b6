"""Measure everything that docs/performance.md shows, and write its tables and pictures: `make performance`.

What was measured is kept in docs/performance/measured.json; `--page-only` makes tables and pictures from that again.
`--tiny` tries every step with sizes that tell nothing; it writes no page unless `--out` names a folder for one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
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

    from figures import Rounds, Run

DOCS = Path(__file__).parents[1] / "docs"


# What a round of a row leaves behind; all else stays in benches/results.
KEPT = ("round", "bytes", "seconds", "cpu_seconds", "peak_bytes", "stages")


@dataclass(frozen=True)
class Amount:
    """How much of everything is measured."""

    size: run.Size
    rounds: int
    distant: int
    by_original: int
    admitted: int
    processes: int
    slow: int
    troubled: int
    far_bytes: int
    first_batch: int
    pictures: int
    curve_bytes: int
    curve_latency: int
    curve_points: int | None
    timeline: int
    is_tiny: bool = False


FULL = Amount(
    size=run.FULL,
    rounds=3,
    distant=20_000,
    by_original=2_000,
    admitted=24_000,
    processes=behaviours.PROCESSES,
    slow=6_000,
    troubled=8_000,
    far_bytes=2 << 30,
    first_batch=1_000_000,
    pictures=1024,
    curve_bytes=256 << 20,
    curve_latency=6_000,
    curve_points=None,
    timeline=6_000,
)
TINY = Amount(
    size=run.Size(
        Served(600, 110 * 1024, 64 << 20), Served(1500, 1024, 1 << 20), Served(300, 110 * 1024, 32 << 20)
    ),
    rounds=2,
    distant=1500,
    by_original=300,
    admitted=9_000,
    processes=8,
    slow=600,
    troubled=600,
    far_bytes=256 << 20,
    first_batch=20_000,
    pictures=256,
    curve_bytes=8 << 20,
    curve_latency=300,
    curve_points=2,
    timeline=1_500,
    is_tiny=True,
)


@dataclass(frozen=True)
class Behaviour:
    """What is run for one name, for whom, and in how many rounds: as many as the rows, or so many.

    Some run in the first round only: a round of all takes minutes, and the seed's config file is not expected to matter.
    """

    run: Callable[[str, int], behaviours.Figures | None]
    who: tuple[str, ...] = ("ours", "seeds")
    once: tuple[str, ...] = ("seeds",)
    rounds: int | None = None

    def measured(self, rounds: int) -> dict[str, list[behaviours.Figures]]:
        """Let all run in turn; a contender that cannot has no figures."""
        found: dict[str, list[behaviours.Figures]] = {}
        for number in range(self.rounds or rounds):
            for who in self.who:
                figures = None if who in self.once and number > 0 else self._tried(who, number)
                if figures is not None:
                    found.setdefault(who, []).append(figures)
        return found

    def _tried(self, who: str, number: int) -> behaviours.Figures | None:
        """Run what may fail: the page then says that it was not measured, and keeps what was."""
        try:
            return self.run(who, number)
        except subprocess.CalledProcessError as failure:
            print(f"bench: WARNING: {who} failed: exit status {failure.returncode}", flush=True)
            return None


def measure(amount: Amount, names: Sequence[str]) -> tuple[dict[str, Any], Rounds]:
    """Measure all of it; return what the page is made of, and the rounds of rows with all that was counted in them."""
    began, load_average = time.time(), run.load_before()
    with run.opened(amount.size, with_original=True) as site:
        rows = [row for row in ROWS if row.name in names]
        rounds = _timed("rows", lambda: run.measured(site, rows, amount.rounds, with_peers=True))
        with site.contenders.forking():
            steps = _behaviours(site, amount)
            found = {
                name: _timed(name, partial(step.measured, amount.rounds)) for name, step in steps.items()
            }
            drawn = {name: _timed(name, step) for name, step in _curves(site, amount).items()}
            level = _timed("timeline", lambda: curves.timeline(site, amount.timeline))
    measured = {
        "machine": report.machine(),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(began)),
        "took_seconds": round(time.time() - began),
        "load_average_before": round(load_average, 1),
        "is_tiny": amount.is_tiny,
        "served": asdict(amount.size.served),
        "described": amount.size.describe(),
        "round_count": amount.rounds,
        "rounds": {name: [_kept(one) for one in runs] for name, runs in rounds.items()},
        "behaviours": found,
        "curves": drawn,
        "timeline": level,
    }
    return measured, rounds


def _kept(one: Run) -> Run:
    return {key: one[key] for key in KEPT if one.get(key) not in (None, {})}


def _behaviours(site: run.Site, amount: Amount) -> dict[str, Behaviour]:
    with_original = ("ours", "seeds", "original")
    return {
        "distant": Behaviour(
            lambda who, _: behaviours.distant(site, who, amount.distant, amount.by_original), with_original
        ),
        "admitted": Behaviour(lambda who, _: behaviours.admitted(site, who, amount.admitted)),
        "shared": Behaviour(lambda who, _: behaviours.shared(site, who, amount.processes)),
        "slow connection": Behaviour(lambda who, _: behaviours.one_slow_connection(site, who, amount.slow)),
        "troubled": Behaviour(lambda who, seed: behaviours.troubled(site, who, amount.troubled, seed)),
        "far checkpoint": Behaviour(
            lambda who, _: behaviours.far_checkpoint(site, who, amount.far_bytes),
            with_original,
            once=("seeds", "original"),
        ),
        "pictures": Behaviour(lambda who, _: behaviours.pictures(site, who, amount.pictures), ("ours",)),
        "ticking": Behaviour(lambda who, _: behaviours.ticking(site, who), ("ours",)),
        "slow consumer": Behaviour(lambda who, _: behaviours.slow_consumer(site, who), ("ours",)),
        "ready objects": Behaviour(lambda who, _: behaviours.ready_objects(site, who), ("ours",)),
        "import": Behaviour(lambda who, _: behaviours.import_time(who), ("ours", "original")),
        "first batch": Behaviour(
            lambda who, _: behaviours.first_batch(site, who, amount.first_batch), ("ours",)
        ),
        # A count of requests does not depend on who else is busy.
        "listings": Behaviour(
            lambda who, _: behaviours.listings(site, who), ("ours", "original", "s3torchconnector"), rounds=1
        ),
    }


def _curves(site: run.Site, amount: Amount) -> dict[str, Callable[[], curves.Points]]:
    few, rounds = amount.curve_points, amount.rounds
    sizes = [size for size in curves.SIZES if not amount.is_tiny or size <= amount.curve_bytes]
    return {
        "size": lambda: curves.by_size(site, rounds, sizes, amount.curve_bytes),
        "in_flight": lambda: curves.by_in_flight(site, rounds, curves.IN_FLIGHT[:few]),
        "workers": lambda: curves.by_workers(site, rounds, curves.WORKERS[:few]),
        "latency": lambda: curves.by_latency(
            site, rounds, curves.FIRST_BYTES_MS[:few], amount.curve_latency, amount.curve_latency // 12
        ),
    }


def _timed(name: str, step: Callable[[], Any]) -> Any:
    began = time.monotonic()
    found = step()
    print(f"bench: {name}: {time.monotonic() - began:.0f} s", flush=True)
    return found


def main() -> None:
    """Parse the arguments, measure, and write the page."""
    known = [row.name for row in ROWS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true", help="try every step, with sizes that tell nothing")
    parser.add_argument("--rounds", type=int, help="how many rounds of everything (3)")
    parser.add_argument("--rows", nargs="*", default=known, choices=known, help="measure only these rows")
    parser.add_argument("--page-only", action="store_true", help="measure nothing, write tables and pictures")
    parser.add_argument("--out", type=Path, help="the folder of performance.md, docs by default")
    options = parser.parse_args()
    docs = options.out or DOCS
    kept = docs / "performance" / "measured.json"
    if not options.page_only:
        amount = TINY if options.tiny else FULL
        if options.rounds:
            amount = replace(amount, rounds=options.rounds)
        measured, rounds = measure(amount, options.rows)
        saved = report.save("performance", {**measured, "rounds": rounds})
        print(f"\nmeasured in {measured['took_seconds']} s: {saved}")
        if options.tiny and options.out is None:
            return
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(report.text(measured))
    measured = json.loads(kept.read_text())
    plots.draw(measured, kept.parent)
    page.write(measured, docs / "performance.md")


if __name__ == "__main__":
    main()
