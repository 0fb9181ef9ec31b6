"""Asking a live process what it is doing: every request, stream, upload and worker, and since when.

A process that uses a client answers at a Unix socket in the private directory of its user, from a native thread that
needs no Python: it answers when its Python hangs. The socket's name begins with the process that owns it, so what a
killed process left is removed by the rule of all files there (`private_files`). docs/decisions/0018 says why so.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osstorchconnector.errors import ConfigError, NotFoundError, ProtocolError, RequestTimeoutError
from osstorchconnector.private_files import (
    machine,
    name_of,
    new_lease,
    private_directory,
    remove_stale,
    start_time,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

Report = dict[str, Any]

_SUFFIX = "asked"

# What comes of an answer that is laid out otherwise than is read here.
_OTHERWISE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)

# A native thread answers within milliseconds; a machine may be busy.
_PATIENCE_SECONDS = 10.0


def own_prefix() -> str | None:
    """Return what the names of the sockets of this process and its children begin with; None if there is no place.

    What is at this process's exit there of such files is removed.
    """
    try:
        directory = private_directory()
        remove_stale(directory)
    except (ConfigError, OSError):
        return None
    name = f"{name_of(os.getpid())}-{_SUFFIX}"
    lease = new_lease(name)
    lease.directory, lease.until_exit = directory, True
    return os.path.join(directory, name)


def reports(pid: int) -> list[Report]:
    """Ask a process and its descendants, as far as they use a client; the process comes first.

    Raises:
        NotFoundError: none of them does, or they are another user's.
        RequestTimeoutError: one does not answer.
    """
    answers = [_asked(path, "state", _PATIENCE_SECONDS) for path in _sockets(pid)]
    return [report for report in map(_document, answers) if report is not None]


def trace(pid: int, seconds: float) -> dict[str, Any]:
    """Keep the requests of a process and its descendants for some seconds; return them in the trace event format.

    chrome://tracing and https://ui.perfetto.dev open it.

    Raises:
        NotFoundError: as `reports`.
        RequestTimeoutError: as `reports`.
        ConfigError: somebody else is tracing one of them.
        ProtocolError: as `lines`.
    """
    # Every process that uses a client imports this module; few ask.
    from concurrent.futures import ThreadPoolExecutor

    paths = _sockets(pid)
    with ThreadPoolExecutor(len(paths)) as askers:
        asked = [
            askers.submit(_asked, path, f"trace {seconds}", seconds + _PATIENCE_SECONDS) for path in paths
        ]
        parts = [part for part in (_document(answer.result()) for answer in asked) if part is not None]
    return _merged(pid, parts)


def lines(report: Report) -> Iterator[str]:
    """Write what one process answered for people, keys as they are.

    Raises:
        ProtocolError: it has another version of this package, which answers otherwise.
    """
    try:
        yield from _lines(report)
    except _OTHERWISE:
        raise _other_version(f"dump process {_short(report.get('pid'))}") from None


def _lines(report: Report) -> Iterator[str]:
    role = f" ({report['role']})" if report["role"] else ""
    yield f"process {report['pid']}{role}"
    for client in report["clients"]:
        yield f"  {client['endpoint']} {client['region']}: {_pressure(client)}"
        expiry = client["credentials_expire_seconds"]
        expires = "" if expiry is None else f", which expire in {expiry:.0f} s"
        yield f"    keys of {client['credentials']}{expires}; clock of OSS {client['clock_offset_seconds']:+d} s"
        yield f"    {client['connections_in_use']} connections in use, {client['connections_idle']} idle"
        for part in ("workers", "streams", "uploads", "requests"):
            yield from (f"    {_LINES[part](row)}" for row in client[part])


def _pressure(client: dict[str, Any]) -> str:
    if client["is_in_slow_mode"]:
        return "failing: the retry budget is empty, two requests a second go"
    if client["pause_seconds"] > 0:
        return f"throttled: no request goes for {client['pause_seconds']:.1f} s"
    limit = client["requests_per_second_limit"]
    held = f"held at {limit:.0f} requests/s" if limit is not None else "healthy"
    return f"{held}, {client['requests_per_second']:.0f} requests/s now"


def _worker_line(row: dict[str, Any]) -> str:
    return (
        f"workers: {row['running']} of {row['threads']} threads run, {row['jobs_waiting']} requests wait, "
        f"limit {row['limit']}"
    )


def _stream_line(row: dict[str, Any]) -> str:
    return (
        f"{row['kind']}: {row['state']} for {row['for_seconds']:.1f} s; {row['delivered']} delivered, {row['ahead']} "
        f"ahead ({row['ahead_bytes']} bytes), up to {row['uri'] or 'its end'}"
    )


def _upload_line(row: dict[str, Any]) -> str:
    return (
        f"upload of {row['uri']}: {row['state']} for {row['for_seconds']:.1f} s; {row['sent_bytes']} bytes sent, "
        f"{row['parts_left']} parts left, {row['parts_on_their_way']} on their way"
    )


def _request_line(row: dict[str, Any]) -> str:
    silent = "" if row["silent_seconds"] is None else f", silent for {row['silent_seconds']:.1f} s"
    cause = f"; last: {row['last_cause']}" if row["last_cause"] else ""
    return (
        f"{row['operation']} {row['uri']}: {row['state']} for {row['for_seconds']:.1f} s{silent}, attempt "
        f"{row['attempt']}, {row['received_bytes']} bytes so far, begun {row['age_seconds']:.1f} s ago{cause}"
    )


_LINES = {
    "workers": _worker_line,
    "streams": _stream_line,
    "uploads": _upload_line,
    "requests": _request_line,
}


def _document(answer: bytes) -> Report | None:
    """Read an answer; None from a process that ended before it had given all of it."""
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _short(found: Any) -> str:
    """Write what another process says, for an error: on one line, and not at length."""
    return " ".join(str(found).split())[:200]


def _other_version(asked: str) -> ProtocolError:
    return ProtocolError(
        f"{asked}: its osstorchconnector answers otherwise than this one reads; ask with the same version, or with --json"
    )


def _merged(pid: int, parts: list[Report]) -> dict[str, Any]:
    """Make one trace of those of several processes.

    Raises:
        ConfigError: one has none to give.
        ProtocolError: as `lines`.
    """
    for part in parts:
        if "error" in part:
            raise ConfigError(f"trace process {pid}: {_short(part['error'])}; try again later")
    try:
        lost = sum(part["otherData"]["lost_requests"] for part in parts)
        events = [event for part in parts for event in part["traceEvents"]]
    except _OTHERWISE:
        raise _other_version(f"trace process {pid}") from None
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": {"lost_requests": lost}}


def _sockets(pid: int) -> list[Path]:
    """Find the sockets of a process and its descendants.

    Raises:
        NotFoundError: there is none.
    """
    directory, here = Path(private_directory()), f"{machine():08x}-"
    found = []
    for process in _family(pid):
        own = f"-{_SUFFIX}.{process}-{start_time(process)}"
        found += [
            file for file in directory.iterdir() if file.name.startswith(here) and file.name.endswith(own)
        ]
    if not found:
        raise NotFoundError(
            f"dump process {pid}: it is not there, has sent no request yet, could make no socket in its TMPDIR (its log "
            "says so at level DEBUG), or is another user's or another container's; ask as its user, with its TMPDIR, in its container"
        )
    return found


def _family(pid: int) -> list[int]:
    """List a process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            children.setdefault(_parent(entry), []).append(int(entry.name))
    family = [pid]
    for process in family:
        family += sorted(children.get(process, []))
    return family


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text(encoding="latin-1").rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


@contextmanager
def _short_name(path: Path) -> Iterator[str]:
    """Name a socket in no more than the 107 characters there are, while this lasts: by a descriptor of its directory."""
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        place = f"/proc/self/fd/{directory}"
        yield f"{place}/{path.name}" if os.path.exists(place) else str(path)
    finally:
        os.close(directory)


def _asked(path: Path, question: str, patience_seconds: float) -> bytes:
    """Ask one process; nothing comes from one that has just ended."""
    import socket

    with _short_name(path) as address, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asker:
        asker.settimeout(patience_seconds)
        try:
            asker.connect(address)
            asker.sendall(f"{question}\n".encode())
            return b"".join(iter(lambda: asker.recv(1 << 16), b""))
        except (ConnectionError, FileNotFoundError):
            return b""
        except TimeoutError:
            raise RequestTimeoutError(
                f"dump {path.name}: no answer within {patience_seconds:.0f} s; the process may be stopped"
            ) from None
