"""The open files: the streams of this package with what fsspec's users expect of a file besides."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

from osstorchconnector.streams import ObjectReader, ObjectWriter

if TYPE_CHECKING:
    from types import TracebackType

    from _typeshed import ReadableBuffer

    from osstorchconnector.fsspec.filesystem import OssFileSystem
    from osstorchconnector.store import ByteSink, ByteSource


class ReadFile(ObjectReader):
    """One version of an object, open for reading.

    Attributes:
        fs, path: where it is.
        details: what `fs.info` said when it was opened. An object that is replaced before the first byte of it is
            read is read as it is then.
        blocksize: what `readuntil` reads at a time.
    """

    def __init__(
        self, fs: OssFileSystem, path: str, source: ByteSource, details: dict[str, Any], blocksize: int
    ) -> None:
        # The length is left to the source: it knows which version it reads in the end.
        super().__init__(source, f"/{path}")
        self.fs = fs
        self.path = path
        self.details = details
        self.blocksize = blocksize

    @property
    def full_name(self) -> str:
        """The URI."""
        return self.uri

    @property
    def loc(self) -> int:
        """The position."""
        return self.tell()

    @loc.setter
    def loc(self, position: int) -> None:
        self.seek(position)

    def info(self) -> dict[str, Any]:
        """Return what `fs.info` said when it was opened."""
        return self.details

    def readuntil(self, char: bytes = b"\n", blocks: int | None = None) -> bytes:
        """Read up to and with the next `char`, or to the end.

        Args:
            blocks: bytes that are looked through at a time.
        """
        found = bytearray()
        while block := self.read(blocks or self.blocksize):
            # The mark may lie across two blocks.
            start = max(0, len(found) - len(char) + 1)
            found += block
            at = found.find(char, start)
            if at >= 0:
                end = at + len(char)
                self.seek(end - len(found), 1)
                return bytes(found[:end])
        return bytes(found)


class WriteFile(ObjectWriter):
    """An object that is being written; it appears whole, by `close` or the clean end of its `with`.

    Within a transaction it appears when the transaction ends well, and not before.

    Attributes:
        fs, path, mode: as it was opened.
        autocommit: False within a transaction.
    """

    def __init__(
        self, fs: OssFileSystem, path: str, mode: str, sink: ByteSink, *, autocommit: bool, blocksize: int
    ) -> None:
        super().__init__(sink, f"/{path}")
        self.fs = fs
        self.path = path
        self.mode = mode
        self.autocommit = autocommit
        self.blocksize = blocksize
        if not autocommit:
            # The transaction's own block: inside it `close` seals, and nothing is published.
            super().__enter__()

    @property
    def full_name(self) -> str:
        """The URI."""
        return self.uri

    @property
    def loc(self) -> int:
        """The position: bytes accepted so far."""
        return self.size

    def info(self) -> dict[str, Any]:
        """Refuse: what is being written is not there yet."""
        raise ValueError(f"info of {self.uri} is not available while it is written")

    def flush(self, force: bool = False) -> None:
        """Do nothing: nothing becomes visible early."""
        super().flush()

    def close(self) -> None:
        """Publish the object, or raise; in a transaction leave that to its end."""
        if not self.autocommit and not self.closed and self._exception_on_its_way() is not None:
            self.abort()
            return
        super().close()
        self.fs.invalidate_cache(self.path)

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Publish if the block ended well, abort if it raised; in a transaction the former waits for its end."""
        if raised is not None and not self.autocommit:
            self.abort()
        super().__exit__(kind, raised, trace)
        self.fs.invalidate_cache(self.path)

    def commit(self) -> None:
        """Publish, at the end of a transaction; a file whose block raised stays unpublished."""
        if not self.autocommit:
            self.autocommit = True
            self.__exit__(None, None, None)

    def discard(self) -> None:
        """Give up, at the end of a transaction that raised."""
        self.abort()


class PackedFile(io.BufferedIOBase):
    """An object that is compressed while it is written: the compressors of Python do not close what they write to.

    Args:
        file: the object, which publishes or not as it does by itself.
        packer: what compresses into it.
    """

    def __init__(self, file: WriteFile, packer: IO[bytes]) -> None:
        super().__init__()
        self._file, self._packer = file, packer
        self.fs, self.path, self.mode = file.fs, file.path, file.mode

    @property
    def closed(self) -> bool:
        """Whether no more bytes are accepted."""
        return self._file.closed

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        """Compress all of `data`; return its size in bytes."""
        return self._packer.write(data)

    def tell(self) -> int:
        """Return the position: bytes accepted so far, before they are compressed."""
        return self._packer.tell()

    def flush(self) -> None:
        """Do nothing: nothing becomes visible early."""

    def close(self) -> None:
        """Compress what is left, and publish the object, or raise; in a transaction leave that to its end."""
        if not self.closed:
            self._pack_the_rest()
            self._file.close()

    def abort(self) -> None:
        """Give up: the previous object stays."""
        self._file.abort()
        self._drop_packer()

    def __enter__(self) -> PackedFile:
        """Take over the decision to publish until the end of the block."""
        self._file.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Publish if the block ended well, abort if it raised; in a transaction the former waits for its end."""
        if raised is None:
            self._pack_the_rest()
            self._file.__exit__(None, None, None)
        else:
            self._file.__exit__(kind, raised, trace)
            self._drop_packer()

    def __del__(self) -> None:
        """Do nothing, where the base would close: what was dropped is never published, and the file says so."""

    def _pack_the_rest(self) -> None:
        try:
            self._packer.close()
        except BaseException:
            self._file.abort()
            raise

    def _drop_packer(self) -> None:
        # Else it would try to write its end, into a file that is closed, whenever it is collected.
        with suppress(Exception):
            self._packer.close()
