"""`ossconnector stat`: what OSS says of objects without sending them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from osstorchconnector.cli import locations, reaching
from osstorchconnector.cli.tables import bare, json_array, json_option, moment, printable
from osstorchconnector.errors import NotFoundError
from osstorchconnector.uri import object_path

if TYPE_CHECKING:
    from osstorchconnector.cli.reaching import Reaching
    from osstorchconnector.connection import OssStore


@click.command("stat", short_help="say what OSS knows of objects: size, times, checksum, metadata")
@click.argument(
    "uris", metavar="oss://BUCKET/KEY...", nargs=-1, required=True, shell_complete=locations.complete
)
@json_option
@reaching.options
def command(*, reaching: Reaching, uris: tuple[str, ...], as_json: bool) -> int:
    """Say what OSS knows of objects: size, ETag, CRC-64, time of the last change, class, type, metadata."""
    paths = [object_path(uri, "object") for uri in uris]
    store = reaching.store()
    if as_json:
        with json_array() as add:
            for path in paths:
                add(_document(store, path))
        return 0
    for number, path in enumerate(paths):
        if number:
            print()
        for name, value in _document(store, path).items():
            _print(name, value)
    return 0


def _document(store: OssStore, path: str) -> dict[str, Any]:
    try:
        info = store.head_object(path)
    except NotFoundError as failure:
        advise_of_keys_below(store, path, failure)
        raise
    return {
        "uri": info.uri,
        "size": info.size,
        "etag": bare(info.etag),
        # As text, as OSS writes it: a reader of JSON may keep 53 bits of a number.
        "crc64": None if info.crc64 is None else str(info.crc64),
        "modified": moment(info.last_modified),
        "content_type": info.content_type,
        "storage_class": info.storage_class,
        "metadata": info.metadata,
    }


def advise_of_keys_below(store: OssStore, path: str, failure: NotFoundError) -> None:
    """Say it in the failure's line, where a name that was taken for an object is a prefix."""
    if failure.code == "NoSuchKey" and not path.endswith("/") and store.is_directory(path):
        failure.advise(f"there are keys below it: oss:/{path}/")


def _print(name: str, value: Any) -> None:
    if not isinstance(value, dict):
        print(f"{name:14}{'-' if value is None else printable(str(value))}")
        return
    for inner, text in sorted(value.items()):
        print(f"{name:14}{inner} = {printable(text)}")
