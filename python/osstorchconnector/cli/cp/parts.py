"""A file that is being made: it takes its name whole, and a long one may be gone on with after a stop.

It is written beside its target, as `.<name>.<version>.part`, under a lock. The version is that of the object, so that
a later copy goes on with it only if the object is still the same; what it holds is summed up and compared all the same.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import zlib
from typing import IO, TYPE_CHECKING

from osstorchconnector.checksum import crc64
from osstorchconnector.errors import AlreadyExistsError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Shorter ones are copied again sooner than they are looked for.
KEPT_BYTES = 16 << 20
_PIECE_BYTES = 8 << 20
_NAME_BYTES = 200


class PartFile:
    """The file, open for writing at its end.

    Attributes:
        target: the path it is to have, links resolved.
        is_kept: whether it stays when it is given up.
    """

    def __init__(self, target: str, version: str) -> None:
        self.target = os.path.realpath(target)
        head, name = os.path.split(self.target)
        os.makedirs(head, exist_ok=True)
        short = os.fsencode(name)[:_NAME_BYTES].decode("utf-8", "ignore")
        self.path = os.path.join(head, f".{short}.{zlib.crc32(version.encode()):08x}.part")
        self.is_kept = False
        self.file = locked(self.path)

    def present(self) -> tuple[int, int]:
        """Return the bytes that are there already, and their CRC-64; writing goes on behind them."""
        total = checksum = 0
        self.file.seek(0)
        while piece := self.file.read(_PIECE_BYTES):
            checksum = crc64(piece, checksum)
            total += len(piece)
        return total, checksum

    def empty(self) -> None:
        """Begin again."""
        self.file.seek(0)
        self.file.truncate()

    def append(self, piece: memoryview) -> None:
        """Write at the end; the system may take less at a time than it is given."""
        done = 0
        while done < len(piece):
            done += self.file.write(piece[done:])

    def publish(self, *, if_absent: bool) -> None:
        """Give it its name; a file of that name is replaced at once, unless `if_absent`.

        Raises:
            AlreadyExistsError: it is there, and must not be replaced.
        """
        if not if_absent:
            os.replace(self.path, self.target)
            self.file.close()
            return
        try:
            os.link(self.path, self.target)
        except FileExistsError:
            raise AlreadyExistsError(
                f"copy to {self.target}: it is there, and --if-absent forbids to replace it"
            ) from None
        os.unlink(self.path)
        self.file.close()

    def give_up(self) -> None:
        """Keep it for later, or remove it."""
        with contextlib.suppress(OSError):
            if not self.is_kept:
                os.unlink(self.path)
        with contextlib.suppress(OSError):
            self.file.close()


@contextlib.contextmanager
def becoming(target: str, version: str, *, if_absent: bool) -> Iterator[PartFile]:
    """Give a file that is published at the end of the block, and given up if it raises."""
    part = PartFile(target, version)
    try:
        yield part
        part.publish(if_absent=if_absent)
    except BaseException:
        part.give_up()
        raise


def locked(path: str) -> IO[bytes]:
    """Open a file of our own under this name, for this process alone.

    Raises:
        ConfigError: another process writes it, or something else has the name.
    """
    while True:
        # In a directory that others may write to, a link under this name could lead anywhere.
        try:
            handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        except OSError as failure:
            if failure.errno != errno.ELOOP:
                raise
            raise ConfigError(f"{path} is a link, where a part was to be; remove it") from None
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink > 1:
            os.close(handle)
            raise ConfigError(f"{path} is not ours, where a part was to be; remove it")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise ConfigError(f"{path} is being written by another copy; let it end") from None
        if _is_still(path, found):
            return os.fdopen(handle, "r+b", buffering=0)
        # Its writer published it between our opening and our lock: it is the target now.
        os.close(handle)


def _is_still(path: str, found: os.stat_result) -> bool:
    try:
        now = os.lstat(path)
    except FileNotFoundError:
        return False
    return (now.st_dev, now.st_ino) == (found.st_dev, found.st_ino)
