"""`ossconnector cat`: the bytes of objects, to stdout."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING

import click

from osstorchconnector.cli import reaching
from osstorchconnector.cli.stat import advise_of_keys_below
from osstorchconnector.errors import NotFoundError
from osstorchconnector.uri import object_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from osstorchconnector.cli.reaching import Reaching
    from osstorchconnector.connection import OssStore
    from osstorchconnector.streams import ObjectReader

# Enough for ranges in parallel; a multiple of 3, so that pieces of base64 can be put together.
_PIECE_BYTES = 15 << 20
_RANGE = re.compile(r"(\d*)\.\.(\d*)")


def _read_range(_ctx: click.Context, _param: click.Parameter, text: str | None) -> tuple[int, int | None]:
    match = _RANGE.fullmatch(text or "..")
    if match is None:
        raise click.BadParameter(f"{text!r} is no range; write START..END, START.. or ..END, in bytes")
    start, end = int(match[1] or 0), int(match[2]) if match[2] else None
    if end is not None and end < start:
        raise click.BadParameter(f"{text!r} ends before it starts")
    return start, end


@click.command("cat", short_help="write the bytes of objects to stdout")
@click.argument("uris", metavar="oss://BUCKET/KEY...", nargs=-1, required=True)
@click.option(
    "--range", "span", metavar="START..END", callback=_read_range, help="Only these bytes, END not included."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document, the bytes in base64.")
@reaching.options
def command(*, reaching: Reaching, uris: tuple[str, ...], span: tuple[int, int | None], as_json: bool) -> int:
    """Write the bytes of objects to stdout, one after the other. What is read whole is compared with its CRC-64."""
    paths = [object_path(uri, "object") for uri in uris]
    store = reaching.store()
    for number, path in enumerate(paths):
        if as_json:
            _print_document(store, path, span, "," if number else "[")
        else:
            for piece in _pieces(store, path, span):
                click.echo(piece, nl=False)
    if as_json:
        click.echo("\n]")
    return 0


def _print_document(store: OssStore, path: str, span: tuple[int, int | None], before: str) -> None:
    pieces = _pieces(store, path, span)
    first = next(pieces, b"")
    click.echo(f'{before}\n {{"uri": {json.dumps(f"oss:/{path}")}, "base64": "', nl=False)
    while first:
        click.echo(base64.b64encode(first).decode("ascii"), nl=False)
        first = next(pieces, b"")
    click.echo('"}', nl=False)


def _pieces(store: OssStore, path: str, span: tuple[int, int | None]) -> Iterator[bytes]:
    with store.open_reader(path) as reader:
        try:
            yield from _read(reader, *span)
        except NotFoundError as failure:
            advise_of_keys_below(store, path, failure)
            raise


def _read(reader: ObjectReader, start: int, end: int | None) -> Iterator[bytes]:
    if start:
        reader.seek(start)
    at = start
    while end is None or at < end:
        piece = reader.read(_PIECE_BYTES if end is None else min(_PIECE_BYTES, end - at))
        if not piece:
            return
        at += len(piece)
        yield piece
