"""Waiting for a line of the log, for tests of what threads say in their own time."""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Listener(logging.Handler):
    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text
        self.said = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self._text in record.getMessage():
            self.said.set()


@contextlib.contextmanager
def listening_for(text: str, logger_name: str) -> Iterator[threading.Event]:
    """Give an event that is set once this logger says a line with this text in it."""
    logger, listener = logging.getLogger(logger_name), _Listener(text)
    logger.addHandler(listener)
    try:
        yield listener.said
    finally:
        logger.removeHandler(listener)
