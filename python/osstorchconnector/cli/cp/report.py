"""What a copy says of itself: while it runs, and at its end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from osstorchconnector.cli.amounts import size
from osstorchconnector.cli.failing import complain, said_in_one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from osstorchconnector.cli.cp.crew import Tally
    from osstorchconnector.cli.cp.jobs import Job
    from osstorchconnector.cli.cp.means import Done

# More lines of failures than this help nobody; the JSON document has all.
_SHOWN_FAILURES = 20


def progress(tally: Tally) -> str:
    """Write the line for a terminal."""
    more = "" if tally.is_all_found else "+"
    parts = [f"{tally.ended_well} of {tally.found}{more}"]
    total = tally.found_bytes
    parts.append(size(tally.moved_bytes) + (f" of {size(total)}{more}" if total >= tally.moved_bytes else ""))
    rate = tally.moved_bytes / tally.seconds if tally.seconds else 0.0
    parts.append(f"{size(rate)}/s")
    if tally.is_all_found and rate and total > tally.moved_bytes:
        minutes, seconds = divmod(round((total - tally.moved_bytes) / rate), 60)
        parts.append(f"{minutes}:{seconds:02d} left")
    if tally.failed:
        parts.append(f"{len(tally.failed)} failed")
    return ", ".join(parts)


def say_failures(tally: Tally) -> None:
    """Write a line for each failure, up to a number that can be read."""
    for _, failure in tally.failed[:_SHOWN_FAILURES]:
        complain(said_in_one_line(failure))
    if len(tally.failed) > _SHOWN_FAILURES:
        click.echo(
            f"ossconnector: and {len(tally.failed) - _SHOWN_FAILURES} more; --json tells all", err=True
        )


def say_end(tally: Tally) -> None:
    """Write what was done."""
    counts, copied_bytes = tally.counts, tally.copied_bytes
    rate = f", {size(copied_bytes / tally.seconds)}/s" if copied_bytes else ""
    copied = counts["copied"] + counts["resumed"]
    text = f"{copied} copied ({size(copied_bytes)}) in {tally.seconds:.1f} s{rate}"
    rest = (
        (counts["resumed"], "gone on with"),
        (counts["same"], "already there"),
        (len(tally.failed), "failed"),
    )
    for count, what in rest:
        text += f"; {count} {what}" if count else ""
    click.echo(text)


def say_what_remains(tally: Tally, under_way: Sequence[Job], waiting: Sequence[Job]) -> None:
    """Write what a copy that was stopped has not done."""
    more = "" if tally.is_all_found else ", and what was not found yet"
    click.echo(
        f"ossconnector: stopped: {tally.ended_well} of {tally.found} copied; {len(under_way)} under way given up, their "
        f"targets are as before; {len(waiting)} not begun{more}; the same command with --resume copies what remains",
        err=True,
    )


def document(tally: Tally, under_way: Sequence[Job], waiting: Sequence[Job]) -> str:
    """Write all as one JSON document."""
    content: dict[str, Any] = {
        "copied": [_done(done) for done in tally.done],
        "failed": [{**_named(job), "error": said_in_one_line(failure)} for job, failure in tally.failed],
        "remaining": [_named(job) for job in (*under_way, *waiting)],
        "all_found": tally.is_all_found,
        "seconds": round(tally.seconds, 3),
    }
    return json.dumps(content, indent=1)


def _done(done: Done) -> dict[str, Any]:
    checksum = None if done.crc64 is None else str(done.crc64)
    return {**_named(done.job), "how": done.how, "size": done.size_bytes, "crc64": checksum}


def _named(job: Job) -> dict[str, str]:
    return {"source": str(job.source), "target": str(job.target)}
