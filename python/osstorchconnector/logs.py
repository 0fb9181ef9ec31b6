"""Logging: the package's loggers, and the original's log and audit files where a config file asks for them.

Python `logging` (logger `osstorchconnector`) is the primary channel; no handler is installed by default, so warnings
and errors reach stderr. `logPath` and `auditPath` add handlers on `<path>_<worker id>`, mode 0600, in the line shape
of the original. A log file that cannot be written is one warning, never a failure.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import logging
import os
import time
from logging.handlers import RotatingFileHandler
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from osstorchconnector.config import ClientConfig

ROOT = "osstorchconnector"
AUDIT = f"{ROOT}.audit"

# The original's audit grows without bound; ours keeps at most half a gigabyte.
_AUDIT_BYTES = 100_000_000
_AUDIT_FILES = 5

_LEVEL_WORDS = {"WARNING": "WARN", "CRITICAL": "ERROR"}

# (level as in `logging`, module, text)
Record = tuple[int, str, str]

_log = logging.getLogger(__name__)
_native_records: list[Callable[[], Iterable[Record]]] = []
_worker = {"id": 0}
# The handlers that are installed, and in which process, for which worker: a forked child installs its own.
_installed: dict[str, tuple[tuple[int, int], logging.Handler]] = {}


def set_worker(worker_id: int) -> None:
    """Say which DataLoader worker this process is; log file names carry it."""
    _worker["id"] = worker_id


def set_up(config: ClientConfig) -> None:
    """Install what the config asks for, once per process and file."""
    logger = logging.getLogger(ROOT)
    if config.log_level is not None and logger.level == logging.NOTSET:
        logger.setLevel(config.log_level)
    if config.log_path:
        _install(logger, config.log_path, _LineFormatter(), config.log_level or logging.INFO, rotate=False)
    if config.audit_path:
        audit = logging.getLogger(AUDIT)
        audit.setLevel(logging.INFO)
        audit.propagate = False
        _install(audit, config.audit_path, _AuditFormatter(), logging.INFO, rotate=True)


def told_requests(config: ClientConfig) -> dict[str, bool]:
    """Say, as options of the native client, which requests it is to make records of."""
    return {
        "tell_requests": _log.isEnabledFor(logging.DEBUG),
        "audit": config.audit_path is not None,
        "audit_all": config.audit_all,
    }


def take_from(drain: Callable[[], Iterable[Record]]) -> None:
    """Say where the native side's records wait; it has no thread to log them itself."""
    _native_records.append(drain)


def emit_waiting() -> None:
    """Log the native side's records."""
    for drain in _native_records:
        emit(drain())


@contextlib.contextmanager
def emitting() -> Iterator[None]:
    """Log the native side's records at the end of the block, however it ends."""
    try:
        yield
    finally:
        emit_waiting()


def emit(records: Iterable[Record]) -> None:
    """Log records."""
    for level, module, text in records:
        logging.getLogger(f"{ROOT}.{module}").log(level, "%s", text)


def _install(
    logger: logging.Logger, path: str, formatter: logging.Formatter, level: int, *, rotate: bool
) -> None:
    known, here = _installed.get(path), (os.getpid(), _worker["id"])
    if known is not None and known[0] == here:
        return
    if known is not None:
        # The parent's file: its descriptor is shared, so it is forgotten, not closed.
        logger.removeHandler(known[1])
    try:
        handler = _file_handler(f"{path}_{_worker['id']}", rotate=rotate)
    except OSError as failure:
        _log.warning(
            "log file %s_%d cannot be opened: %s; logging goes on without it", path, _worker["id"], failure
        )
        handler = logging.NullHandler()
    handler.setFormatter(formatter)
    handler.setLevel(level)
    logger.addHandler(handler)
    _installed[path] = (here, handler)


def _file_handler(path: str, *, rotate: bool) -> logging.Handler:
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    handler: logging.FileHandler = (
        _SharedRotation(path, maxBytes=_AUDIT_BYTES, backupCount=_AUDIT_FILES, encoding="utf-8")
        if rotate
        else _QuietFile(path, encoding="utf-8")
    )
    return handler


def _unbuffered(handler: logging.FileHandler) -> TextIO:
    """Open a handler's file without a buffer, for its owner alone from its first moment on.

    A buffer has a lock of its own, which `logging` does not renew: a child forked while another thread was writing a
    line would wait for it for ever.
    """
    raw = io.FileIO(handler.baseFilename, "a", opener=_privately)
    return io.TextIOWrapper(cast("BinaryIO", raw), encoding=handler.encoding, write_through=True)


def _privately(path: str, flags: int) -> int:
    # The mask of the process would be that of its other threads too.
    return os.open(path, flags, 0o600)


def _is_locked(file: BinaryIO) -> bool:
    """Lock a file for this process; False if another has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # A file system without locks: better rotated by several than without bound.
        return True
    return True


class _QuietFile(logging.FileHandler):
    """A file whose failures are nobody's problem: a full disk must not fail or flood a read."""

    def _open(self) -> Any:  # the base's stubs name a class that only buffers
        return _unbuffered(self)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (the base's name)
        """Drop the record."""


class _SharedRotation(RotatingFileHandler):
    """A rotated file into which all processes of a job on this machine write: one of them rotates it for all.

    Each would else push the newest file down by one, and history out at the end. Who rotates holds a lock on the newest
    file. Nobody waits for it: a line that comes meanwhile goes into the file that is rotated.
    """

    def _open(self) -> Any:  # as above
        return _unbuffered(self)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  (the base's name)
        """Drop the record."""

    def doRollover(self) -> None:  # noqa: N802  (the base's name)
        """Rotate, or go on with the newest file if another process has rotated."""
        # A failure leaves the handler without a file at the worst, and it opens one for the next line, which is this.
        with contextlib.suppress(OSError), open(self.baseFilename, "ab", opener=_privately) as newest:
            if not _is_locked(newest):
                return
            assert self.stream is not None, "`shouldRollover` opens it"
            status = os.fstat(newest.fileno())
            if not os.path.samestat(status, os.stat(self.baseFilename)):
                return
            if os.path.samestat(status, os.fstat(self.stream.fileno())):
                super().doRollover()
            else:
                self.stream.close()
                self.stream = self._open()


class _LineFormatter(logging.Formatter):
    """`2024/08/02 15:04:05.123456|INFO |th=00007F84E89E6F40|streams.py:123|function:message`."""

    def format(self, record: logging.LogRecord) -> str:
        level = _LEVEL_WORDS.get(record.levelname, record.levelname)
        place = f"{record.filename}:{record.lineno}|{record.funcName}"
        return f"{_moment(record)}|{level:<5}|{_thread(record)}|{place}:{record.getMessage()}"


class _AuditFormatter(logging.Formatter):
    """`2024/08/02 15:04:05.123456|AUDIT|th=00007F84E89E6F40|oss:read [key=...][offset=...]`."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{_moment(record)}|AUDIT|{_thread(record)}|{record.getMessage()}"


def _moment(record: logging.LogRecord) -> str:
    microseconds = int(record.created * 1_000_000) % 1_000_000
    return f"{time.strftime('%Y/%m/%d %H:%M:%S', time.localtime(record.created))}.{microseconds:06d}"


def _thread(record: logging.LogRecord) -> str:
    return f"th={record.thread or 0:016X}"
