"""`OssDCPFileSystem`: where torch's distributed checkpoints lie, and the way to their readers and writers."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.distributed.checkpoint.filesystem import FileSystemBase

from osstorchconnector.connection import OnOss
from osstorchconnector.dcp import naming, retention
from osstorchconnector.dcp.reader import OssStorageReader
from osstorchconnector.dcp.unpickling import checked_classes
from osstorchconnector.dcp.writer import OssStorageWriter
from osstorchconnector.errors import ConfigError, NotFoundError
from osstorchconnector.streams import ObjectReader, ObjectWriter
from osstorchconnector.uri import as_uri, location_text, object_path, split

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from osstorchconnector.dcp.retention import Garbage


class OssDCPFileSystem(OnOss, FileSystemBase):
    """Distributed checkpoints on OSS; can be pickled.

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

    def reader(self, path: str | os.PathLike[str], **kwargs: Any) -> OssStorageReader:
        """Make the reader of a checkpoint, for `dcp.load(state_dict, storage_reader=...)`.

        Args:
            kwargs: `allow_classes`, `weights_only`; see `OssStorageReader`.
        """
        return OssStorageReader(self, path, **kwargs)

    def writer(self, path: str | os.PathLike[str], **kwargs: Any) -> OssStorageWriter:
        """Make the writer of a checkpoint, for `dcp.save(state_dict, storage_writer=...)`.

        Args:
            kwargs: those of torch's `FileSystemWriter` and of `OssStorageWriter`.
        """
        return OssStorageWriter(self, path, **kwargs)

    def latest(self, prefix: str | os.PathLike[str], *, allow_classes: Iterable[type] = ()) -> str | None:
        """Find the newest checkpoint below a prefix that loads: its URI, or None if there is none.

        The data objects of each candidate are looked at, newest first, until one is whole.

        Raises:
            FormatError: the metadata of one asks for a class that is not in `allow_classes`, so nothing could be said.
        """
        return retention.latest(self.store(), naming.prefix_of(prefix), checked_classes(allow_classes))

    def keep_last(
        self, prefix: str | os.PathLike[str], count: int, *, allow_classes: Iterable[type] = ()
    ) -> list[str]:
        """Remove all but the newest `count` checkpoints directly below a prefix; return the URIs of those that went.

        The newest one that loads stays in any case, and so do checkpoints further down.
        """
        return retention.keep_last(
            self.store(), naming.prefix_of(prefix), count, checked_classes(allow_classes)
        )

    def garbage(
        self,
        prefix: str | os.PathLike[str],
        *,
        grace_seconds: float = retention.GC_GRACE_SECONDS,
        allow_classes: Iterable[type] = (),
    ) -> list[str]:
        """Name the objects of replaced and of dead saves below a prefix that no checkpoint needs any more.

        Uploads of data objects that were begun and never ended are among them, as `oss://bucket/key?uploadId=...`.
        Only names that our saves give are looked at. A checkpoint whose metadata cannot be read keeps its objects.

        Args:
            grace_seconds: how long ago a save must have been replaced, or a dead one must have written its last
                object, or begun an upload. A save that is running and publishes nothing for so long would be taken
                for dead.
            allow_classes: further classes that metadata may hold.
        """
        return self._garbage(prefix, grace_seconds, allow_classes).uris()

    def collect_garbage(
        self,
        prefix: str | os.PathLike[str],
        *,
        grace_seconds: float = retention.GC_GRACE_SECONDS,
        allow_classes: Iterable[type] = (),
        progress: Callable[[int, int], None] | None = None,
    ) -> list[str]:
        """Remove what `garbage` names; return the URIs of what went.

        Args:
            progress: called now and then with how many went, and how many there were.
        """
        found = self._garbage(prefix, grace_seconds, allow_classes)
        found.remove(self.store(), progress)
        return found.uris()

    def _garbage(
        self, prefix: str | os.PathLike[str], grace_seconds: float, allow_classes: Iterable[type]
    ) -> Garbage:
        return retention.garbage(
            self.store(),
            naming.prefix_of(prefix),
            retention.checked_grace(grace_seconds),
            checked_classes(allow_classes),
        )

    @contextmanager
    def create_stream(
        self, path: str | os.PathLike[str], mode: str
    ) -> Generator[ObjectReader | ObjectWriter, None, None]:
        """Open an object: `rb` to read it, `wb` to write it, whole or not at all.

        Raises:
            ConfigError: another mode.
        """
        at = _object_path(path)
        if mode == "rb":
            with self.store().open_reader(at) as reader:
                yield reader
        elif mode == "wb":
            with ObjectWriter(self.store().open_sink(at), at) as writer:
                yield writer
        else:
            raise ConfigError(f"create_stream opens with mode 'rb' or 'wb', not {mode!r}")

    def concat_path(self, path: str | os.PathLike[str], suffix: str) -> str:
        """Join as `os.path.join` does."""
        return os.path.join(location_text(path, "path"), suffix)

    def init_path(self, path: str | os.PathLike[str]) -> str:
        """Return the text of a path.

        Raises:
            ConfigError: it is not a location on OSS.
        """
        text = location_text(path, "path")
        naming.directory_path(text)
        return text

    def rename(self, old_path: str | os.PathLike[str], new_path: str | os.PathLike[str]) -> None:
        """Copy an object within OSS and delete the source; a crash in between leaves both.

        Raises:
            NotFoundError: there is no source.
            ConfigError: source and target are the same.
        """
        source, target = _object_path(old_path), _object_path(new_path)
        if source == target:
            raise ConfigError(f"rename {as_uri(source)}: source and target are the same; name another target")
        store = self.store()
        store.head_object(source)
        store.copy(source, target)
        store.remove(source)

    def mkdir(self, path: str | os.PathLike[str]) -> None:
        """Do nothing: OSS has no directories."""

    def exists(self, path: str | os.PathLike[str]) -> bool:
        """Say whether there is an object; False for a 404 alone, any other failure raises."""
        try:
            self.store().head_object(_object_path(path))
        except NotFoundError:
            return False
        return True

    def rm_file(self, path: str | os.PathLike[str]) -> None:
        """Delete an object; a missing one is no error."""
        self.store().remove(_object_path(path))

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        """Say whether this is a location on OSS: `oss://bucket/...`, `/bucket/...`, or any `Path`."""
        if isinstance(checkpoint_id, Path):
            return True
        try:
            split(str(checkpoint_id))
        except ConfigError:
            return False
        return True


def _object_path(path: str | os.PathLike[str]) -> str:
    return object_path(location_text(path, "path"), "path")
