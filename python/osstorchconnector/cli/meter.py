"""One line on a terminal's stderr that says how far something is."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_EVERY_SECONDS = 0.2
_ERASE = "\r\x1b[K"


class Meter:
    """The line; without a terminal, or if it is not wanted, it does nothing.

    Args:
        is_wanted: whether it is to be shown if there is a terminal.
    """

    def __init__(self, *, is_wanted: bool) -> None:
        self._is_shown = is_wanted and sys.stderr.isatty()
        self._drawn = 0.0

    def is_due(self) -> bool:
        """Say whether it is time for another one."""
        return self._is_shown and time.monotonic() - self._drawn >= _EVERY_SECONDS

    def tell(self, text: str) -> None:
        """Draw the line if it is time for another one."""
        if self.is_due():
            self.show(text)

    def show(self, text: str) -> None:
        """Draw the line in place of the last one."""
        self._drawn = time.monotonic()
        # The last column stays free: a terminal would break the line there.
        columns = shutil.get_terminal_size().columns - 1
        sys.stderr.write(f"{_ERASE}{text[:columns]}")
        sys.stderr.flush()

    @contextlib.contextmanager
    def erased(self) -> Iterator[None]:
        """Leave nothing behind at the end of the block, however it ends."""
        try:
            yield
        finally:
            self.erase()

    def erase(self) -> None:
        """Leave nothing behind."""
        if self._is_shown and self._drawn:
            sys.stderr.write(_ERASE)
            sys.stderr.flush()
