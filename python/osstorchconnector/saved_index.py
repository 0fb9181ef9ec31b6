"""Where a packed index is kept: a path of this machine, or an object. Written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from osstorchconnector.errors import NotFoundError
from osstorchconnector.local import LocalSink
from osstorchconnector.uri import SCHEME, object_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from osstorchconnector.store import Store


def write(open_store: Callable[[], Store], location: str, packed: bytes) -> None:
    """Write it, in place of what is there."""
    if location.startswith(SCHEME):
        open_store().put(object_path(location, "location"), packed)
        return
    sink = LocalSink(os.path.abspath(location))
    try:
        sink.write(packed)
        sink.publish()
    except BaseException:
        sink.abandon()
        raise


def read(open_store: Callable[[], Store], location: str, remedy: str) -> bytes:
    """Read it.

    Args:
        open_store: asked only where an object is meant.
        location: path or URI.
        remedy: what the user is told to do where nothing is.

    Raises:
        NotFoundError: there is no such file or object.
    """
    if location.startswith(SCHEME):
        try:
            return open_store().fetch((object_path(location, "location"), None, None, ""))
        except NotFoundError as failure:
            failure.advise(remedy)
            raise
    try:
        return Path(location).read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"load {location}: there is no such file; {remedy}") from None
