"""Let the kernel refuse this process what a full machine refuses: new threads, new files, more memory."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
from pathlib import Path

# seccomp(2): what a filter returns, and the two instructions that it needs.
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_SET_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2
# clone and clone3, through which threads are made.
_CLONES = {"x86_64": (56, 435), "aarch64": (220, 435)}


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


def refuse_threads():
    """Let no more thread be made: `EAGAIN`, as at the limit of processes, which does not bind root."""
    clone, clone3 = _CLONES[platform.machine()]
    steps = [
        (_LOAD, 0, 0, 0),
        (_JUMP_IF_EQUAL, 1, 0, clone),
        (_JUMP_IF_EQUAL, 0, 1, clone3),
        (_RETURN, 0, 0, _ERRNO | errno.EAGAIN),
        (_RETURN, 0, 0, _ALLOW),
    ]
    instructions = (_Instruction * len(steps))(*steps)
    program = _Program(len(steps), instructions)
    system = ctypes.CDLL(None, use_errno=True)
    for call in ((_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0)):
        if system.prctl(*call) != 0:
            raise OSError(ctypes.get_errno(), "prctl")


def refuse_files(spare):
    """Let only `spare` more files be opened than are open now."""
    end = max(map(int, os.listdir("/proc/self/fd")))
    # The limit is on numbers: those that are free between are taken first, and stay so.
    while os.open("/dev/null", os.O_RDONLY) < end:
        pass
    _limit_files(end + 1 + spare)


def allow_files():
    """Let files be opened again."""
    _limit_files(resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def _limit_files(most):
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def refuse_memory(spare_bytes):
    """Let the address space grow by `spare_bytes` only."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + spare_bytes, resource.RLIM_INFINITY))
