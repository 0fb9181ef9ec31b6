"""How far a listing is: a line in the log every few seconds, and a bar on a terminal on request."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import sys
import time
from typing import TYPE_CHECKING

from osstorchconnector import counters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_log = logging.getLogger(__name__)

_LOG_SECONDS = 5.0
_BAR_SECONDS = 0.2
_bar_wanted: contextvars.ContextVar[bool] = contextvars.ContextVar("bar_wanted", default=False)


@contextlib.contextmanager
def bar_shown(wanted: bool) -> Iterator[None]:
    """Show a bar on stderr for the listings of this block."""
    before = _bar_wanted.set(wanted)
    try:
        yield
    finally:
        _bar_wanted.reset(before)


class ListingProgress:
    """Told of keys and pages while something is listed; logs, draws, and draws the last state at the end.

    Args:
        name: what is listed.
        clock: seconds that only rise.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._has_bar = _bar_wanted.get()
        self._started = self._logged = self._drawn = clock()
        self._logged_pages = 0

    def __call__(self, keys: int, pages: int) -> None:
        """Take the numbers so far."""
        now = self._clock()
        if now - self._logged >= _LOG_SECONDS:
            rate = (pages - self._logged_pages) / (now - self._logged)
            _log.info("listing %s: %d keys so far, %.1f pages/s", self._name, keys, rate)
            self._logged, self._logged_pages = now, pages
        if self._has_bar and now - self._drawn >= _BAR_SECONDS:
            self._drawn = now
            self._draw(keys, pages, "")

    def count(self, keys: int) -> None:
        """Count what was listed, and how long that took."""
        counters.count("index_listed_keys", keys)
        counters.count("index_listing_seconds", self._clock() - self._started)

    def ended(self, keys: int) -> None:
        """Say how many there were."""
        if self._has_bar:
            self._draw(keys, None, "\n")

    def _draw(self, keys: int, pages: int | None, end: str) -> None:
        seconds = self._clock() - self._started
        rate = f", {pages / seconds:.1f} pages/s" if pages is not None and seconds > 0 else ""
        # How many there will be nobody knows, so the bar only runs.
        sys.stderr.write(f"\r\x1b[Klisting {self._name}: {keys:,} objects, {seconds:.1f} s{rate}{end}")
        sys.stderr.flush()
