"""`ossconnector checkpoints`: the newest distributed checkpoint that loads, and what dead saves have left."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from osstorchconnector.cli import locations, reaching
from osstorchconnector.cli.amounts import read_age
from osstorchconnector.cli.failing import complain
from osstorchconnector.cli.meter import Meter
from osstorchconnector.cli.tables import json_option, printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from osstorchconnector.cli.reaching import Reaching
    from osstorchconnector.dcp import OssDCPFileSystem


@click.group(
    "checkpoints",
    no_args_is_help=False,
    short_help="find the newest distributed checkpoint that loads, and remove what dead saves have left",
)
def command() -> None:
    """Look after distributed checkpoints (torch.distributed.checkpoint) on OSS."""


@command.command("latest", short_help="print the URI of the newest checkpoint below a prefix that loads")
@click.argument("prefix", metavar="oss://BUCKET/PREFIX", shell_complete=locations.complete)
@json_option
@reaching.options
def latest(*, reaching: Reaching, prefix: str, as_json: bool) -> int:
    """Print the URI of the newest checkpoint below PREFIX that loads; exit status 1 if there is none."""
    found = _file_system(reaching).latest(prefix)
    if as_json:
        click.echo(json.dumps({"latest": found}))
        return 0 if found is not None else 1
    if found is None:
        complain(f"no checkpoint below {prefix} loads")
        return 1
    print(printable(found))
    return 0


@command.command("gc", short_help="list objects of replaced and dead saves, and remove them")
@click.argument("prefix", metavar="oss://BUCKET/PREFIX", shell_complete=locations.complete)
@click.option(
    "--grace",
    callback=read_age,
    default="1d",
    metavar="AGE",
    help="How long ago a save must have been replaced, or must have written its last object or begun its upload, such as "
    "30m, 12h or 1d (the default); a running save that publishes nothing for so long would be taken for dead.",
)
@click.option("--yes", is_flag=True, help="Remove them; without it they are listed only.")
@click.option("--quiet", is_flag=True, help="No progress on a terminal.")
@json_option
@reaching.options
def collect(*, reaching: Reaching, prefix: str, grace: float, yes: bool, quiet: bool, as_json: bool) -> int:
    """List the objects of saves that were replaced or that died, which no checkpoint needs any more.

    Uploads that such saves began and never ended are among them, with their upload ID. What the metadata of a
    checkpoint names never is.
    """
    fs, meter = _file_system(reaching), Meter(is_wanted=not (quiet or as_json))
    with meter.erased():
        meter.tell(f"looking below {printable(prefix, sys.stderr)}")
        if yes:
            uris = fs.collect_garbage(prefix, grace_seconds=grace, progress=_teller(meter))
        else:
            uris = fs.garbage(prefix, grace_seconds=grace)
    if as_json:
        click.echo(json.dumps([{"uri": uri, "removed": yes} for uri in uris], indent=1))
        return 0
    for uri in uris:
        print(printable(uri))
    click.echo(f"{_counted(uris)}{'' if not uris else ', removed' if yes else '; --yes removes them'}")
    return 0


def _teller(meter: Meter) -> Callable[[int, int], None]:
    return lambda gone, of: meter.tell(f"{gone:,} of {of:,} removed")


def _counted(uris: list[str]) -> str:
    uploads = sum("?uploadId=" in uri for uri in uris)
    return f"{len(uris) - uploads} object(s)" + (f", {uploads} open upload(s)" if uploads else "")


def _file_system(reaching: Reaching) -> OssDCPFileSystem:
    from osstorchconnector.dcp import OssDCPFileSystem

    return OssDCPFileSystem(**asdict(reaching))
