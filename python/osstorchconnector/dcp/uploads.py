"""Data objects that a killed rank was uploading in parts: nobody sees them, their parts cost storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from osstorchconnector.dcp import naming
from osstorchconnector.uri import as_uri

if TYPE_CHECKING:
    from collections.abc import Iterable

    from osstorchconnector.connection import OssStore
    from osstorchconnector.store import AbandonedUpload


def of_dead_saves(store: OssStore, prefix: str, grace_seconds: float) -> list[AbandonedUpload]:
    """Find open uploads of our data objects below `/bucket/prefix/`, whatever checkpoint they are of.

    One of a live save is dead as well: its data objects are whole, so the upload is not the one that made them so.

    Args:
        grace_seconds: how long ago an upload must have been begun.
    """
    found = store.abandoned_uploads(prefix, grace_seconds)
    return [upload for upload in found if naming.save_of_shard(upload.uri.rpartition("/")[2])]


def of_checkpoint(store: OssStore, path: str, grace_seconds: float) -> list[AbandonedUpload]:
    """Find those of one checkpoint alone, and not of others that lie below its path."""
    base = as_uri(f"{path}/")
    found = of_dead_saves(store, f"{path}/", grace_seconds)
    return [upload for upload in found if naming.save_of_shard(upload.uri.removeprefix(base))]


def abort(store: OssStore, uploads: Iterable[AbandonedUpload]) -> None:
    """End uploads; one that is gone is no error."""
    for upload in uploads:
        store.remove_abandoned(upload)


def uri_of(upload: AbandonedUpload) -> str:
    """Name an upload as OSS does: the object, and which upload to it."""
    return f"{upload.uri}?uploadId={upload.upload_id}"
