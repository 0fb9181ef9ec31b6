"""How copies that are under way are ended from outside: by Ctrl-C, or because another one failed for all."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class StoppedError(Exception):
    """The copy was told to end."""


class Stop:
    """One stop for many threads; each says how it is to be woken from a wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_set = False
        self._wakes: dict[int, Callable[[], None]] = {}

    def check(self) -> None:
        """Raise if it is time to end.

        Raises:
            StoppedError: it is.
        """
        if self._is_set:
            raise StoppedError

    @contextlib.contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """Call `wake`, from another thread, if it is time to end during the block; what then fails is a stop.

        If it is time already, `wake` is called at once, as nobody else would end what was just opened.

        Raises:
            StoppedError: it is time.
        """
        with self._lock:
            is_late = self._is_set
            if not is_late:
                self._wakes[id(wake)] = wake
        if is_late:
            _quietly(wake)
            raise StoppedError
        try:
            yield
        except Exception as failure:
            if self._is_set:
                raise StoppedError from failure
            raise
        finally:
            with self._lock:
                self._wakes.pop(id(wake), None)

    def set(self) -> None:
        """End what is under way; each is woken by a thread of its own, as one that gives up an upload may wait."""
        with self._lock:
            self._is_set = True
            wakes = list(self._wakes.values())
        for wake in wakes:
            threading.Thread(target=_quietly, args=(wake,), daemon=True).start()


def _quietly(wake: Callable[[], None]) -> None:
    # What it was told to end may have ended by itself, or may fail now: the thread that copies says so.
    with contextlib.suppress(Exception):
        wake()
