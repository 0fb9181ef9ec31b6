"""One save at a time: a second one waits until the first has ended, and the two never mix.

Two saves at once would answer each other's collectives, and a staged copy that is reused would be overwritten while
it is sent. A save that fails may end without a word to its writer, in the planner or on another rank. Its end is known
all the same: torch's function is not on its thread's stack any more. Who drives a writer without that function has the
turn until the writer ends it, or the thread does.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING

from torch.distributed.checkpoint import state_dict_saver

from osstorchconnector.errors import UploadError

if TYPE_CHECKING:
    from types import FrameType

# A save thread starts at once; a stager that is used by itself never starts one.
_START_SECONDS = 2.0
_LOOK_SECONDS = 0.05


class Turns:
    """Whose turn it is in this process."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start anew, as a forked child must: its parent's threads are not there, and may have held the lock."""
        self._changed = threading.Condition()
        self._owner: threading.Thread | None = None
        # The owner's save is one that torch's function runs.
        self._is_torchs = False
        # Until when the thread of a save that was staged may still begin.
        self._expected_until = 0.0

    def stage(self, limit_seconds: float, uri: str) -> None:
        """Wait for the save before; the state may be copied then. Called by the program's own thread.

        Raises:
            UploadError: the save before did not end within the limit.
        """
        me = threading.current_thread()
        with self._changed:
            if self._owner is me:
                # It would not be here if its save had not ended.
                self._owner = None
            self._wait_for_expected()
            self._wait_for_owner(me, limit_seconds, uri)

    def staged(self) -> None:
        """Expect the thread of the save whose state was copied: from now on, however long the copying took."""
        with self._changed:
            self._expected_until = time.monotonic() + _START_SECONDS

    def forget_expected(self) -> None:
        """Expect no thread: the save goes on in another process."""
        with self._changed:
            self._expected_until = 0.0
            self._changed.notify_all()

    def begin(self, limit_seconds: float, uri: str) -> None:
        """Take the turn.

        Raises:
            UploadError: the save before did not end within the limit.
        """
        me = threading.current_thread()
        with self._changed:
            if me is threading.main_thread():
                self._wait_for_expected()
            self._wait_for_owner(me, limit_seconds, uri)
            self._owner, self._expected_until = me, 0.0
            self._is_torchs = _is_in_torchs_save(me)
            self._changed.notify_all()

    def end(self) -> None:
        """Give the turn back; a second call does nothing."""
        with self._changed:
            if self._owner is threading.current_thread():
                self._owner = None
                self._changed.notify_all()

    def _wait_for_expected(self) -> None:
        while time.monotonic() < self._expected_until:
            self._changed.wait(_LOOK_SECONDS)

    def _wait_for_owner(self, me: threading.Thread, limit_seconds: float, uri: str) -> None:
        until = time.monotonic() + limit_seconds
        while self._owner is not me and self._is_running():
            if time.monotonic() >= until:
                raise UploadError(
                    f"save {uri}: another save of this process is still running; wait for its future first",
                    operation="save",
                    uri=uri,
                    state="not_committed",
                )
            self._changed.wait(_LOOK_SECONDS)

    def _is_running(self) -> bool:
        if self._owner is None or not self._owner.is_alive():
            return False
        return not self._is_torchs or _is_in_torchs_save(self._owner)


def _is_in_torchs_save(thread: threading.Thread) -> bool:
    """Say whether a function of torch that saves is on the stack of a thread."""
    frame: FrameType | None = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001
    while frame is not None and frame.f_globals is not vars(state_dict_saver):
        frame = frame.f_back
    return frame is not None


TURNS = Turns()
os.register_at_fork(after_in_child=TURNS.forget)
