"""`OssClient`: the original's low-level calls, by bucket and key."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NoReturn

from osstorchconnector.connection import Connection
from osstorchconnector.data_object import DataObject, checked_label
from osstorchconnector.errors import ConfigError, NotFoundError
from osstorchconnector.measures import shown
from osstorchconnector.object_index import ObjectIndex
from osstorchconnector.streams import ObjectWriter
from osstorchconnector.uri import location_text, object_path, prefix_path, shown_endpoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from osstorchconnector.store import AbandonedUpload, Store

# The original's `type` of an object: a member of a tar archive.
_TAR_MEMBER = 3

Named = DataObject | str | os.PathLike[str]


class OssClient:
    """Single calls on objects. Errors are classes of `osstorchconnector.errors`; every call waits without the GIL.

    Args:
        endpoint: `http[s]://host[:port]`; None takes the environment's, "" is local-directory mode.
        cred_path: JSON credentials file; "" with no provider is the chain of sources.
        config_path: JSON config file; "" is the default one if it exists.
        uuid, id, total: accepted for the original's sake, without effect.
        cred_provider: an object with `get_credentials()`, or a callable.
        region: signing region; "" is inferred.
        addressing: `auto`, `virtual`, `path` or `cname`.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        cred_path: str | os.PathLike[str] | None = "",
        config_path: str | os.PathLike[str] | None = "",
        uuid: str = "",
        id: int = 0,  # noqa: A002  (the contract's name)
        total: int = 1,
        cred_provider: Any = None,
        region: str | None = "",
        *,
        addressing: str | None = None,
    ) -> None:
        self._connection = Connection(endpoint, cred_path, config_path, cred_provider, region, addressing)

    @classmethod
    def over(cls, connection: Connection) -> OssClient:
        """Make a client over an existing connection."""
        client = cls.__new__(cls)
        client._connection = connection  # noqa: SLF001  (its own)
        return client

    def get_object(self, bucket: str, key: str, size: int = 0, type: int = 0, label: str = "") -> DataObject:  # noqa: A002  (the contract's name)
        """Open an object for reading.

        Args:
            size: no effect; what is read is as long as it is.
            type: how the original read ahead (0, 1, 2); no effect. 3, a tar member, is not in this release.
        """
        if type == _TAR_MEMBER:
            _not_yet("OssClient.get_object(type=3)")
        return self._store.open_reader(_path(bucket, key), label=checked_label(label))

    def put_object(self, bucket: str, key: str) -> DataObject:
        """Open an object for writing; use it with `with`."""
        path = _path(bucket, key)
        return ObjectWriter(self._store.open_sink(path), path)

    def head_object(self, bucket: str, key: str) -> DataObject:
        """Return a detached object with key and size; a "directory", with keys below `key/`, has size 0.

        Raises:
            NotFoundError: there is neither.
        """
        path = _path(bucket, key)
        store = self._store
        try:
            return DataObject(path, store.head(path))
        except NotFoundError:
            if not store.is_directory(path):
                raise
            return DataObject(path, 0)

    def rename_object(self, bucket: str, key: str, new_bucket: str, new_key: str) -> None:
        """Copy an object and delete the source; not atomic, as OSS has no rename.

        Raises:
            ConfigError: source and target are the same.
            NotFoundError: the source is missing.
        """
        source, target = _path(bucket, key), _path(new_bucket, new_key)
        if source == target:
            raise ConfigError(f"rename oss:/{source}: source and target are the same object")
        size = self._store.head(source)
        self._store.copy(source, target, size)
        self._store.remove(source)

    def remove_object(self, bucket: str, key: str) -> None:
        """Delete an object; a missing one is no error."""
        self._store.remove(_path(bucket, key))

    def list_objects(self, bucket: str, prefix: str = "") -> Iterator[DataObject]:
        """Yield readable objects below a prefix in byte order of keys, zero-byte ones left out."""
        if not bucket:
            raise ConfigError("bucket is empty")
        store = self._store
        for path, size, etag, label in store.rows(f"/{bucket}/{prefix}"):
            if size:
                yield store.open_reader(path, size, etag, label)

    def list_objects_with_preload(
        self, bucket: str, prefix: str = "", include_errors: bool = False
    ) -> Iterator[DataObject]:
        """Yield the same objects as `list_objects`; each is fetched when it is read."""
        return self.list_objects(bucket, prefix)

    def list_objects_from_uris(
        self, object_uris: Named | Iterable[Named], prefetch: bool = False, include_errors: bool = False
    ) -> Iterator[DataObject]:
        """Yield readable objects for names.

        Args:
            object_uris: DataObjects, `str` or path objects.
            prefetch: no effect; each object is fetched when it is read.
            include_errors: ask for each object first, and yield one that fails with its `err()` set.
        """
        named = [object_uris] if isinstance(object_uris, DataObject | str | os.PathLike) else object_uris
        store = self._store
        for item in named:
            yield _opened(store, item, include_errors)

    def list_objects_from_uris_with_preload(
        self, object_uris: Named | Iterable[Named], include_errors: bool = False
    ) -> Iterator[DataObject]:
        """Do as `list_objects_from_uris`."""
        return self.list_objects_from_uris(object_uris, True, include_errors)

    def list_objects_from_tar(self, *arguments: Any, **options: Any) -> NoReturn:
        """Refuse: tar archives are not in this release."""
        _not_yet("OssClient.list_objects_from_tar")

    def gen_tar_archive(self, *arguments: Any, **options: Any) -> NoReturn:
        """Refuse: tar archives are not in this release."""
        _not_yet("OssClient.gen_tar_archive")

    def build_index(
        self, oss_uri: str | os.PathLike[str], *, include_empty: bool = False, progress: bool = False
    ) -> ObjectIndex:
        """List everything below a prefix into an index, over many ranges of keys at a time.

        Args:
            oss_uri: `oss://bucket/prefix`, plain string prefix.
            include_empty: zero-byte objects whose key does not end in `/` too.
            progress: a bar on stderr.

        Raises:
            EmptyDatasetError: there is nothing.
        """
        return ObjectIndex.listed(self._connection, oss_uri, include_empty=include_empty, progress=progress)

    def save_index(self, index: ObjectIndex, location: str | os.PathLike[str]) -> int:
        """Write an index to a path or `oss://` URI, whole or not at all; return the bytes, about 20 an object."""
        return index.save(self._connection, location)

    def load_index(self, location: str | os.PathLike[str]) -> ObjectIndex:
        """Load what `save_index` wrote.

        Raises:
            NotFoundError: there is no such file or object.
            FormatError: it is no whole index of this version.
        """
        return ObjectIndex.loaded(self._connection, location)

    def abandoned_uploads(
        self, prefix: str | os.PathLike[str], older_than_seconds: float = 0.0
    ) -> list[AbandonedUpload]:
        """Find uploads that were begun and never ended: what a killed save leaves. Nothing is removed.

        Args:
            prefix: `oss://bucket/prefix`; uploads to keys that begin with it are found.
            older_than_seconds: an upload that is still being written looks the same, so give an age that no save of
                yours reaches.
        """
        path = prefix_path(location_text(prefix, "prefix"), "prefix")
        return self._store.abandoned_uploads(path, older_than_seconds)

    def remove_abandoned(self, upload: AbandonedUpload) -> None:
        """Remove what an upload left behind; no object changes. One that is gone is no error."""
        self._store.remove_abandoned(upload)

    def stats(self) -> dict[str, int | float]:
        """Return this client's counters; names and units are in docs/stats.md."""
        return shown(self._store.stats())

    @property
    def _store(self) -> Store:
        return self._connection.store()

    def __repr__(self) -> str:
        """Name the endpoint."""
        return f"OssClient(endpoint={shown_endpoint(self._connection.endpoint)!r})"


def _path(bucket: str, key: str) -> str:
    if not bucket or not key:
        raise ConfigError(f"bucket and key are both needed, got bucket {bucket!r} and key {key!r}")
    return f"/{bucket.strip('/')}/{key}"


def _opened(store: Store, item: Named, include_errors: bool) -> DataObject:
    """Make one name readable, and ask for it first if its failure is wanted as an object."""
    label = ""
    if isinstance(item, DataObject):
        path, label = object_path(item.uri, "object_uris"), checked_label(item.label)
    else:
        path = object_path(location_text(item, "object_uris"), "object_uris")
    if not include_errors:
        return store.open_reader(path, label=label)
    try:
        reader = store.open_reader(path, label=label)
        # The size is what a reader asks for first, so here it fails if it must.
        _ = reader.size
    except OSError as failure:
        failed = DataObject(path, None, label)
        failed.fail_with(failure)
        return failed
    return reader


def _not_yet(what: str) -> NoReturn:
    raise NotImplementedError(f"{what} is not in this release: it comes with the tar archives")
