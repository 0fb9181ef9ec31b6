"""`ossconnector uploads`: uploads that were begun and never ended are listed, and on request removed.

Their parts cost storage and are seen by nobody. A save that is still running looks the same, so nothing is removed
without an age.
"""

from __future__ import annotations

import argparse
import json
import re
from typing import TYPE_CHECKING, Any

from osstorchconnector.cli import reaching

if TYPE_CHECKING:
    from osstorchconnector.store import AbandonedUpload

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGE = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "uploads",
        help="list uploads that were begun and never ended, and remove old ones",
        description="List uploads below a prefix that were begun and never ended, such as those of killed saves.",
    )
    parser.add_argument("prefix", metavar="oss://BUCKET/PREFIX", help="uploads to keys that begin with this")
    parser.add_argument(
        "--abort-older-than",
        type=age_seconds,
        metavar="AGE",
        help="remove those begun longer ago, such as 90s, 30m, 12h or 1d; no save of yours may take that long",
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="also those whose parts are cut as by another tool, or by other options",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    reaching.add_to(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """List, and remove what is old enough."""
    client = reaching.client(options)
    oldest = options.abort_older_than
    found = client.abandoned_uploads(options.prefix, oldest or 0)
    shown = [upload for upload in found if options.all or upload.shape != "other"]
    if oldest is not None:
        for upload in shown:
            client.remove_abandoned(upload)
    if options.json:
        print(json.dumps([_document(upload, removed=oldest is not None) for upload in shown], indent=1))
    else:
        for line in _report(shown, len(found) - len(shown), removed=oldest is not None):
            print(line)
    return 0


def age_seconds(text: str) -> float:
    """Read an age such as `30m`.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    match = _AGE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not an age; write 90s, 30m, 12h, 1d or 2w")
    return float(match[1]) * _UNIT_SECONDS[match[2]]


def _document(upload: AbandonedUpload, *, removed: bool) -> dict[str, Any]:
    return {**upload._asdict(), "removed": removed}


def _report(shown: list[AbandonedUpload], hidden: int, *, removed: bool) -> list[str]:
    head = ("AGE", "SIZE", "PARTS", "CUT BY", "URI", "UPLOAD ID")
    rows = [head, *(_row(upload) for upload in shown)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    total = _size(sum(upload.size_bytes for upload in shown))
    lines = lines if shown else []
    lines.append(f"{len(shown)} upload(s), {total}{', removed' if removed and shown else ''}")
    if hidden:
        lines.append(f"{hidden} more, cut as by another tool or other options: shown with --all")
    return lines


def _row(upload: AbandonedUpload) -> tuple[str, ...]:
    cut_by = {"ours": "us", "empty": "-", "other": "another"}[upload.shape]
    return (
        _age(upload.age_seconds),
        _size(upload.size_bytes),
        str(upload.part_count),
        cut_by,
        upload.uri,
        upload.upload_id,
    )


def _age(seconds: int) -> str:
    for unit in ("d", "h", "m"):
        if seconds >= _UNIT_SECONDS[unit]:
            return f"{seconds / _UNIT_SECONDS[unit]:.1f}{unit}"
    return f"{seconds}s"


def _size(size_bytes: int) -> str:
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size_bytes >= 1024**power:
            return f"{size_bytes / 1024**power:.1f} {unit}"
    return f"{size_bytes} B"
