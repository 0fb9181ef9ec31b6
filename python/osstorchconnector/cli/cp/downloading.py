"""From an object to a file, or to stdout: beside the target first, compared, then renamed."""

from __future__ import annotations

import contextlib
import stat
import sys
from typing import IO, TYPE_CHECKING

from osstorchconnector.checksum import crc64
from osstorchconnector.cli.cp.means import Done, pieces, stat_or_none, sum_of
from osstorchconnector.cli.cp.parts import KEPT_BYTES, PartFile, becoming
from osstorchconnector.errors import AlreadyExistsError, ConfigError, IntegrityError, ObjectChangedError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from osstorchconnector.cli.cp.jobs import Job
    from osstorchconnector.cli.cp.means import Means
    from osstorchconnector.store import ObjectInfo
    from osstorchconnector.streams import ObjectReader

# An object that is known to be no larger comes by one request, without being asked for first.
_SMALL_BYTES = 4 << 20


def download(means: Means, job: Job) -> Done:
    """Copy an object to a file, a device or stdout.

    Raises:
        AlreadyExistsError: the file is there, and must not be replaced.
        IntegrityError: other bytes came than OSS keeps.
    """
    if job.target.is_stream:
        return _streamed(means, job, sys.stdout.buffer)
    found = stat_or_none(job.target.text)
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise ConfigError(f"{job.target} is a directory, where a file was to be; copy it elsewhere")
    if found is not None and means.wanted.if_absent:
        raise AlreadyExistsError(
            f"copy {job.source}: {job.target} is there, and --if-absent forbids to replace it"
        )
    if found is not None and not stat.S_ISREG(found.st_mode):
        # A device such as /dev/null is written to, never replaced.
        with open(job.target.text, "wb") as device:
            return _streamed(means, job, device)
    if means.wanted.resume:
        return _resumed(means, job, found)
    if job.size_bytes is not None and job.size_bytes <= _SMALL_BYTES:
        return _fetched(means, job)
    return _filed(means, job, None)


def _streamed(means: Means, job: Job, target: IO[bytes]) -> Done:
    checksum = size_bytes = 0
    with _reading(means, job) as reader:
        for piece in pieces(reader, None):
            means.stop.check()
            target.write(piece)
            means.tell(len(piece))
            checksum, size_bytes = crc64(piece, checksum), size_bytes + len(piece)
        target.flush()
    return Done(job, "copied", size_bytes, checksum)


def _resumed(means: Means, job: Job, found: os.stat_result | None) -> Done:
    info = means.store.head_object(job.source.text)
    if found is not None and info.crc64 is not None and found.st_size == info.size:
        with open(job.target.text, "rb", 0) as file:
            if sum_of(means, file, info.size) == info.crc64:
                means.tell(info.size)
                return Done(job, "same", info.size, info.crc64)
    return _filed(means, job, info)


def _fetched(means: Means, job: Job) -> Done:
    data = means.store.fetch((job.source.text, job.size_bytes, None, ""))
    means.stop.check()
    with becoming(job.target.text, str(job.source), if_absent=means.wanted.if_absent) as part:
        part.empty()
        part.append(memoryview(data))
    means.tell(len(data))
    return Done(job, "copied", len(data), crc64(data))


def _filed(means: Means, job: Job, info: ObjectInfo | None) -> Done:
    """Copy to a file.

    Args:
        info: of the version to go on with; None begins at the start.
    """
    with _reading(means, job, info) as reader:
        # Asks for the object, so that one that is not there leaves nothing behind.
        size_bytes = reader.size
        version = f"{reader.uri} {reader.pinned()[1]}"
        with becoming(job.target.text, version, if_absent=means.wanted.if_absent) as part:
            return _filled(means, job, (reader, part), size_bytes, info)


def _filled(
    means: Means, job: Job, ends: tuple[ObjectReader, PartFile], size_bytes: int, info: ObjectInfo | None
) -> Done:
    _, part = ends
    present, checksum = (0, 0) if info is None or info.crc64 is None else part.present()
    if not 0 < present <= size_bytes:
        present = checksum = 0
        part.empty()
    means.tell(present)
    part.is_kept = present > 0
    try:
        checksum = _appended(means, ends, (present, checksum), size_bytes)
        if present and info is not None and checksum != info.crc64:
            checksum, present = _begun_anew(means, ends, size_bytes, info.crc64), 0
    except (IntegrityError, ObjectChangedError):
        part.is_kept = False
        raise
    return Done(job, "resumed" if present else "copied", size_bytes, checksum)


def _begun_anew(
    means: Means, ends: tuple[ObjectReader, PartFile], size_bytes: int, expected: int | None
) -> int:
    """Write all again after the part was not what it seemed, or what came behind it; return the CRC-64.

    Raises:
        IntegrityError: it is not the expected one.
    """
    reader, part = ends
    means.tell(-size_bytes)
    part.empty()
    checksum = _appended(means, ends, (0, 0), size_bytes)
    # The reader compares what it has read once; some of this it reads a second time.
    if checksum != expected:
        raise IntegrityError(
            f"copy {reader.uri}: CRC-64 {checksum} came, OSS keeps {expected}: damaged on the way; copy it again"
        )
    return checksum


def _appended(
    means: Means, ends: tuple[ObjectReader, PartFile], present: tuple[int, int], size_bytes: int
) -> int:
    """Write what is behind the bytes and CRC-64 that are present; return the CRC-64 of all."""
    (reader, part), (written, checksum) = ends, present
    reader.seek(written)
    for piece in pieces(reader, size_bytes - written):
        means.stop.check()
        part.append(piece)
        part.is_kept = size_bytes >= KEPT_BYTES
        means.tell(len(piece))
        checksum, written = crc64(piece, checksum), written + len(piece)
    if written != size_bytes:
        raise IntegrityError(f"copy {reader.uri}: {written} bytes came of {size_bytes}; copy it again")
    return checksum


@contextlib.contextmanager
def _reading(means: Means, job: Job, info: ObjectInfo | None = None) -> Iterator[ObjectReader]:
    known = () if info is None else (info.size, info.etag)
    reader = means.store.open_reader(job.source.text, *known)
    with means.stop.waking(reader.close), reader:
        yield reader
