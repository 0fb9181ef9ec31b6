"""`ossconnector uploads`: uploads that were begun and never ended are listed, and on request removed.

Their parts cost storage and are seen by nobody. A save that is still running looks the same, so nothing is removed
without an age.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from osstorchconnector.cli import locations, reaching
from osstorchconnector.cli.amounts import age, read_age, size
from osstorchconnector.cli.meter import Meter
from osstorchconnector.cli.tables import aligned, printable

if TYPE_CHECKING:
    from osstorchconnector.cli.reaching import Reaching
    from osstorchconnector.client import OssClient
    from osstorchconnector.store import AbandonedUpload

_HEAD = ("AGE", "SIZE", "PARTS", "CUT BY", "URI", "UPLOAD ID")


@click.command("uploads", short_help="list uploads that were begun and never ended, and remove old ones")
@click.argument("prefix", metavar="oss://BUCKET/PREFIX", shell_complete=locations.complete)
@click.option(
    "--abort-older-than",
    callback=read_age,
    metavar="AGE",
    help="Remove those begun longer ago, such as 90s, 30m, 12h or 1d; no save of yours may take that long.",
)
@click.option(
    "--all",
    "with_others",
    is_flag=True,
    help="Also those whose parts are cut as by another tool, or by other options.",
)
@click.option("--quiet", is_flag=True, help="No progress on a terminal.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of a table.")
@reaching.options
def command(
    *,
    reaching: Reaching,
    prefix: str,
    abort_older_than: float | None,
    with_others: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """List uploads below a prefix that were begun and never ended, such as those of killed saves."""
    client, meter = reaching.client(), Meter(is_wanted=not (quiet or as_json))
    removed = abort_older_than is not None
    with meter.erased():
        meter.tell(f"looking for uploads below {printable(prefix, sys.stderr)}")
        found = client.abandoned_uploads(prefix, abort_older_than or 0)
        shown = [upload for upload in found if with_others or upload.shape != "other"]
        if removed:
            _remove(client, shown, meter)
    if as_json:
        click.echo(json.dumps([_document(upload, removed=removed) for upload in shown], indent=1))
    else:
        for line in _report(shown, len(found) - len(shown), removed=removed):
            print(line)
    return 0


def _remove(client: OssClient, uploads: list[AbandonedUpload], meter: Meter) -> None:
    for number, upload in enumerate(uploads):
        meter.tell(f"{number:,} of {len(uploads):,} uploads removed")
        try:
            client.remove_abandoned(upload)
        except BaseException:
            meter.erase()
            click.echo(f"ossconnector: stopped: {number} of {len(uploads)} upload(s) removed", err=True)
            raise


def _document(upload: AbandonedUpload, *, removed: bool) -> dict[str, Any]:
    return {**upload._asdict(), "removed": removed}


def _report(shown: list[AbandonedUpload], hidden: int, *, removed: bool) -> list[str]:
    lines = aligned([_HEAD, *(_row(upload) for upload in shown)]) if shown else []
    total = size(sum(upload.size_bytes for upload in shown))
    lines.append(f"{len(shown)} upload(s), {total}{', removed' if removed and shown else ''}")
    if hidden:
        lines.append(f"{hidden} more, cut as by another tool or other options: shown with --all")
    return lines


def _row(upload: AbandonedUpload) -> tuple[str, ...]:
    cut_by = {"ours": "us", "empty": "-", "other": "another"}[upload.shape]
    return (
        age(upload.age_seconds),
        size(upload.size_bytes),
        str(upload.part_count),
        cut_by,
        printable(upload.uri),
        upload.upload_id,
    )
