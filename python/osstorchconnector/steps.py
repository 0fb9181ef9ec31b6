"""How long each step of a training waits for its data: the first figure to look at when it is slower than it should be."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Generic, TypeVar

from osstorchconnector import counters, measures

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Batch = TypeVar("Batch")


class Steps(Generic[Batch]):
    """Iterate over a DataLoader, or anything else, and measure: `for batch in Steps(loader)`.

    The times are in `osstorchconnector.stats()` as `step_wait_seconds` and its neighbours. What is waited for is the next
    batch, whoever is slow: a worker's transform as well as OSS. `dataset_wait_seconds` is OSS alone.

    Args:
        batches: iterated anew by each iteration.

    Attributes:
        last_wait_seconds: how long the last step waited.
    """

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = batches
        self.last_wait_seconds = 0.0

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches."""
        asked = time.monotonic()
        for batch in self._batches:
            got = time.monotonic()
            self._waited(got - asked)
            yield batch
            asked = time.monotonic()
            counters.count("step_work_seconds", asked - got)

    def _waited(self, seconds: float) -> None:
        self.last_wait_seconds = seconds
        counters.count("steps", 1)
        counters.count("step_wait_seconds", seconds)
        counters.count(f"step_wait#{measures.class_of(seconds)}", 1)
