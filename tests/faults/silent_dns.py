"""A machine of its own on which name lookups hang: a program in namespaces, under another resolv.conf, with a DNS stub.

The stub answers for `*.fine.test` and never for any other name. Neither root nor the machine's own files are touched;
where namespaces are not permitted, nothing of this can run.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_LAY_OVER = (
    'mount --bind "$1" /etc/resolv.conf && mount --bind "$2" /etc/nsswitch.conf && shift 2 && exec "$@"'
)
_NAMESPACES = ["unshare", "--map-root-user", "--mount", "--net"]

# Begins every program: brings loopback up, and answers or is silent on port 53.
STUB = '''
import array, fcntl, socket, struct, threading

def _loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8914, struct.pack("16sh", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING

class Stub(threading.Thread):
    """Counts what it is asked, by name."""

    def __init__(self):
        super().__init__(daemon=True)
        _loopback_up()
        self.asked = []
        self._door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._door.bind(("127.0.0.1", 53))
        self.start()

    def run(self):
        while True:
            question, sender = self._door.recvfrom(512)
            name, kind = _name_of(question)
            self.asked.append(name)
            if name.endswith("fine.test"):
                self._door.sendto(_answer(question, kind), sender)

def _name_of(question):
    labels, at = [], 12
    while size := question[at]:
        labels.append(question[at + 1 : at + 1 + size].decode())
        at += 1 + size
    return ".".join(labels), int.from_bytes(question[at + 1 : at + 3], "big")

def _answer(question, kind):
    is_a = kind == 1
    head = question[:2] + b"\\x81\\x80" + b"\\0\\1" + (b"\\0\\1" if is_a else b"\\0\\0") + bytes(4)
    end = question.index(b"\\0", 12) + 5
    record = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4" + socket.inet_aton("127.0.0.1")
    return head + question[12:end] + (record if is_a else b"")
'''


def command(directory: Path, program: str) -> list[str] | None:
    """Return the command that runs a program there; None where this machine does not permit it."""
    resolv, switch = directory / "resolv.conf", directory / "nsswitch.conf"
    # The resolver itself would wait a minute: longer than anybody here wants to.
    resolv.write_text("nameserver 127.0.0.1\noptions timeout:30 attempts:2\n")
    switch.write_text("hosts: dns\n")
    prefix = [*_NAMESPACES, "sh", "-c", _LAY_OVER, "sh", str(resolv), str(switch)]
    try:
        tried = subprocess.run(
            [*prefix, sys.executable, "-c", STUB + "Stub()"], check=False, capture_output=True
        )
    except OSError:
        return None
    return [*prefix, sys.executable, "-c", STUB + program] if tried.returncode == 0 else None
