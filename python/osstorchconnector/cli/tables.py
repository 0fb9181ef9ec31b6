"""Rows as text: in columns for people, as one JSON array for programs.

Keys are printed by `print`: `click.echo` would leave out what it takes for colours.
"""

from __future__ import annotations

import contextlib
import json
import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Write rows of cells below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


@contextlib.contextmanager
def json_array() -> Iterator[Callable[[Any], None]]:
    """Print one JSON array, each value as it comes: a listing of millions is never held in memory."""
    with json_texts() as begin:
        yield lambda value: begin(json.dumps(value))


@contextlib.contextmanager
def json_texts() -> Iterator[Callable[[str], None]]:
    """Print one JSON array of values that the caller has written, or goes on with writing.

    Cut short by a failure it is an array of what came before; the line on stderr and the status say that it is not all.
    Where nothing came, nothing is printed.
    """
    count = 0

    def begin(text: str) -> None:
        nonlocal count
        click.echo(f"{',' if count else '['}\n {text}", nl=False)
        count += 1

    try:
        yield begin
    except BrokenPipeError:
        raise
    except BaseException:
        if count:
            click.echo("\n]")
        raise
    click.echo("\n]" if count else "[]")


def printable(text: str, stream: TextIO | None = None) -> str:
    """Write control characters of a key as escapes where a terminal would obey them: stdout, or another stream."""
    if text.isprintable() or not _is_terminal(stream or sys.stdout):
        return text
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty()


def moment(seconds: float | None) -> str | None:
    """Write a moment as ISO 8601 in UTC."""
    if seconds is None:
        return None
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%dT%H:%M:%SZ}"


def bare(etag: str | None) -> str | None:
    """Write an ETag without the quotes of its header."""
    return None if etag is None else etag.strip('"')
