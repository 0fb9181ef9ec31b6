"""Local-directory mode, `endpoint=""`: the same pipeline on files, for trying it out.

`/abs/dir/` and `oss://abs/dir/` both mean the directory `/abs/dir`. Listings are recursive, files only, hidden ones
included, symbolic links passed over; keys are absolute paths in byte order. No credentials are looked for.
"""

from __future__ import annotations

import errno
import io
import os
import secrets
import shutil
from typing import TYPE_CHECKING, Any

from osstorchconnector.errors import AlreadyExistsError, ClosedError, NotFoundError
from osstorchconnector.index import MemoryIndex
from osstorchconnector.sources import PrefixSource
from osstorchconnector.streams import ObjectReader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import ReadableBuffer

    from osstorchconnector.index import IndexFile
    from osstorchconnector.store import AbandonedUpload, Positions, Reading, Row, RowIndex, Rows, RowSource


class LocalStore:
    """Files as objects; see `osstorchconnector.store.Store`."""

    def open_index(self, source: RowSource, file: IndexFile) -> RowIndex:
        """Read the rows into memory: each process for itself."""
        if isinstance(source, PrefixSource):
            # Files of no bytes are delivered here, as the original's map dataset did.
            return MemoryIndex(self.rows(source.path))
        return MemoryIndex(source.rows(self))

    def growing_index(self, source: RowSource, file: IndexFile, rows_of_round: int) -> None:
        """Return None: a directory is listed at once."""

    def unpack_index(self, data: bytes, file: IndexFile) -> None:
        """Refuse as `MemoryIndex.pack`."""
        MemoryIndex(()).pack()

    def prefetch(self, index: Rows, positions: Positions, reading: Reading) -> LocalDeliveries:
        """Read whole files, one after the other."""
        return LocalDeliveries(self, index, positions, reading)

    def fetch(self, row: Row) -> bytes:
        """Read one whole file."""
        with _opened(row[0]) as file:
            data: bytes = file.read()
        return data

    def rows(self, prefix: str) -> Iterator[Row]:
        """List a directory.

        Raises:
            NotFoundError: it does not exist.
            NotADirectoryError: it is a file.
        """
        root = prefix.rstrip("/") or "/"
        if not os.path.exists(root):
            raise NotFoundError(
                f"list {root}: the directory does not exist; in local mode a prefix is a directory"
            )
        if not os.path.isdir(root):
            raise NotADirectoryError(
                errno.ENOTDIR, "in local mode a prefix is a directory, this is a file", root
            )
        found = ((file.path, file.stat(follow_symlinks=False).st_size) for file in _files_below(root))
        return iter(
            [(path, size, None, "") for path, size in sorted(found, key=lambda file: os.fsencode(file[0]))]
        )

    def head(self, path: str) -> int:
        """Return the size of a file."""
        if not os.path.isfile(path):
            raise _missing(path)
        return os.stat(path).st_size

    def is_directory(self, path: str) -> bool:
        """Say whether it is one."""
        return os.path.isdir(path)

    def open_reader(
        self, path: str, size: int | None = None, etag: str | None = None, label: str = ""
    ) -> ObjectReader:
        """Open a file."""
        file = _opened(path)
        return ObjectReader(file, path, os.fstat(file.fileno()).st_size, label)

    def open_sink(self, path: str, **options: Any) -> LocalSink:
        """Open a temporary file that takes the name when it is published."""
        return LocalSink(path)

    def put(self, path: str, data: ReadableBuffer, *, if_absent: bool = False, **options: Any) -> None:
        """Write a file, whole or not at all; it has no version tag.

        Raises:
            AlreadyExistsError: with `if_absent`, there is one.
        """
        sink = LocalSink(path)
        try:
            sink.write(data)
            sink.publish(if_absent=if_absent)
        except BaseException:
            sink.abandon()
            raise

    def copy(self, source: str, target: str, size: int | None = None) -> None:
        """Copy a file, whole or not at all."""
        sink = LocalSink(target)
        try:
            with _opened(source) as file:
                shutil.copyfileobj(file, sink.file)
        except BaseException:
            sink.abandon()
            raise
        sink.publish()

    def remove(self, path: str) -> None:
        """Remove a file; a missing one is no error."""
        try:
            os.unlink(path)
        except FileNotFoundError:
            return

    def abandoned_uploads(self, prefix: str, older_than_seconds: float = 0.0) -> list[AbandonedUpload]:
        """Return nothing: files are not uploaded."""
        return []

    def remove_abandoned(self, upload: AbandonedUpload) -> None:
        """Do nothing: files are not uploaded."""

    def stats(self) -> dict[str, int | float]:
        """Return nothing: there are no requests."""
        return {}


class LocalDeliveries:
    """Whole files in the order asked for."""

    def __init__(self, store: LocalStore, index: Rows, positions: Positions, reading: Reading) -> None:
        self._store = store
        self._index = index
        self._positions = iter(positions)
        self._reading = reading
        self.wait_seconds = 0.0

    def __iter__(self) -> LocalDeliveries:
        """Return itself."""
        return self

    def __next__(self) -> tuple[int, bytes | Exception | None]:
        """Read the next file."""
        position = next(self._positions)
        order = self._reading.order
        row = self._index.row(position if order is None else order.row_at(position))
        try:
            return position, self._store.fetch(row)
        except NotFoundError as failure:
            return position, None if self._reading.skip_missing else failure

    def close(self) -> None:
        """Stop."""
        self._positions = iter(())


class LocalSink:
    """A temporary file beside the target; see `osstorchconnector.store.ByteSink`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._owner = os.getpid()
        self._is_aborted = False
        os.makedirs(os.path.dirname(path), exist_ok=True)
        # Not `tempfile`, whose files are private: the object is to be as readable as any new file.
        name = f".osstorchconnector-{secrets.token_hex(8)}"
        self._temporary = os.path.join(os.path.dirname(path), name)
        self.file = open(self._temporary, "xb")  # noqa: SIM115  (publish and abort close it)
        self.bytes_accepted = 0

    @property
    def forked(self) -> bool:
        """Whether this is a child's copy."""
        return os.getpid() != self._owner

    @property
    def crc64(self) -> int:
        """Refuse: a file has no checksum to compare it with.

        Raises:
            io.UnsupportedOperation: always.
        """
        raise io.UnsupportedOperation("crc64: files of local-directory mode have no checksum")

    @property
    def parts(self) -> list[tuple[int, int]]:
        """Return none: a file is not cut."""
        return []

    @property
    def timings(self) -> tuple[float, float, float]:
        """Measure nothing: there are no stages."""
        return 0.0, 0.0, 0.0

    def write(self, data: Any, /) -> int:
        """Write all of `data`."""
        size_bytes = memoryview(data).nbytes
        self.file.write(data)
        self.bytes_accepted += size_bytes
        return size_bytes

    def seal(self) -> None:
        """Flush to the file."""
        self.file.flush()

    def publish(self, *, if_absent: bool = False) -> None:
        """Give the file its name; it replaces an older one at once, unless `if_absent`.

        Raises:
            ClosedError: another thread aborted it.
        """
        try:
            self.file.close()
            self._give_name(if_absent=if_absent)
        except FileNotFoundError:
            if self._is_aborted:
                raise self._closed("it was aborted by another thread") from None
            raise

    def _give_name(self, *, if_absent: bool) -> None:
        if not if_absent:
            os.replace(self._temporary, self._path)
            return
        try:
            os.link(self._temporary, self._path)
        except FileExistsError:
            raise AlreadyExistsError(
                f"write {self._path}: the file exists, and if_absent forbids to replace it", operation="write"
            ) from None
        os.unlink(self._temporary)

    def abort(self) -> None:
        """Remove the temporary file.

        Raises:
            ClosedError: it has its name already.
        """
        self.file.close()
        if self.forked:
            return
        self._is_aborted = True
        try:
            os.unlink(self._temporary)
        except FileNotFoundError:
            raise self._closed("it is published") from None

    def abandon(self) -> None:
        """Abort, whatever the state."""
        try:
            self.abort()
        except OSError:
            return

    def _closed(self, why: str) -> ClosedError:
        return ClosedError(
            f"write {self._path}: this writer takes nothing any more: {why}; open a new one",
            operation="write",
        )


def _files_below(directory: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files_below(entry.path)
            elif entry.is_file(follow_symlinks=False):
                yield entry


def _opened(path: str) -> Any:
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise _missing(path) from None


def _missing(path: str) -> NotFoundError:
    return NotFoundError(f"open {path}: the file does not exist", operation="open", code="NoSuchKey")
