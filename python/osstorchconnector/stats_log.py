"""`stats()` as one line of the log, as often as `network.statsLogSeconds` says.

One daemon thread a process: it also speaks when the program hangs. It sleeps on an event that the exit sets, so no exit
waits for it; a forked child has none until it uses a client, and then begins its own.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from typing import TYPE_CHECKING

from osstorchconnector.measures import Stats, shown

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)


class _Teller:
    """The thread of one process."""

    def __init__(self, seconds: float, stats: Callable[[], Stats]) -> None:
        self.pid = os.getpid()
        self._seconds = seconds
        self._stats = stats
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tell, name="oss-stats-log", daemon=True)
        self._thread.start()
        atexit.register(self.end)

    def end(self) -> None:
        """Say nothing more; does not wait."""
        self._ended.set()

    def _tell(self) -> None:
        while not self._ended.wait(self._seconds):
            try:
                said = line(shown(self._stats()))
            except Exception as failure:  # noqa: BLE001  (whatever it is, the next line may come)
                _log.warning("stats of process %d cannot be told this time: %r", os.getpid(), failure)
            else:
                _log.info("%s", said)


_teller: list[_Teller] = []


def keep(seconds: float, stats: Callable[[], Stats]) -> None:
    """Log the raw counters that `stats` returns, that often, in this process; the first interval counts."""
    if not _teller or _teller[0].pid != os.getpid():
        _teller[:] = [_Teller(seconds, stats)]


def line(stats: Stats) -> str:
    """Write counters in one line; what is 0 is left out."""
    told = (f"{name}={value:.6g}" for name, value in sorted(stats.items()) if value)
    return f"stats of process {os.getpid()}: {' '.join(told)}"
