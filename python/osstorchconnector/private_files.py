"""Small files that the processes of a node share, in a private directory; who removes them, and when.

The directory is `<temporary directory>/osstorchconnector-<uid>`, mode 0700. A file's name begins with the machine and
the process that owns it. The owner removes it; what a killed process left is removed by the next one that comes here.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import socket
import stat
import tempfile
import zlib
from pathlib import Path

from osstorchconnector.errors import ConfigError

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Lease:
    """The duty of one process to remove the files of one name."""

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
        _remove_of_dead_children()

    def end(self) -> None:
        """Remove the files, if they are this process's."""
        if os.getpid() != self.owner:
            return
        # Workers may have written files of this name where their parent never looked.
        directory = self.directory if self.directory is not None else _directory()
        # What cannot be removed now, as no more files can be opened, is removed by the next one that comes here.
        with contextlib.suppress(OSError):
            if self.directory is not None or _is_private(directory):
                for file in Path(directory).glob(f"{self.name}.*"):
                    file.unlink(missing_ok=True)


_leases: set[Lease] = set()


def new_lease(name: str) -> Lease:
    """Take over the duty for the files called `name`, at exit at the latest."""
    if not _leases:
        atexit.unregister(_end_all)
        atexit.register(_end_all)
    lease = Lease(name)
    _leases.add(lease)
    return lease


def _remove_of_dead_children() -> None:
    """Remove what killed workers of this process left, such as the sockets at which they answered."""
    for lease in list(_leases):
        if lease.directory is None or os.getpid() != lease.owner:
            continue
        with contextlib.suppress(OSError):
            for file in Path(lease.directory).glob(f"{lease.name}.*"):
                pid, _, started = file.name.rpartition(".")[2].partition("-")
                if pid.isdecimal() and started and start_time(int(pid)) != started:
                    file.unlink(missing_ok=True)


def _end_all() -> None:
    for lease in _leases:
        lease.end()


def private_directory() -> str:
    """Make `<temporary directory>/osstorchconnector-<uid>`, 0700, and trust it only if it is ours.

    Raises:
        ConfigError: something else lies there.
    """
    directory = _directory()
    os.makedirs(directory, mode=0o700, exist_ok=True)
    if not _is_private(directory):
        raise ConfigError(
            f"{directory} is not a private directory of user {os.getuid()}; remove it, or set TMPDIR to another place"
        )
    return directory


def _directory() -> str:
    return os.path.join(tempfile.gettempdir(), f"osstorchconnector-{os.getuid()}")


def _is_private(directory: str) -> bool:
    try:
        found = os.lstat(directory)
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def remove_stale(directory: str) -> None:
    """Remove the files of processes of this machine that are gone."""
    here = f"{machine():08x}"
    # Tidying up fails nobody, for instance where no more files can be opened.
    with contextlib.suppress(OSError):
        for file in Path(directory).iterdir():
            owner, pid, started, *_ = [*file.name.split("-"), "", "", ""]
            if owner == here and pid.isdecimal() and start_time(int(pid)) != started:
                file.unlink(missing_ok=True)


def own_name() -> str:
    """Make a name that no other object has: machine, process and a random token."""
    return f"{name_of(os.getpid())}-{secrets.token_hex(8)}"


def name_of(pid: int) -> str:
    """Name a process: what its files begin with."""
    return f"{machine():08x}-{pid}-{start_time(pid)}"


def machine() -> int:
    """Number the set of processes that can see each other: host and process namespace."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return zlib.crc32(f"{socket.gethostname()} {namespace}".encode())


def node() -> str:
    """Name the set of processes that can share files here, in a job of many machines.

    Machines started from one image may have one host name, and the number of a first process namespace is the same
    everywhere. No two of them were booted as the same. Files are not named so: what a machine that was restarted left
    is to be found again.
    """
    try:
        boot = _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        boot = ""
    return f"{machine():08x}-{boot}"


def start_time(pid: int) -> str:
    """Tell two processes of one number apart; "" when there is no such process.

    Raises:
        OSError: nothing can be said of it, for instance as no more files can be opened.
    """
    try:
        # proc(5): field 22 is the start time; the second, the command in brackets, may hold blanks.
        return Path(f"/proc/{pid}/stat").read_text(encoding="latin-1").rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError, IndexError):
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
