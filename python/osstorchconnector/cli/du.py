"""`ossconnector du`: how much lies below a prefix."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from typing import TYPE_CHECKING

import click

from osstorchconnector.cli import locations, reaching
from osstorchconnector.cli.amounts import size as readable
from osstorchconnector.cli.tables import aligned, json_option, printable
from osstorchconnector.uri import as_uri, prefix_path, split

if TYPE_CHECKING:
    from collections.abc import Iterable

    from osstorchconnector.cli.reaching import Reaching
    from osstorchconnector.store import Row


@click.command("du", short_help="sum up how much lies below a prefix")
@click.argument("prefix", metavar="oss://BUCKET/PREFIX", shell_complete=locations.complete)
@click.option(
    "-d",
    "--depth",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Also for each group of keys up to N slashes below the prefix.",
)
@click.option("-h", "--human", is_flag=True, help="Sizes such as 1.5 GiB, not bytes.")
@click.option("--quiet", is_flag=True, help="No progress on a terminal.")
@json_option
@reaching.options
def command(*, reaching: Reaching, prefix: str, depth: int, human: bool, quiet: bool, as_json: bool) -> int:
    """Sum up the bytes and objects whose keys begin with PREFIX. Many ranges of keys are listed at a time.

    Objects of no bytes whose keys end in a slash, which stand for directories, are not counted.
    """
    path = prefix_path(prefix, "prefix")
    bar = sys.stderr.isatty() and not quiet
    rows = reaching.client().build_index(prefix, include_empty=True, progress=bar)
    sums = _sums(rows, path, depth)
    if as_json:
        documents = [
            {"uri": as_uri(name), "bytes": size_bytes, "objects": count}
            for name, (size_bytes, count) in sums.items()
        ]
        click.echo(json.dumps(documents, indent=1))
        return 0
    table = [
        (readable(size_bytes) if human else str(size_bytes), str(count), printable(as_uri(name)))
        for name, (size_bytes, count) in sums.items()
    ]
    for line in aligned([("BYTES", "OBJECTS", "URI"), *table]):
        print(line)
    return 0


def _sums(rows: Iterable[Row], path: str, depth: int) -> dict[str, tuple[int, int]]:
    """Sum up by group, in byte order of the groups; the prefix itself is the last."""
    bucket, prefix = split(path)
    base = f"/{bucket}/{prefix[: prefix.rfind('/') + 1]}"
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for row_path, size, _, _ in rows:
        parts = row_path[len(base) :].split("/", depth)
        names = ["/".join(parts[:level]) for level in range(1, len(parts))]
        for name in (*(f"{base}{name}/" for name in names), ""):
            counted = sums[name]
            counted[0] += size or 0
            counted[1] += 1
    total = sums.pop("", [0, 0])
    ordered = {name: sums[name] for name in sorted(sums, key=str.encode)}
    return {name: (size, count) for name, (size, count) in {**ordered, path: total}.items()}
