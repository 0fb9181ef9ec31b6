"""A state that was loaded and waits for the iterations that go on from it.

It is loaded in one process and used once: by that process, or by each of its DataLoader workers, also by those that live
already. These find it where they find the number of the epoch.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from osstorchconnector.errors import InternalError
from osstorchconnector.progress import State, state_of

if TYPE_CHECKING:
    from osstorchconnector.delivery import Worker
    from osstorchconnector.epochs import SharedEpoch

# It becomes a part of a file's name.
_NAME = re.compile(r"resumed-[0-9a-f]{8}")


@dataclass(frozen=True)
class _Waiting:
    """One state that waits; its name tells it from those before it."""

    name: str
    state: State
    loaded_in: int

    @property
    def is_own(self) -> bool:
        return self.loaded_in == os.getpid()


class LoadedState:
    """The state that was loaded last; a picklable value.

    Args:
        shared: what this process and its workers see together.
    """

    def __init__(self, shared: SharedEpoch) -> None:
        self._shared = shared
        self._newest: _Waiting | None = None

    def load(self, state: State, worker: Worker) -> None:
        """Let the next iterations go on from `state`."""
        if worker.is_child:
            # This is later than what its parent was given, which no iteration of this worker is to find any more.
            while self.take(worker) is not None:
                pass
        self._newest = _Waiting(f"resumed-{secrets.token_hex(4)}", state, os.getpid())
        if not worker.is_child:
            self._shared.set_loaded([self._newest.name, state.as_dict()])

    def waiting(self, worker: Worker) -> State | None:
        """Return the state that was loaded last, here or in this worker's parent, whether or not it was used here."""
        newest = self._look(worker)
        return None if newest is None else newest.state

    def take(self, worker: Worker) -> State | None:
        """Use the state, once in each worker even if workers are made anew; None if there is none left."""
        newest = self._look(worker)
        if newest is None:
            return None
        if not newest.is_own:
            is_left = self._shared.is_first(f"{newest.name}-{worker.id}", is_worker=worker.is_child)
            return newest.state if is_left else None
        is_left = worker.is_child or not self._shared.was_asked(newest.name)
        self._forget(worker)
        return newest.state if is_left else None

    def drop_used(self, worker: Worker) -> None:
        """Forget the state if a worker of this process has used it."""
        if self._newest is not None and self._shared.was_asked(self._newest.name):
            self._forget(worker)

    def _look(self, worker: Worker) -> _Waiting | None:
        if worker.is_child and (self._newest is None or not self._newest.is_own):
            self._newest = self._told() or self._newest
        return self._newest

    def _told(self) -> _Waiting | None:
        """Read what this worker's parent was told last.

        Raises:
            InternalError: it is damaged; to begin at the start then would read twice what the job has read.
        """
        with contextlib.suppress(TypeError, ValueError):
            told = self._shared.loaded()
            if told is None:
                return None
            name, document = told
            if _NAME.fullmatch(name):
                return _Waiting(name, state_of(document), 0)
        raise InternalError(
            "load a state: what this worker's main process wrote down for it is damaged; load the state again"
        )

    def _forget(self, worker: Worker) -> None:
        self._newest = None
        if not worker.is_child:
            self._shared.set_loaded(None)
