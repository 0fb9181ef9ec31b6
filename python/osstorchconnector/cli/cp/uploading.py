"""From a file or a pipe to an object: visible whole or not at all, its CRC-64 compared by the writer."""

from __future__ import annotations

import mimetypes
import os
import stat
import sys
from typing import IO, TYPE_CHECKING, Any

from osstorchconnector.cli.cp.begun import begin, noting
from osstorchconnector.cli.cp.means import Done, pieces, sum_of
from osstorchconnector.errors import ConfigError, NotFoundError, ObjectChangedError
from osstorchconnector.streams import ObjectWriter

if TYPE_CHECKING:
    from osstorchconnector.cli.cp.jobs import Job
    from osstorchconnector.cli.cp.means import Means
    from osstorchconnector.cli.cp.places import Place


def upload(means: Means, job: Job) -> Done:
    """Copy a file, or stdin, to an object.

    Raises:
        ObjectChangedError: the file changed meanwhile.
    """
    if job.source.is_stream:
        return _written(means, job, sys.stdin.buffer, None)
    # Without waiting for a writer: a pipe among the files of a directory must not hold all up.
    with open(os.open(job.source.text, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", 0) as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise ConfigError(f"{job.source} is no file; copy a pipe or device by `cp - {job.target}`")
        if means.wanted.resume and _is_there(means, job.target, before.st_size, file):
            means.tell(before.st_size)
            return Done(job, "same", before.st_size, None)
        file.seek(0)
        return _written(means, job, file, before)


def _written(means: Means, job: Job, source: IO[bytes], before: os.stat_result | None) -> Done:
    size_bytes = None if before is None else before.st_size
    options = {
        "content_type": mimetypes.guess_type(job.target.name)[0],
        "if_absent": means.wanted.if_absent,
        **means.wanted.options,
    }
    sink = means.store.open_sink(job.target.text, size_hint_bytes=size_bytes, **options)
    writer = ObjectWriter(sink, job.target.text)
    with noting(job.target, size_bytes or 0) as note, means.stop.waking(writer.abort), writer:
        if note is not None and before is not None:
            begin(means, note, sink, _copied(job, before, options))
        for piece in pieces(source, size_bytes):
            means.stop.check()
            writer.write(piece)
            means.tell(len(piece))
        if before is not None and _version(before) != _version(os.fstat(source.fileno())):
            writer.abort()
            if note is not None:
                note.drop(means)
            raise ObjectChangedError(f"copy {job.source}: the file changed while it was read; copy it again")
    return Done(job, "resumed" if sink.reused_bytes else "copied", writer.size, writer.crc64)


def _copied(job: Job, before: os.stat_result, options: dict[str, Any]) -> dict[str, Any]:
    """Name what is copied so that another file, another state of it and another object each have another name."""
    size_bytes, changed_ns = _version(before)
    return {
        "source": os.path.realpath(job.source.text),
        "size": size_bytes,
        "changed_ns": changed_ns,
        "target": str(job.target),
        **options,
    }


def _is_there(means: Means, target: Place, size_bytes: int, file: IO[bytes]) -> bool:
    """Say whether the object has the bytes of the file, which are only read if the sizes agree."""
    try:
        info = means.store.head_object(target.text)
    except NotFoundError as failure:
        if failure.code == "NoSuchBucket":
            raise
        return False
    return (
        info.size == size_bytes and info.crc64 is not None and sum_of(means, file, size_bytes) == info.crc64
    )


def _version(found: os.stat_result) -> tuple[int, int]:
    return found.st_size, found.st_mtime_ns
