"""Uploads that a copy began: noted on this machine, so that a later copy goes on with its own, and with nobody else's.

OSS shows of an open upload neither who began it, nor of what, nor with which options. So a note says that: one small
file a target in a private directory, under a lock for as long as its copy lives. Who finds a note without a lock may go
on with its upload, if it was of the same file, unchanged, with the same options, and else drops it. Nothing depends on
a note: where none can be kept, an upload that was killed begins anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from osstorchconnector.cli.cp.parts import KEPT_BYTES, locked
from osstorchconnector.errors import ConfigError, OssError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from osstorchconnector.cli.cp.means import Means
    from osstorchconnector.cli.cp.places import Place

# Who has not come back by then does not: buckets drop parts of that age by a rule, as OSS advises.
_KEPT_SECONDS = 30 * 86400.0
_NOTE_BYTES = 64 << 10


class Resumable(Protocol):
    """The writer of an upload, as far as it is begun and gone on with."""

    def begin(self) -> str | None:
        """Begin it now and return its id; None if it is one request."""

    def go_on_with(self, upload_id: str, /) -> bool:
        """Go on with one that was begun before; False if that cannot be."""

    def keep_parts(self) -> None:
        """Leave what OSS has there when it is given up."""


class Note:
    """What is known of the upload to one target.

    Attributes:
        upload_id: of the upload that is open for all that is known here; None if there is none.
    """

    def __init__(self, file: IO[bytes], path: str, target: Place) -> None:
        self._file, self._path, self._target = file, path, target
        self._of = _read(file)
        upload_id = self._of.pop("upload_id", None)
        self.upload_id = upload_id if _is_id(upload_id) else None

    def is_of(self, copied: Mapping[str, Any]) -> bool:
        """Say whether the upload is of this, of the very same."""
        return self._of == copied

    def write(self, copied: Mapping[str, Any], upload_id: str) -> bool:
        """Note an upload that was begun; False if there is no room for it."""
        self.upload_id, self._of = upload_id, dict(copied)
        said = json.dumps({**copied, "upload_id": upload_id}).encode()
        try:
            self._file.seek(0)
            self._file.truncate()
            return self._file.write(said) == len(said)
        except OSError:
            return False

    def drop(self, means: Means) -> None:
        """Remove what the upload left at OSS, as far as that can be done now."""
        if self.upload_id is not None:
            with contextlib.suppress(OssError):
                means.store.remove_upload(str(self._target), self.upload_id)
            self.upload_id = None

    def end(self) -> None:
        """Let others have it; it stays if there is an upload to go on with."""
        with contextlib.suppress(OSError):
            if self.upload_id is None:
                os.unlink(self._path)
        with contextlib.suppress(OSError):
            self._file.close()


@contextlib.contextmanager
def noting(target: Place, size_bytes: int) -> Iterator[Note | None]:
    """Give the note of a target for as long as it is uploaded to; None for a short upload, and where none can be kept.

    The note is gone when the block has ended well.
    """
    note = _open(target) if size_bytes >= KEPT_BYTES else None
    try:
        yield note
        if note is not None:
            note.upload_id = None
    finally:
        if note is not None:
            note.end()


def begin(means: Means, note: Note, sink: Resumable, copied: Mapping[str, Any]) -> None:
    """Go on with the upload that is noted, if that is wanted and it is of the same; else drop it and begin one.

    Its parts stay where they are to be gone on with, and only if the note says so: nobody else knows of them.
    """
    if note.upload_id is not None:
        if means.wanted.resume and note.is_of(copied) and sink.go_on_with(note.upload_id):
            sink.keep_parts()
            return
        note.drop(means)
    upload_id = sink.begin()
    if upload_id is not None and note.write(copied, upload_id) and means.wanted.resume:
        sink.keep_parts()


def _is_id(found: Any) -> bool:
    """Say whether OSS may have named an upload so."""
    return isinstance(found, str) and found != "" and found.isascii() and found.isprintable()


def _read(file: IO[bytes]) -> dict[str, Any]:
    """Read a note; one that was cut off while it was written says nothing."""
    with contextlib.suppress(OSError, RecursionError, ValueError):
        found = json.loads(file.read(_NOTE_BYTES))
        if isinstance(found, dict):
            return found
    return {}


def _open(target: Place) -> Note | None:
    # Another copy to this target holds it, or this machine keeps nothing: both copies do without.
    with contextlib.suppress(OSError, ConfigError):
        directory = _directory()
        _forget_old(directory)
        path = os.path.join(directory, hashlib.sha256(str(target).encode()).hexdigest()[:32])
        return Note(locked(path), path, target)
    return None


def _directory() -> str:
    """Make the directory of the notes, for this user alone.

    Raises:
        OSError: it cannot be made.
        ConfigError: it is somebody else's.
    """
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    directory = os.path.join(home, "osstorchconnector", "uploads")
    os.makedirs(directory, mode=0o700, exist_ok=True)
    found = os.lstat(directory)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise ConfigError(f"{directory} can be written by others; remove it")
    return directory


def _forget_old(directory: str) -> None:
    oldest = time.time() - _KEPT_SECONDS
    for note in Path(directory).iterdir():
        with contextlib.suppress(OSError):
            if note.stat().st_mtime < oldest:
                note.unlink()
