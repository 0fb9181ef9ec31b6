"""One rank's failure, told to the others while they still move their bytes.

Torch asks the ranks what became of them when each has ended, so those that are well would first bring their gigabytes
to an end. A rank that fails leaves a word in the store of the process group, where the others look every other second.
It hurries them, and decides nothing: torch gathers the failures as ever.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

import torch.distributed as dist

from osstorchconnector.errors import OssError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

_log = logging.getLogger(__name__)

# A look is one small message to the store's host, from every rank.
_LOOK_SECONDS = 2.0
# The store's host may be gone, and its socket silent: nobody waits longer for it.
_STORE_SECONDS = 2.0
_MAX_TEXT = 500


class OtherRankFailedError(OssError):
    """This rank gave its part up, because another one failed: see there."""


class Alarm:
    """Listens while its block runs; if the block fails, lets the other ranks know.

    The block's failure after another rank's is an `OtherRankFailedError`: it was ended from outside.

    Args:
        name: the same on all ranks, and only in this save or load; None has nobody to tell.
        what: of the error, `save oss://...`.
        rank: this one.
        give_up: ends the block's work soon; called on another thread.
    """

    def __init__(
        self, name: str | None, what: str, rank: int, give_up: Callable[[Exception], object]
    ) -> None:
        self._store: Any = _group_store() if name is not None else None
        self._key = f"osstorchconnector/failed/{name}"
        self._what, self._rank = what, rank
        self._give_up = give_up
        self._heard: OtherRankFailedError | None = None
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        """Listen."""
        if self._store is not None:
            threading.Thread(target=self._listen, name="oss-dcp-alarm", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Listen no more; tell a failure."""
        self._ended.set()
        if raised is None or self._store is None:
            return
        if self._heard is None:
            self._tell(raised)
        elif isinstance(raised, Exception):
            raise self._heard from None

    def _listen(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            try:
                said = self._store.get(self._key).decode() if self._store.check([self._key]) else None
            except Exception as failure:  # noqa: BLE001  (the store's kind decides of which class)
                _log.debug("%s: the store of the process group does not answer: %s", self._what, failure)
                return
            if said is not None and not self._ended.is_set():
                _log.info("%s: rank %d gives its part up, because %s", self._what, self._rank, said)
                self._heard = OtherRankFailedError(f"{self._what}: given up, because {said}")
                self._give_up(self._heard)
                return

    def _tell(self, raised: BaseException) -> None:
        """Leave a word; on a thread of its own, since nothing bounds a store's call."""
        text = f"{type(raised).__name__}: {raised}".partition("\n")[0][:_MAX_TEXT]
        teller = threading.Thread(
            target=self._leave, args=(f"rank {self._rank} failed: {text}",), name="oss-dcp-alarm", daemon=True
        )
        teller.start()
        teller.join(_STORE_SECONDS)

    def _leave(self, text: str) -> None:
        try:
            self._store.set(self._key, text)
        except Exception as failure:  # noqa: BLE001  (as above)
            _log.debug("%s: the other ranks could not be told: %s", self._what, failure)


def _group_store() -> Any | None:
    """Return the store of the process group; None where there is none, or nobody else."""
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return None
    # Torch has no public way to it. Backends that bring a meeting of their own, such as MPI, have no store.
    find = getattr(dist.distributed_c10d, "_get_default_store", None)
    return find() if find is not None else None
