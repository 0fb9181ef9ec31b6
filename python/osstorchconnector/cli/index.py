"""`ossconnector index build|show|diff`: object indexes as files or objects of their own."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from osstorchconnector.cli import locations, reaching
from osstorchconnector.cli.tables import json_array, json_option, printable

if TYPE_CHECKING:
    from osstorchconnector.cli.reaching import Reaching
    from osstorchconnector.object_index import ObjectIndex

# As diff(1): there are differences.
_DIFFERENT = 1
_SIGNS = {"added": "+", "removed": "-", "changed": "!"}


@click.group("index", no_args_is_help=False, short_help="list a prefix into an index, show one, compare two")
def command() -> None:
    """List a prefix into an index, show one, compare two. An index is named by a path or an oss:// URI."""


@command.command("build", short_help="list a prefix and save what is there")
@click.argument("prefix", metavar="oss://BUCKET/PREFIX", shell_complete=locations.complete)
@click.argument("target", metavar="TARGET", shell_complete=locations.complete_with_files)
@click.option("--include-empty", is_flag=True, help="Zero-byte objects too, directories apart.")
@click.option("--quiet", is_flag=True, help="No progress on a terminal.")
@json_option
@reaching.options
def build(
    *, reaching: Reaching, prefix: str, target: str, include_empty: bool, quiet: bool, as_json: bool
) -> int:
    """List the objects whose keys begin with PREFIX, and save what is there to TARGET."""
    client = reaching.client()
    bar = sys.stderr.isatty() and not quiet
    index = client.build_index(prefix, include_empty=include_empty, progress=bar)
    saved_bytes = client.save_index(index, target)
    if as_json:
        click.echo(
            json.dumps({**_document(index, 0), "target": target, "saved_bytes": saved_bytes}, indent=1)
        )
        return 0
    click.echo(
        f"{len(index)} objects, {saved_bytes} bytes in {target}, fingerprint {index.fingerprint}"
        + (f", {index.left_out_empty} zero-byte objects left out" if index.left_out_empty else "")
    )
    return 0


@command.command("show", short_help="say what an index lists")
@click.argument("index", metavar="INDEX", shell_complete=locations.complete_with_files)
@click.option("--rows", type=int, default=0, metavar="N", help="Print the first N rows too.")
@json_option
@reaching.options
def show(*, reaching: Reaching, index: str, rows: int, as_json: bool) -> int:
    """Say what INDEX lists."""
    document = _document(reaching.client().load_index(index), rows)
    if as_json:
        click.echo(json.dumps(document, indent=1))
        return 0
    first = document.pop("rows")
    for name, value in document.items():
        click.echo(f"{name:16}{value}")
    for uri, size, etag, label in first:
        print("\t".join((printable(uri), "-" if size is None else str(size), etag or "-", printable(label))))
    return 0


@command.command("diff", short_help="compare two indexes; exit status 1 if they differ")
@click.argument("old", metavar="OLD", shell_complete=locations.complete_with_files)
@click.argument("new", metavar="NEW", shell_complete=locations.complete_with_files)
@json_option
@reaching.options
def diff(*, reaching: Reaching, old: str, new: str, as_json: bool) -> int:
    """Compare two indexes; exit status 1 if they differ."""
    client = reaching.client()
    before, after = client.load_index(old), client.load_index(new)
    is_same = before.fingerprint == after.fingerprint
    changes = iter(()) if is_same else before.differences(after)
    with json_array() if as_json else nullcontext() as add:
        for difference in changes:
            if add is not None:
                add(difference._asdict())
            else:
                print(_SIGNS[difference.change], printable(difference.uri))
    return 0 if is_same else _DIFFERENT


def _document(index: ObjectIndex, rows: int) -> dict[str, Any]:
    from osstorchconnector import object_index

    return {
        "objects": len(index),
        "bytes": index.size_bytes(),
        "fingerprint": index.fingerprint,
        "left_out_empty": index.left_out_empty,
        "rows": [(f"oss:/{path}", *rest) for path, *rest in object_index.first(index, rows)],
    }
