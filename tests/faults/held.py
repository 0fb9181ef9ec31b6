"""What processes hold, read from /proc: descriptors, threads, connections, shared memory, children."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from urllib.parse import urlsplit

from osstorchconnector.private_files import private_directory


def children(pid=None):
    """Return the children of a process, this one by default."""
    found = []
    for task in Path(f"/proc/{pid or os.getpid()}/task").iterdir():
        # A thread may end meanwhile.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def is_running(pid):
    """Say whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for_end(pids, seconds=10.0):
    """Wait until none of the processes runs; return those that still do."""
    end = time.monotonic() + seconds
    left = [pid for pid in pids if is_running(pid)]
    while left and time.monotonic() < end:
        time.sleep(0.01)
        left = [pid for pid in left if is_running(pid)]
    return left


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def connections_to(endpoint):
    """Count the established connections of this machine to an endpoint."""
    port = f":{urlsplit(endpoint).port:04X}"
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return sum(1 for row in rows if row[2].endswith(port) and row[3] == "01")


def held(endpoint):
    """Count what a leak would let grow."""
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "connections": connections_to(endpoint),
        "shared memory": len([name for name in os.listdir("/dev/shm") if name.startswith("torch_")]),
        "children": len(children()),
    }


def private_files(start=""):
    return [name for name in os.listdir(private_directory()) if name.startswith(start)]
