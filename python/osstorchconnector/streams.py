"""The two streams: `ObjectReader` over any source of bytes, `ObjectWriter` over the write engine.

Who may publish is decided here, by the rules of `docs/semantics.md`: `close()` called by the program and the clean end
of the writer's own `with` block publish; an exception, a dropped handle, interpreter exit and a forked child never do.
"""

from __future__ import annotations

import atexit
import logging
import operator
import os
import sys
import threading
import warnings
import weakref
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple, SupportsIndex

from osstorchconnector import _native, logs
from osstorchconnector.checksum import crc64
from osstorchconnector.data_object import DataObject
from osstorchconnector.errors import (
    ClosedError,
    ConfigError,
    ForkedHandleError,
    ObjectChangedError,
    OssError,
    UploadError,
)
from osstorchconnector.memory import copied, viewed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from _typeshed import ReadableBuffer, WriteableBuffer
    from typing_extensions import Self

    from osstorchconnector.memory import HostStorage
    from osstorchconnector.store import ByteSink, ByteSource

_log = logging.getLogger(__name__)

# `read1` without a size gives what is cheap to give at once; one such slice keeps the read-ahead busy.
_READ1_BYTES = 128 * 1024

# Exceptions that end a program or a generator: leaving quietly is what their raiser wants.
_LEAVING = (KeyboardInterrupt, SystemExit, GeneratorExit)


class ObjectReader(DataObject):
    """A read-only stream over one version of one object.

    One stream is for one thread at a time; different streams are independent.

    Args:
        source: where the bytes come from.
        path: `/bucket/key`.
        length: the true size in bytes; None lets the source find out when it is asked for.
        label: see `DataObject`.
    """

    __slots__ = ("_length", "_source")

    mode = "rb"

    def __init__(self, source: ByteSource, path: str, length: int | None = None, label: str = "") -> None:
        # Every sample passes here; without the base's constructor it takes half the time.
        self.key = self._path = path
        self.label = label
        self._size = self._failure = None
        self._source: ByteSource | None = source
        self._length = length

    @classmethod
    def of_bytes(cls, data: bytes, path: str, label: str = "") -> Self:
        """Wrap an object whose bytes are here; reading it whole returns that very `bytes` object."""
        return cls(BytesIO(data), path, len(data), label)

    def carry(self) -> tuple[Callable[..., ObjectReader], tuple[bytes, str, str, int]]:
        """Reduce an object whose bytes are here, for the queue between a DataLoader's worker and its owner.

        Raises:
            TypeError: its bytes are elsewhere.
        """
        if isinstance(self._source, BytesIO):
            return _carried, (self._source.getvalue(), self._path, self.label, self._source.tell())
        raise self._uncopyable()

    @property
    def size(self) -> int:
        """Bytes of the object; asks OSS if it is not known yet."""
        if self._size is not None:
            return self._size
        return self._true_length() if self._source is not None or self._length is not None else 0

    @size.setter
    def size(self, value: int) -> None:
        self._size = value

    def pinned(self) -> tuple[int | None, str | None]:
        """Return size and ETag of the version that is read, if both are known without asking."""
        etag = getattr(self._source, "etag", None)
        return (None, None) if etag is None else (self._true_length(), etag)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._source is None

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def writable(self) -> bool:
        """Return False."""
        return False

    def read(self, size: int | None = -1, *, count: int | None = None) -> bytes:
        """Read exactly `size` bytes, fewer only at the end; all that is left for -1 and None.

        Args:
            count: the original's name for `size`.
        """
        # First of all: with an exception standing, the next lookup may lose it.
        _native.raise_left_standing()
        wanted = size if count is None else count
        if wanted is None or wanted < 0 or wanted > sys.maxsize:
            wanted = -1
        source = self._source
        if wanted == -1 and type(source) is BytesIO:
            # Nothing of it can fail, and nearly every sample is read so.
            self._failure = None
            return source.read()
        source = self._opened()
        data = self._do(source.read, wanted)
        if wanted < 0:
            # Many a program reads everything, and never closes.
            logs.emit_waiting()
        return data

    def read1(self, size: int = -1) -> bytes:
        """Read at most `size` bytes, for -1 as many as are cheap."""
        return self.read(_READ1_BYTES if size < 0 else size)

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill a writable C-contiguous buffer; return the bytes filled, 0 at the end.

        Large buffers are filled by parallel ranges, straight into the memory.

        Raises:
            BufferError: the buffer is read-only or not contiguous.
        """
        source = self._opened()
        try:
            view = memoryview(buffer)
        except TypeError as refused:
            raise TypeError(self._needs_memory(f", not {type(buffer).__name__}")) from refused
        with view:
            if view.readonly or not view.c_contiguous:
                raise BufferError(self._needs_memory("; copy it, or fill a bytearray"))
            if view.nbytes == 0:
                return 0
            with view.cast("B") as octets:
                return self._do(source.readinto, octets)

    def readinto_ranges(self, ranges: Iterable[tuple[int, WriteableBuffer]]) -> list[int]:
        """Fill each buffer with the bytes from its offset on, in parallel; return the CRC-64 of each.

        All bytes are of the version that is read; the position stays. Neighbours and near neighbours travel in one
        request, large ranges in several. Ranges may come in any order and overlap; the buffers may not.

        Args:
            ranges: (offset, writable C-contiguous buffer); the buffer's size is that of the range.

        Raises:
            ConfigError: a range does not lie in the object (a `ValueError`); nothing was read.
            BufferError: a buffer is read-only or not contiguous.
        """
        source = self._opened()
        fill: Callable[..., list[int]] | None = getattr(source, "readinto_ranges", None)
        if fill is not None:
            return self._do(fill, ranges)
        return self._do(self._fill_one_by_one, source, ranges)

    def _fill_one_by_one(
        self, source: ByteSource, ranges: Iterable[tuple[int, WriteableBuffer]]
    ) -> list[int]:
        """Do as the native reader does, with a file or with bytes in memory."""
        views = [(offset, memoryview(buffer)) for offset, buffer in ranges]
        length, position = self._true_length(), source.tell()
        for offset, view in views:
            if view.readonly or not view.c_contiguous:
                raise BufferError("readinto_ranges needs writable C-contiguous buffers")
            if offset < 0 or offset + view.nbytes > length:
                raise ConfigError(
                    f"read {self.uri}: bytes {offset}..{offset + view.nbytes} were asked for, and the object has "
                    f"{length}; ask within it",
                    operation="read",
                    uri=self.uri,
                )
        try:
            return [_filled(source, offset, view) for offset, view in views]
        finally:
            source.seek(position)

    def readline(self, size: int | None = -1) -> bytes:
        r"""Read one line and its `\n`, at most `size` bytes unless negative; `b""` at the end."""
        wanted = -1 if size is None or size < 0 else size
        return self._do(self._opened().readline, wanted)

    def seek(self, offset: SupportsIndex, whence: int = os.SEEK_SET) -> int:
        """Move to `offset` bytes from the start (0), the position (1) or the end (2); past the end is allowed.

        Raises:
            ValueError: the position would be negative, or `whence` is none of these.
        """
        source = self._opened()
        position = operator.index(offset)
        if whence == os.SEEK_CUR:
            position += source.tell()
        elif whence == os.SEEK_END:
            position += self._true_length()
        elif whence != os.SEEK_SET:
            raise ValueError(f"whence must be 0, 1 or 2, not {whence!r}")
        if position < 0:
            raise ValueError(f"negative position {position}")
        return self._do(source.seek, position)

    def tell(self) -> int:
        """Return the position."""
        return self._opened().tell()

    def flush(self) -> None:
        """Do nothing: there is nothing to write."""
        self._opened()

    def close(self) -> None:
        """Give everything back; a second call does nothing."""
        source, self._source = self._source, None
        if source is not None:
            source.close()
            if not isinstance(source, BytesIO):
                logs.emit_waiting()

    def __enter__(self) -> Self:
        """Return itself.

        Raises:
            ClosedError: it was closed.
        """
        self._opened()
        return self

    def _needs_memory(self, instead: str) -> str:
        return f"readinto {self.uri}: a writable C-contiguous buffer is needed{instead}"

    def _opened(self) -> ByteSource:
        if self._source is None:
            raise ClosedError(
                f"read {self.uri}: the stream is closed; open it again", operation="read", uri=self.uri
            )
        return self._source

    def _true_length(self) -> int:
        if self._length is None:
            # Only native sources come without a length; they learn it from their first answer.
            self._length = self._do(lambda: int(self._opened().size))  # type: ignore[attr-defined]
        return self._length


def _filled(source: ByteSource, offset: int, view: memoryview) -> int:
    """Fill `view` from `offset` on; return its CRC-64."""
    if view.nbytes == 0:
        return 0
    with view.cast("B") as octets:
        source.seek(offset)
        if source.readinto(octets) < octets.nbytes:
            raise ObjectChangedError(
                f"read at {offset}: the file became shorter while it was read; open it again"
            )
        return crc64(octets)


def _carried(data: bytes, path: str, label: str, position: int) -> ObjectReader:
    reader = ObjectReader.of_bytes(data, path, label)
    reader.seek(position)
    return reader


class WriteTimings(NamedTuple):
    """The stages of a save, in seconds. Together they are the time from its first byte to now, or to its end.

    Attributes:
        serialise_seconds: the program made the bytes, and they were copied and summed up.
        upload_seconds: the program waited for bytes to reach OSS, while it wrote or closed.
        settle_seconds: the object was made visible and verified.
    """

    serialise_seconds: float
    upload_seconds: float
    settle_seconds: float


class ObjectWriter(DataObject):
    """A write-only stream into one object, which appears whole or not at all.

    The previous object stays readable until the new one is published. Use it with `with`: an exception in the block
    aborts, and then nothing was saved.
    """

    __slots__ = (
        "_broken_by",
        "_closed",
        "_failed_write",
        "_present_at_opening",
        "_publisher",
        "_settled",
        "_sink",
        "_with_depth",
    )

    mode = "wb"

    def __init__(self, sink: ByteSink, path: str) -> None:
        super().__init__(path)
        self._sink = sink
        self._closed = self._settled = False
        # The thread that publishes.
        self._publisher: int | None = None
        self._with_depth = 0
        # By its `id`: holding it would make a cycle, and a writer that is dropped tells of it at once.
        self._failed_write: int | None = None
        # The exception that left an inner `with` and was swallowed before the end of the outer one.
        self._broken_by: BaseException | None = None
        # What was being handled when the writer was made says nothing about what is written to it.
        self._present_at_opening = sys.exc_info()[1]
        _watch(self)

    @property
    def size(self) -> int:
        """Bytes accepted so far."""
        return self._size if self._size is not None else self._sink.bytes_accepted

    @size.setter
    def size(self, value: int) -> None:
        self._size = value

    @property
    def crc64(self) -> int:
        """CRC-64/XZ of the bytes accepted so far; once closed, that of the object."""
        return self._sink.crc64

    @property
    def parts(self) -> list[tuple[int, int]]:
        """Size and CRC-64/XZ of each part in which a closed writer's object was uploaded, in order; [] if in one piece."""
        return self._sink.parts

    @property
    def timings(self) -> WriteTimings:
        """How long the stages took so far; all zero in local-directory mode."""
        return WriteTimings(*self._sink.timings)

    @property
    def closed(self) -> bool:
        """Whether no more bytes are accepted."""
        return self._closed

    def readable(self) -> bool:
        """Return False."""
        return False

    def seekable(self) -> bool:
        """Return False."""
        return False

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: ReadableBuffer | HostStorage) -> int:
        """Accept all of `data` and return its size in bytes; the buffer may be reused at once.

        Blocks, without the GIL, while the window of unsent bytes is full.

        Args:
            data: anything with a buffer, strided ones included; or a storage of a torch tensor, of any dtype.

        Raises:
            ClosedError: the writer was closed.
            TypeError: `data` is none of these; of a tensor, write `tensor.untyped_storage()`.
            ValueError: a storage that is not in the memory of this machine.
        """
        self._refuse_if_closed()
        with self._viewed(data) as view:
            if view.nbytes == 0:
                return self._send(b"")
            if not view.c_contiguous:
                return sum(self._send(piece) for piece in copied(view))
            with view.cast("B") as octets:
                return self._send(octets)

    def seek(self, offset: SupportsIndex, whence: int = os.SEEK_SET) -> int:
        """Refuse: what was written is on its way."""
        self._refuse("seek", "write into an io.BytesIO first, and then its getbuffer()")

    def _send(self, octets: bytes | memoryview) -> int:
        try:
            return self._do(self._sink.write, octets)
        except BaseException as failure:
            self._failed_write = id(failure)
            raise

    def _viewed(self, data: ReadableBuffer | HostStorage) -> memoryview:
        """Return a view of `data`; a refusal names the object."""
        try:
            return viewed(data)
        except (TypeError, ValueError) as refused:
            raise type(refused)(f"write {self.uri}: {refused}") from refused

    def flush(self) -> None:
        """Do nothing: nothing becomes visible early."""
        self._refuse_if_closed()

    def tell(self) -> int:
        """Return the bytes accepted so far."""
        self._refuse_if_closed()
        return self._sink.bytes_accepted

    def close(self) -> None:
        """Publish the object, or raise; a second call does nothing.

        Inside the writer's own `with` the publishing waits for the end of the block. While an exception is on its way
        out nothing is published: `KeyboardInterrupt`, `SystemExit` and `GeneratorExit` go on, any other is chained
        to an `UploadError`.
        """
        if self._closed:
            return
        self._refuse_in_child()
        if self._with_depth:
            self._closed = True
            self._do(self._sink.seal)
            return
        leaving = self._exception_on_its_way()
        if leaving is None:
            self._publish_or_abandon()
            return
        self._closed = True
        self._give_up(leaving)
        if not isinstance(leaving, _LEAVING):
            raise self._not_published(leaving, "is on its way out") from leaving

    def abort(self) -> None:
        """Give up: the previous object stays, and what was sent is removed.

        Ends the `close` of another thread too, with `ClosedError` there. In a signal handler that runs inside the
        `close` of its own thread it does nothing: raise, to end that.

        Raises:
            ClosedError: that `close` had published the object already.
            UploadError: with the state `unknown`, here and there: that `close` had sent what publishes the object, it
                could not be called back, and the object may become visible all the same.
        """
        if self._publishes_elsewhere() or not self._settled:
            self._refuse_in_child()
            # Closed first: another thread that writes on and on must not keep this one from its turn.
            self._closed = True
            with logs.emitting():
                try:
                    self._do(self._sink.abort)
                except OssError:
                    self._settled = True
                    raise
            self._settled = True

    def __enter__(self) -> Self:
        """Take over the decision to publish until the end of the block."""
        self._refuse_if_closed()
        self._with_depth += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Publish if the block ended well, abort if it raised."""
        self._with_depth -= 1
        if self._with_depth:
            if raised is not None and not self._settled:
                # The stream is broken, whatever becomes of the exception in an outer block.
                self._broken_by = raised
                self._break_off(raised)
            return
        broken_by, self._broken_by = self._broken_by, None
        if broken_by is not None and raised is None:
            raise self._not_published(broken_by, "left an inner `with` of the writer") from broken_by
        if self._settled:
            return
        if raised is None:
            self._refuse_in_child()
            self._publish_or_abandon()
        else:
            self._break_off(raised)

    def _hidden_by(self, raised: BaseException) -> BaseException | None:
        """Return the failed write that torch hides behind `unexpected pos`.

        Its writer of archives goes on to write the archive's end, whatever happened, and raises what comes of that:
        a plain RuntimeError, even after Ctrl-C. Who raises an error of a class of their own, or with a cause, means it.
        """
        if self._failed_write is None or type(raised) is not RuntimeError or raised.__cause__ is not None:
            return None
        before = raised.__context__
        while before is not None and id(before) != self._failed_write:
            before = before.__context__
        return before

    def __del__(self) -> None:
        """Abandon what was not closed, and say so; never publish."""
        # A constructor that failed leaves an object without these slots.
        if getattr(self, "_settled", True) or self._sink.forked:
            return
        self._settled = self._closed = True
        self._sink.abandon()
        text = f"writer for {self.uri} dropped without close(): NOTHING WAS SAVED; use 'with'"
        _log.error(text)
        warnings.warn(text, ResourceWarning, source=self, stacklevel=2)

    def _dealloc_warn(self, source: object) -> None:
        """Abandon, as a text or buffered wrapper that was dropped is about to call `close`: the io module tells so."""
        self.__del__()

    def _not_published(self, because: BaseException, what: str) -> UploadError:
        return UploadError(
            f"close {self.uri}: not published, because {type(because).__name__} {what}: NOTHING WAS SAVED; write "
            "inside one `with ... as writer:`",
            operation="close",
            uri=self.uri,
            state="not_committed",
        )

    def _publish_or_abandon(self) -> None:
        try:
            self._publish()
        except BaseException:
            # Ctrl-C leaves the upload as it is, and nobody else would end it; what failed has ended already.
            self._closed = self._settled = True
            self._sink.abandon()
            raise
        finally:
            self._publisher = None
            logs.emit_waiting()

    def _publish(self) -> None:
        self._publisher = threading.get_ident()
        self._closed = self._settled = True
        self._present_at_opening = None
        self._do(self._sink.publish)

    def _publishes_elsewhere(self) -> bool:
        """Say whether another thread is publishing; not in a child that was forked meanwhile, where none is."""
        return self._publisher not in (None, threading.get_ident()) and not self._sink.forked

    def _break_off(self, raised: BaseException) -> None:
        """End a block that raised; in a forked child the upload is the parent's."""
        if not self._sink.forked:
            self._closed = True
            self._give_up(raised)
            hidden = self._hidden_by(raised)
            if hidden is not None:
                raise hidden from None

    def _give_up(self, because: BaseException) -> None:
        """Abort without hiding the exception that is the reason."""
        self._settled, self._present_at_opening = True, None
        try:
            self._sink.abort()
        except Exception as failure:  # noqa: BLE001  (it must not hide the reason)
            text = f"the upload of {self.uri} could not be aborted: {failure}"
            _log.warning(text)
            if hasattr(because, "add_note"):
                because.add_note(text)
        logs.emit_waiting()

    def _exception_on_its_way(self) -> BaseException | None:
        current = sys.exc_info()[1]
        return None if current is self._present_at_opening else current

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise ClosedError(
                f"write {self.uri}: the stream is closed; open it again", operation="write", uri=self.uri
            )

    def _refuse_in_child(self) -> None:
        if self._sink.forked:
            raise ForkedHandleError(
                f"close {self.uri}: the writer was opened in the parent process; open it in this one",
                operation="close",
                uri=self.uri,
            )


# Writers that are still open when the interpreter exits are abandoned while logging still works.
_open_writers: weakref.WeakSet[ObjectWriter] = weakref.WeakSet()


def _watch(writer: ObjectWriter) -> None:
    if not _open_writers:
        atexit.unregister(_abandon_open_writers)
        atexit.register(_abandon_open_writers)
    _open_writers.add(writer)


def _abandon_open_writers() -> None:
    for writer in list(_open_writers):
        writer.__del__()
