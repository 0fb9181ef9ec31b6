"""`ossconnector ls`: what lies below a prefix; without one, the buckets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from osstorchconnector.cli import locations, reaching
from osstorchconnector.cli.amounts import size as readable
from osstorchconnector.cli.failing import misuse
from osstorchconnector.cli.tables import aligned, bare, json_array, json_option, moment, printable
from osstorchconnector.errors import NotFoundError
from osstorchconnector.uri import SCHEME, as_uri, prefix_path, split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from osstorchconnector.cli.reaching import Reaching
    from osstorchconnector.connection import OssStore
    from osstorchconnector.store import Bucket, Entry

# The largest object, 48.8 TiB, has 14 digits.
_SIZE_WIDTH, _MOMENT_WIDTH = 14, 20


@click.command("ls", short_help="list what lies below a prefix; without one, the buckets")
@click.argument("prefix", metavar="[oss://BUCKET/PREFIX]", default=SCHEME, shell_complete=locations.complete)
@click.option("-r", "--recursive", is_flag=True, help="All keys, not the groups up to the next slash.")
@click.option(
    "-l",
    "--long",
    is_flag=True,
    help="Size in bytes and time of the last change, too; of buckets region and class.",
)
@click.option("-h", "--human", is_flag=True, help="With --long, sizes such as 1.5 GiB.")
@json_option
@reaching.options
def command(
    *, reaching: Reaching, prefix: str, recursive: bool, long: bool, human: bool, as_json: bool
) -> int:
    """List what begins with PREFIX, in byte order of the keys: objects, and groups up to the next slash.

    A prefix is plain text: oss://bucket/img finds img2/x too, and oss://bucket/img/ what lies below img. Exit status 1
    if there is nothing. Without PREFIX, the buckets of the account, of every region.
    """
    if prefix == SCHEME:
        if recursive:
            raise misuse("-r lists one bucket: name it, oss://BUCKET")
        _list_buckets(reaching.store(), long=long, as_json=as_json)
        return 0
    path = prefix_path(prefix, "prefix")
    found = _entries(reaching.store(), path, recursive=recursive)
    if as_json:
        with json_array() as add:
            for entry in found:
                add(_document(entry))
        return 0
    for entry in found:
        print(_line(entry, human=human) if long else printable(as_uri(entry[0])))
    return 0


def _list_buckets(store: OssStore, *, long: bool, as_json: bool) -> None:
    buckets = store.buckets()
    if as_json:
        with json_array() as add:
            for bucket in buckets:
                add({"uri": _uri(bucket), **bucket._asdict(), "created": moment(bucket.created)})
    elif long and buckets:
        rows = [
            (moment(bucket.created) or "", bucket.region, bucket.storage_class, _uri(bucket))
            for bucket in buckets
        ]
        print("\n".join(aligned(rows)))
    else:
        for bucket in buckets:
            print(_uri(bucket))


def _uri(bucket: Bucket) -> str:
    return as_uri(f"/{bucket.name}/")


def _entries(store: OssStore, path: str, *, recursive: bool) -> Iterator[Entry]:
    """Yield what there is.

    Raises:
        NotFoundError: nothing, and a part of a bucket was asked for.
    """
    is_empty = True
    for entry in store.entries(path, None if recursive else "/"):
        is_empty = False
        yield entry
    if is_empty and split(path)[1]:
        raise NotFoundError(
            f"list {as_uri(path)}: no key begins with this; check it, or list a shorter prefix"
        )


def _document(entry: Entry) -> dict[str, Any]:
    path, size, etag, changed = entry
    if size is None:
        return {"uri": as_uri(path), "is_prefix": True}
    return {
        "uri": as_uri(path),
        "is_prefix": False,
        "size": size,
        "modified": moment(changed),
        "etag": bare(etag),
    }


def _line(entry: Entry, *, human: bool) -> str:
    path, size, _, changed = entry
    amount = "" if size is None else readable(size) if human else str(size)
    when = "" if size is None else moment(changed) or ""
    return f"{amount:>{_SIZE_WIDTH}}  {when:{_MOMENT_WIDTH}}  {printable(as_uri(path))}"
