"""`ossconnector rm`: objects are deleted, by name, or with a flag of its own all that lie below a prefix."""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from osstorchconnector.cli import locations, reaching
from osstorchconnector.cli.failing import misuse
from osstorchconnector.cli.meter import Meter
from osstorchconnector.cli.stat import advise_of_keys_below
from osstorchconnector.cli.tables import json_array, json_option, printable
from osstorchconnector.errors import NotFoundError
from osstorchconnector.uri import as_uri, object_path, prefix_path, split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from osstorchconnector.cli.reaching import Reaching
    from osstorchconnector.connection import OssStore

# Keys of one request.
_BATCH = 1000


@click.command("rm", short_help="delete objects; with -r all below a prefix")
@click.argument(
    "uris", metavar="oss://BUCKET/KEY...", nargs=-1, required=True, shell_complete=locations.complete
)
@click.option("-r", "--recursive", is_flag=True, help="All that lies below a prefix, which ends in a slash.")
@click.option("-f", "--force", is_flag=True, help="An object that is not there is no failure.")
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be deleted, and delete nothing.")
@click.option("--whole-bucket", is_flag=True, help="Allow -r for a bucket without a prefix.")
@click.option("-q", "--quiet", is_flag=True, help="Do not name what is deleted; no progress on a terminal.")
@json_option
@reaching.options
def command(
    *,
    reaching: Reaching,
    uris: tuple[str, ...],
    recursive: bool,
    force: bool,
    dry_run: bool,
    whole_bucket: bool,
    quiet: bool,
    as_json: bool,
) -> int:
    """Delete objects, and name each. There is no way back but in a bucket with versioning.

    All names are looked at before the first object is deleted.
    """
    paths = [_below(uri, whole_bucket=whole_bucket) if recursive else _named(uri) for uri in uris]
    store = reaching.store()
    if not force:
        _demand(store, paths, recursive=recursive)
    with json_array() if as_json else nullcontext(_printer(quiet=quiet)) as tell:
        found = (name for path in paths for name in _names(store, path)) if recursive else iter(paths)
        meter = Meter(is_wanted=not (quiet or as_json))
        count = _delete(found, None if dry_run else store.remove_all, tell, meter)
    if not as_json:
        click.echo(f"{count} object(s){' would be' if dry_run else ''} deleted", err=True)
    return 0


def _named(uri: str) -> str:
    path = object_path(uri, "object")
    if path.endswith("/"):
        raise misuse(f"{uri} ends in a slash: -r deletes what lies below it")
    return path


def _below(uri: str, *, whole_bucket: bool) -> str:
    path = prefix_path(uri, "prefix")
    key = split(path)[1]
    if not key and not whole_bucket:
        raise misuse(f"{uri} is a whole bucket: --whole-bucket allows it")
    if key and not key.endswith("/"):
        raise misuse(f"{uri} begins other keys too, such as {uri}2: write {uri}/ for what lies below it")
    return path


def _demand(store: OssStore, paths: Sequence[str], *, recursive: bool) -> None:
    """Find each name, so that a typo deletes nothing.

    Raises:
        NotFoundError: one is not there.
    """
    for path in paths:
        if recursive:
            if next(store.entries(path, None, page_size=1), None) is None:
                raise NotFoundError(f"delete {as_uri(path)}: no object lies below it; check the prefix")
            continue
        try:
            store.head(path)
        except NotFoundError as failure:
            advise_of_keys_below(store, path, failure)
            raise


def _delete(
    found: Iterator[str],
    remove: Callable[[Sequence[str]], None] | None,
    tell: Callable[[Any], None],
    meter: Meter,
) -> int:
    """Delete what was found, a batch a request, and name it; without `remove` it is named only."""
    count = 0
    try:
        while True:
            meter.tell(f"{count:,} object(s) deleted")
            batch = list(itertools.islice(found, _BATCH))
            if not batch:
                return count
            if remove is not None:
                remove(batch)
            meter.erase()
            for path in batch:
                tell({"uri": as_uri(path), "deleted": remove is not None})
            count += len(batch)
    except BaseException:
        meter.erase()
        if remove is not None:
            click.echo(
                f"ossconnector: stopped: {count} object(s) deleted, and up to {_BATCH} under way", err=True
            )
        raise
    finally:
        meter.erase()


def _names(store: OssStore, path: str) -> Iterator[str]:
    return (entry[0] for entry in store.entries(path, None))


def _printer(*, quiet: bool) -> Callable[[dict[str, Any]], None]:
    def tell(row: dict[str, Any]) -> None:
        if not quiet:
            print(printable(row["uri"]))

    return tell
