"""`OssCheckpoint`: readers and writers of single objects, for checkpoints and anything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from osstorchconnector.connection import OnOss
from osstorchconnector.streams import ObjectReader, ObjectWriter
from osstorchconnector.uri import location_text, object_path

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping


class OssCheckpoint(OnOss):
    """Opens objects by URI. Its streams live on their own; it can be pickled, they cannot.

    Args:
        endpoint: `http[s]://host[:port]`; None takes the environment's.
        cred_path: JSON credentials file; "" with no provider is the chain of sources.
        config_path: JSON config file; "" is the default one if it exists.
        cred_provider: an object with `get_credentials()`, or a callable.
        region: signing region; "" is inferred.
        addressing: `auto`, `virtual`, `path` or `cname`.

    Raises:
        ConfigError: `endpoint` is "", or the config file is wrong.
    """

    def reader(self, oss_uri: str | os.PathLike[str]) -> ObjectReader:
        """Open an object for reading; the first request goes out with the first read.

        One version of the object is read, from the first answer to the last.
        """
        return self.store().open_reader(_path(oss_uri))

    def writer(
        self,
        oss_uri: str | os.PathLike[str],
        *,
        size_hint_bytes: int | None = None,
        if_absent: bool = False,
        content_type: str | None = None,
        storage_class: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> ObjectWriter:
        """Open an object for writing; use it with `with`, or it is published by `close()` only.

        Args:
            size_hint_bytes: about how much will be written; it chooses the size of the parts.
            if_absent: refuse to replace an object that exists (`AlreadyExistsError`).
            content_type: `Content-Type` of the object.
            storage_class: OSS storage class, such as `IA`.
            metadata: user metadata, names without `x-oss-meta-`.
        """
        path = _path(oss_uri)
        sink = self.store().open_sink(
            path,
            size_hint_bytes=size_hint_bytes,
            if_absent=if_absent,
            content_type=content_type,
            storage_class=storage_class,
            metadata=metadata,
        )
        return ObjectWriter(sink, path)


def _path(oss_uri: str | os.PathLike[str]) -> str:
    return object_path(location_text(oss_uri, "oss_uri"))
