"""Host names that resolve to loopback for one program, without root and without touching the machine.

The original speaks to `bucket.HOST` only, and its native code asks the system's resolver. So the program runs in a
mount namespace of its own, in which another file lies over /etc/hosts and an empty directory over /run, where the
original keeps its sockets. Without namespaces it has to be that the names resolve anyhow.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

_LAY_OVER = 'mount --bind "$1" /etc/hosts && mount --bind "$2" /run && shift 2 && exec "$@"'

# As root without a user namespace, in which nobody gets a userfaultfd; as an ordinary user by way of one.
_NAMESPACES = (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"])

_RESOLVE = "import socket, sys; [socket.getaddrinfo(name, 80) for name in sys.argv[1:]]"


def command_prefix(names: list[str], directory: Path) -> list[str] | None:
    """Return what to put in front of a command so that `names` resolve to loopback in it.

    Args:
        directory: a directory of its own for what is laid over the machine's.

    Returns:
        None where this machine cannot do that.
    """
    hosts, run = directory / "hosts", directory / "run"
    run.mkdir(exist_ok=True)
    hosts.write_text(f"{Path('/etc/hosts').read_text()}\n127.0.0.1 {' '.join(names)}\n")
    for namespace in _NAMESPACES:
        prefix = [*namespace, "sh", "-c", _LAY_OVER, "sh", str(hosts), str(run)]
        if _works(prefix, names):
            return prefix
    return [] if all(_is_loopback(name) for name in names) else None


def _is_loopback(name: str) -> bool:
    try:
        found = socket.getaddrinfo(name, 80, socket.AF_INET)
    except OSError:
        return False
    return all(address[0].startswith("127.") for *_, address in found)


def _works(prefix: list[str], names: list[str]) -> bool:
    try:
        tried = subprocess.run(
            [*prefix, sys.executable, "-c", _RESOLVE, *names], check=False, capture_output=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return tried.returncode == 0
