"""One job done: an upload, a download, or a copy by OSS itself. Each ends whole and compared by CRC-64, or raises."""

from __future__ import annotations

import contextlib
import mimetypes
import os
import stat
import sys
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Literal

from osstorchconnector.checksum import crc64
from osstorchconnector.cli.cp.parts import KEPT_BYTES, PartFile, becoming
from osstorchconnector.errors import (
    AlreadyExistsError,
    ConfigError,
    IntegrityError,
    NotFoundError,
    ObjectChangedError,
)
from osstorchconnector.streams import ObjectWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from osstorchconnector.cli.cp.jobs import Job
    from osstorchconnector.cli.cp.places import Place
    from osstorchconnector.cli.cp.stopping import Stop
    from osstorchconnector.connection import OssStore
    from osstorchconnector.store import ObjectInfo
    from osstorchconnector.streams import ObjectReader

# Enough for the engines to run ranges and parts in parallel.
_PIECE_BYTES = 16 << 20
# An object that is known to be no larger comes by one request, without being asked for first.
_SMALL_BYTES = 4 << 20


@dataclass(frozen=True)
class Wanted:
    """How things are to be copied.

    Attributes:
        resume: leave alone what is there with the same bytes, and go on with parts.
        if_absent: refuse to replace anything.
        options: of new objects.
    """

    resume: bool
    if_absent: bool
    options: dict[str, Any]


@dataclass(frozen=True)
class Done:
    """What became of a job: `same` was there already, `resumed` was gone on with."""

    job: Job
    how: Literal["copied", "resumed", "same"]
    size_bytes: int
    crc64: int | None


@dataclass(frozen=True)
class Copier:
    """Does jobs.

    Attributes:
        tell: called with bytes as they have been moved.
    """

    store: OssStore
    wanted: Wanted
    stop: Stop
    tell: Callable[[int], None]

    def do(self, job: Job) -> Done:
        """Do one.

        Raises:
            StoppedError: it was told to end.
        """
        self.stop.check()
        if job.problem is not None:
            raise job.problem
        if not job.source.is_oss:
            return self._upload(job)
        return self._copy(job) if job.target.is_oss else self._download(job)

    # Uploads

    def _upload(self, job: Job) -> Done:
        if job.source.is_stream:
            return self._written(job, sys.stdin.buffer, None)
        # Without waiting for a writer: a pipe among the files of a directory must not hold all up.
        with open(os.open(job.source.text, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", 0) as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise ConfigError(f"{job.source} is no file; copy a pipe or device by `cp - {job.target}`")
            if self.wanted.resume and self._is_there(job.target, before.st_size, file):
                self.tell(before.st_size)
                return Done(job, "same", before.st_size, None)
            file.seek(0)
            return self._written(job, file, before)

    def _written(self, job: Job, source: IO[bytes], before: os.stat_result | None) -> Done:
        options = {"content_type": mimetypes.guess_type(job.target.name)[0], **self.wanted.options}
        sink = self.store.open_sink(
            job.target.text,
            size_hint_bytes=None if before is None else before.st_size,
            if_absent=self.wanted.if_absent,
            **options,
        )
        writer = ObjectWriter(sink, job.target.text)
        with self.stop.waking(writer.abort), writer:
            for piece in _pieces(source, None if before is None else before.st_size):
                self.stop.check()
                writer.write(piece)
                self.tell(len(piece))
            if before is not None and _version(before) != _version(os.fstat(source.fileno())):
                raise ObjectChangedError(
                    f"copy {job.source}: the file changed while it was read; copy it again"
                )
        return Done(job, "copied", writer.size, writer.crc64)

    def _is_there(self, target: Place, size_bytes: int, file: IO[bytes]) -> bool:
        """Say whether the object has the bytes of the file; they are only read if the sizes agree."""
        try:
            info = self.store.head_object(target.text)
        except NotFoundError as failure:
            if failure.code == "NoSuchBucket":
                raise
            return False
        return (
            info.size == size_bytes and info.crc64 is not None and self._sum(file, size_bytes) == info.crc64
        )

    def _sum(self, file: IO[bytes], size_bytes: int) -> int:
        checksum = 0
        for piece in _pieces(file, size_bytes):
            self.stop.check()
            checksum = crc64(piece, checksum)
        return checksum

    # Downloads

    def _download(self, job: Job) -> Done:
        if job.target.is_stream:
            return self._streamed(job, sys.stdout.buffer)
        found = _stat_or_none(job.target.text)
        if found is not None and stat.S_ISDIR(found.st_mode):
            raise ConfigError(f"{job.target} is a directory, where a file was to be; copy it elsewhere")
        if found is not None and self.wanted.if_absent:
            raise AlreadyExistsError(
                f"copy {job.source}: {job.target} is there, and --if-absent forbids to replace it"
            )
        if found is not None and not stat.S_ISREG(found.st_mode):
            # A device such as /dev/null is written to, never replaced.
            with open(job.target.text, "wb") as device:
                return self._streamed(job, device)
        if self.wanted.resume:
            return self._resumed(job, found)
        if job.size_bytes is not None and job.size_bytes <= _SMALL_BYTES:
            return self._fetched(job)
        return self._filed(job, None)

    def _fetched(self, job: Job) -> Done:
        data = self.store.fetch((job.source.text, job.size_bytes, None, ""))
        self.stop.check()
        with becoming(job.target.text, str(job.source), if_absent=self.wanted.if_absent) as part:
            part.empty()
            _write_all(part.file, memoryview(data))
        self.tell(len(data))
        return Done(job, "copied", len(data), crc64(data))

    def _resumed(self, job: Job, found: os.stat_result | None) -> Done:
        info = self.store.head_object(job.source.text)
        if found is not None and info.crc64 is not None and found.st_size == info.size:
            with open(job.target.text, "rb", 0) as file:
                if self._sum(file, info.size) == info.crc64:
                    self.tell(info.size)
                    return Done(job, "same", info.size, info.crc64)
        return self._filed(job, info)

    def _streamed(self, job: Job, target: IO[bytes]) -> Done:
        checksum = size_bytes = 0
        with self._reading(job) as reader:
            for piece in _pieces(reader, None):
                self.stop.check()
                target.write(piece)
                self.tell(len(piece))
                checksum, size_bytes = crc64(piece, checksum), size_bytes + len(piece)
            target.flush()
        return Done(job, "copied", size_bytes, checksum)

    def _filed(self, job: Job, info: ObjectInfo | None) -> Done:
        """Copy to a file.

        Args:
            info: of the version to go on with; None begins at the start.
        """
        with self._reading(job, info) as reader:
            # Asks for the object, so that one that is not there leaves nothing behind.
            size_bytes = reader.size
            version = f"{reader.uri} {reader.pinned()[1]}"
            with becoming(job.target.text, version, if_absent=self.wanted.if_absent) as part:
                return self._filled(job, reader, part, size_bytes, info)

    def _filled(
        self, job: Job, reader: ObjectReader, part: PartFile, size_bytes: int, info: ObjectInfo | None
    ) -> Done:
        present = checksum = 0
        if info is not None and info.crc64 is not None:
            present, checksum = part.present()
        if not 0 < present <= size_bytes:
            present = checksum = 0
            part.empty()
        self.tell(present)
        part.is_kept = present > 0
        try:
            checksum = self._append(reader, part, present, checksum, size_bytes)
            if present and info is not None and checksum != info.crc64:
                # The part was not what it seemed; the object itself is compared by the reader.
                self.tell(-size_bytes)
                part.empty()
                checksum, present = self._append(reader, part, 0, 0, size_bytes), 0
        except (IntegrityError, ObjectChangedError):
            part.is_kept = False
            raise
        return Done(job, "resumed" if present else "copied", size_bytes, checksum)

    def _append(
        self, reader: ObjectReader, part: PartFile, start: int, checksum: int, size_bytes: int
    ) -> int:
        """Write what is behind `start`; return the CRC-64 of all."""
        reader.seek(start)
        written = start
        for piece in _pieces(reader, size_bytes - start):
            self.stop.check()
            _write_all(part.file, piece)
            part.is_kept = size_bytes >= KEPT_BYTES
            self.tell(len(piece))
            checksum, written = crc64(piece, checksum), written + len(piece)
        if written != size_bytes:
            raise IntegrityError(f"copy {reader.uri}: {written} bytes came of {size_bytes}; copy it again")
        return checksum

    @contextlib.contextmanager
    def _reading(self, job: Job, info: ObjectInfo | None = None) -> Iterator[ObjectReader]:
        known = () if info is None else (info.size, info.etag)
        reader = self.store.open_reader(job.source.text, *known)
        with self.stop.waking(reader.close), reader:
            yield reader

    # Copies by OSS

    def _copy(self, job: Job) -> Done:
        if self.wanted.if_absent or self.wanted.options:
            raise ConfigError(
                f"copy {job.source}: --if-absent and options of new objects are for uploads; leave them out"
            )
        before = self.store.head_object(job.source.text)
        if self.wanted.resume:
            with contextlib.suppress(NotFoundError):
                if _is_same(before, self.store.head_object(job.target.text)):
                    self.tell(before.size)
                    return Done(job, "same", before.size, before.crc64)
        self.stop.check()
        self.store.copy(job.source.text, job.target.text, before.size)
        after = self.store.head_object(job.target.text)
        if not _is_same(before, after, unknown=True):
            raise IntegrityError(
                f"copy {job.source}: {job.target} has other bytes; one of them was replaced meanwhile: look, and copy again"
            )
        self.tell(before.size)
        return Done(job, "copied", before.size, before.crc64)


def _is_same(one: ObjectInfo, other: ObjectInfo, *, unknown: bool = False) -> bool:
    if one.size != other.size:
        return False
    if one.crc64 is None or other.crc64 is None:
        return unknown
    return one.crc64 == other.crc64


def _pieces(source: Any, size_bytes: int | None) -> Iterator[memoryview]:
    """Yield what is left, in one buffer that is used again and again."""
    # One byte more than is expected: a file that grows is noticed, and one without bytes is still asked.
    room = _PIECE_BYTES if size_bytes is None else min(_PIECE_BYTES, size_bytes + 1)
    with memoryview(bytearray(room)) as buffer:
        while filled := source.readinto(buffer):
            yield buffer[:filled]


def _write_all(file: IO[bytes], piece: memoryview) -> None:
    """Write without a buffer; the system may take less than it is given."""
    done = 0
    while done < len(piece):
        done += file.write(piece[done:])


def _version(found: os.stat_result) -> tuple[int, int]:
    return found.st_size, found.st_mtime_ns


def _stat_or_none(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None
