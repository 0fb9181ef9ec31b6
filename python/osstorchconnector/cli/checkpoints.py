"""`ossconnector checkpoints`: the newest distributed checkpoint that loads, and what dead saves have left."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from osstorchconnector.cli import reaching
from osstorchconnector.cli.uploads import age_seconds

if TYPE_CHECKING:
    import argparse

    from osstorchconnector.dcp import OssDCPFileSystem


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "checkpoints",
        help="find the newest distributed checkpoint that loads, and remove what dead saves have left",
        description="Look after distributed checkpoints (torch.distributed.checkpoint) on OSS.",
    )
    verbs = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    latest = verbs.add_parser(
        "latest", help="print the URI of the newest checkpoint below a prefix that loads"
    )
    latest.set_defaults(run=run_latest)
    gc = verbs.add_parser(
        "gc",
        help="list objects of replaced and dead saves, and remove them",
        description="List the objects of saves that were replaced or that died, which no checkpoint needs any more. "
        "What the metadata of a checkpoint names is never among them.",
    )
    gc.add_argument(
        "--grace",
        type=age_seconds,
        default=age_seconds("1d"),
        metavar="AGE",
        help="how long ago a save must have been replaced, or must have written its last object, such as 30m, 12h "
        "or 1d (the default); a running save that publishes nothing for so long would be taken for dead",
    )
    gc.add_argument("--yes", action="store_true", help="remove them; without it they are listed only")
    gc.set_defaults(run=run_gc)
    for verb in (latest, gc):
        verb.add_argument("prefix", metavar="oss://BUCKET/PREFIX", help="checkpoints below this")
        reaching.add_to(verb)


def run_latest(options: argparse.Namespace) -> int:
    """Print the newest one; exit status 1 if there is none."""
    found = _file_system(options).latest(options.prefix)
    if found is None:
        print(f"ossconnector: no checkpoint below {options.prefix} loads", file=sys.stderr)
        return 1
    print(found)
    return 0


def run_gc(options: argparse.Namespace) -> int:
    """List, and remove if that was confirmed."""
    fs = _file_system(options)
    act = fs.collect_garbage if options.yes else fs.garbage
    uris = act(options.prefix, grace_seconds=options.grace)
    for uri in uris:
        print(uri)
    print(
        f"{len(uris)} object(s){'' if not uris else ', removed' if options.yes else '; --yes removes them'}"
    )
    return 0


def _file_system(options: argparse.Namespace) -> OssDCPFileSystem:
    from osstorchconnector.dcp import OssDCPFileSystem

    return OssDCPFileSystem(options.endpoint, options.cred_path, options.config_path, region=options.region)
