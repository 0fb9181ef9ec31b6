"""`ossconnector cat`: the bytes of objects, to stdout."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING

import click

from osstorchconnector.cli import locations, reaching
from osstorchconnector.cli.failing import said_in_one_line
from osstorchconnector.cli.stat import advise_of_keys_below
from osstorchconnector.cli.tables import json_texts
from osstorchconnector.errors import NotFoundError, OssError
from osstorchconnector.uri import as_uri, object_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
@click.argument(
    "uris", metavar="oss://BUCKET/KEY...", nargs=-1, required=True, shell_complete=locations.complete
)
@click.option(
    "--range", "span", metavar="START..END", callback=_read_range, help="Only these bytes, END not included."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document, the bytes in base64.")
@reaching.options
def command(*, reaching: Reaching, uris: tuple[str, ...], span: tuple[int, int | None], as_json: bool) -> int:
    """Write the bytes of objects to stdout, one after the other. What is read whole is compared with its CRC-64."""
    paths = [object_path(uri, "object") for uri in uris]
    store = reaching.store()
    if as_json:
        with json_texts() as begin:
            for path in paths:
                _print_document(begin, as_uri(path), _pieces(store, path, span))
        return 0
    for path in paths:
        for piece in _pieces(store, path, span):
            click.echo(piece, nl=False)
    return 0


def _print_document(begin: Callable[[str], None], uri: str, pieces: Iterator[bytes]) -> None:
    """Print one object; bytes that broke off, or that are not those which were stored, are told by an `error`."""
    piece = next(pieces, b"")
    begin(f'{{"uri": {json.dumps(uri)}, "base64": "')
    error = ""
    try:
        while piece:
            click.echo(base64.b64encode(piece).decode("ascii"), nl=False)
            piece = next(pieces, b"")
    except OssError as failure:
        error = f', "error": {json.dumps(said_in_one_line(failure))}'
        raise
    finally:
        click.echo(f'"{error}}}', nl=False)


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
