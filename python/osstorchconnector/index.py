"""The object index of a dataset: which objects, in which order; one file per dataset and node.

The file is written once, by whichever process comes first (the native side locks and renames), and mapped by all the
others. It lies in a private directory, `<temporary directory>/osstorchconnector-<uid>`. Its name carries the machine,
the process and a random token drawn when the dataset is made; pickles carry the name. The process that made the
dataset removes the file: when the dataset goes, or at exit if the dataset was ever pickled. What a killed process
left is removed by the next one that builds an index.
"""

from __future__ import annotations

import atexit
import os
import secrets
import socket
import stat
import tempfile
import time
import weakref
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osstorchconnector.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from osstorchconnector.store import Row, RowIndex

# After this long, building an index is worth a line in the log.
_LONG_SECONDS = 5


class MemoryIndex:
    """Rows in memory, for local-directory mode."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = list(rows)

    def __len__(self) -> int:
        """Count the rows."""
        return len(self._rows)

    def row(self, position: int) -> Row:
        """Return one row."""
        return self._rows[position]


class IndexFile:
    """The name of one dataset's index file, and who removes it."""

    def __init__(self) -> None:
        self.name = f"{_machine():08x}-{os.getpid()}-{_start_time(os.getpid())}-{secrets.token_hex(8)}"
        self._directory: str | None = None
        self._lease: _Lease | None = _new_lease(self.name)
        weakref.finalize(self, self._lease.dataset_gone).atexit = False

    @property
    def directory(self) -> str:
        """The private directory; made on first use."""
        if self._directory is None or not os.path.isdir(self._directory):
            self._directory = _private_directory()
            _remove_stale(self._directory)
        if self._lease is not None:
            self._lease.directory = self._directory
        return self._directory

    @property
    def path(self) -> str:
        """The index file, which may not be there yet."""
        return os.path.join(self.directory, f"{self.name}.index")

    @property
    def is_built(self) -> bool:
        """Whether the file is there."""
        return os.path.exists(self.path)

    def beside(self, suffix: str) -> str:
        """Name a file that goes when the index file goes."""
        return os.path.join(self.directory, f"{self.name}.{suffix}")

    def stats_files(self) -> list[Path]:
        """Find the files in which workers count."""
        return sorted(Path(self.directory).glob(f"{self.name}.*.stats"))

    def is_owned(self) -> bool:
        """Whether this process removes the files."""
        return self._lease is not None and self._lease.owner == os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        """Carry the name, and keep the file until this process exits: the pickle may come back any time."""
        if self._lease is not None:
            self._lease.until_exit = True
        return {"name": self.name, "_directory": self._directory, "_lease": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over the name; the owner stays who it is."""
        self.__dict__.update(state)


class _Lease:
    """The duty of one process to remove the files of one index."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.owner = os.getpid()
        self.directory: str | None = None
        self.until_exit = False

    def dataset_gone(self) -> None:
        """Remove the files, unless a pickle may still name them."""
        if not self.until_exit:
            _leases.discard(self)
            self.end()

    def end(self) -> None:
        """Remove the files, if they are this process's."""
        if self.directory is not None and os.getpid() == self.owner:
            for file in Path(self.directory).glob(f"{self.name}.*"):
                file.unlink(missing_ok=True)


_leases: set[_Lease] = set()


def _new_lease(name: str) -> _Lease:
    if not _leases:
        atexit.unregister(_end_all)
        atexit.register(_end_all)
    lease = _Lease(name)
    _leases.add(lease)
    return lease


def _end_all() -> None:
    for lease in _leases:
        lease.end()


def _private_directory() -> str:
    """Make `<temporary directory>/osstorchconnector-<uid>`, 0700, and trust it only if it is ours.

    Raises:
        ConfigError: something else lies there.
    """
    uid = os.getuid()
    directory = os.path.join(tempfile.gettempdir(), f"osstorchconnector-{uid}")
    os.makedirs(directory, mode=0o700, exist_ok=True)
    found = os.lstat(directory)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or found.st_mode & 0o077:
        raise ConfigError(
            f"{directory} is not a private directory of user {uid}; remove it, or set TMPDIR to another place"
        )
    return directory


def _remove_stale(directory: str) -> None:
    """Remove the files of processes of this machine that are gone."""
    here = f"{_machine():08x}"
    for file in Path(directory).iterdir():
        machine, pid, started, *_ = [*file.name.split("-"), "", "", ""]
        if machine == here and pid.isdecimal() and _start_time(int(pid)) != started:
            file.unlink(missing_ok=True)


def _machine() -> int:
    """Number the set of processes that can see each other: host and process namespace."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return zlib.crc32(f"{socket.gethostname()} {namespace}".encode())


def _start_time(pid: int) -> str:
    """Tell two processes of one number apart; "" when there is no such process."""
    try:
        # proc(5): field 22 is the start time; the second, the command in brackets, may hold blanks.
        return Path(f"/proc/{pid}/stat").read_text(encoding="latin-1").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return _start_time_without_proc(pid)


def _start_time_without_proc(pid: int) -> str:
    if os.path.isdir("/proc/self"):
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "0"


def build_announced(name: str, build: Callable[[], RowIndex], announce: Callable[[str], None]) -> RowIndex:
    """Build or open an index, and say so when it took long."""
    started = time.monotonic()
    index = build()
    took = time.monotonic() - started
    if took > _LONG_SECONDS:
        announce(
            f"the index of {name} has {len(index)} objects and took {took:.1f} s; later epochs re-use it"
        )
    return index
