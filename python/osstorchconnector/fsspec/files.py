"""The open files: the streams of this package with what fsspec's users expect of a file besides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from osstorchconnector.streams import ObjectReader, ObjectWriter

if TYPE_CHECKING:
    from types import TracebackType

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
