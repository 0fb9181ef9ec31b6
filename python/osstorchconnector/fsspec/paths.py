"""Paths as fsspec's users write them, and what is at a path as fsspec describes it."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from osstorchconnector.store import Entry

Info = dict[str, Any]


def stripped(path: str | os.PathLike[str]) -> str:
    """Return `bucket/key` for `oss://bucket/key`, `/bucket/key`, or a path object of either.

    One slash at the end is how fsspec writes a directory, so it is taken off, and so are more.
    """
    text = os.fspath(path)
    for scheme in ("oss://", "oss::", "oss:/"):
        if text.startswith(scheme):
            text = text[len(scheme) :]
            break
    return text.removeprefix("/").rstrip("/")


def parent(path: str) -> str:
    """Return the directory that a stripped path is in; of a bucket it is ""."""
    return path.rpartition("/")[0]


def location(path: str) -> str:
    """Write a stripped path as the stores know it."""
    return f"/{path}"


def directory(path: str) -> Info:
    """Describe a directory: a bucket, or what keys begin with."""
    return {"name": path, "size": 0, "type": "directory"}


def file(path: str, size: int, etag: str | None, changed: float | None, **more: Any) -> Info:
    """Describe an object."""
    when = datetime.fromtimestamp(changed, timezone.utc) if changed else None
    return {"name": path, "size": size, "type": "file", "ETag": etag or "", "LastModified": when, **more}


def listed(entry: Entry) -> Info:
    """Describe a line of a listing; a key that ends with a slash marks a directory."""
    key, size, etag, changed = entry
    name = key.removeprefix("/")
    if size is None or name.endswith("/"):
        return directory(name.removesuffix("/"))
    return file(name, size, etag, changed)


def between(root: str, path: str) -> list[str]:
    """Return the directories above `path`, from the one next to `root` down."""
    names = path[len(root) + 1 :].split("/")[:-1] if root else path.split("/")[:-1]
    above = []
    at = root
    for name in names:
        at = f"{at}/{name}" if at else name
        above.append(at)
    return above
