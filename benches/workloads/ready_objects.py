"""What an object costs the Python thread that takes it: in all, if it is there already, and what our Python adds."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Any, cast

from osstorchconnector import OssIterableDataset
from workloads.figured import FiguredWorkload

if TYPE_CHECKING:
    from collections.abc import Iterator


# So many at least are asked for from the beginning.
READY = 8
REPEATS = 400
PAUSE_SECONDS = 0.01
PASSES = 9


class _Held:
    """Objects in memory in place of the native deliveries: what it takes to deliver them is Python's alone."""

    wait_seconds = 0.0

    def __init__(self, held: list[tuple[int, bytes]]) -> None:
        self._held = held

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        return iter(self._held)

    def close(self) -> None:
        """Nothing is on its way."""


class _Holding:
    """A dataset's store, but for its deliveries."""

    def __init__(self, store: Any, held: list[tuple[int, bytes]]) -> None:
        self._store, self._held = store, held

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def prefetch(self, *_: Any) -> _Held:
        """Return what is held, whatever is asked for."""
        return _Held(self._held)


class Workload(FiguredWorkload):
    """Takes a few objects, pauses until the next ones are there, and again."""

    def run(self) -> int:
        """Read every object once; return the bytes read."""
        dataset = OssIterableDataset.from_prefix("oss://bucket/train/", **self.target.where())
        items, took, contents = iter(dataset), list[float](), list[bytes]()
        for _ in range(min(REPEATS, self.target.objects // READY)):
            time.sleep(PAUSE_SECONDS)
            before = time.thread_time()
            for _ in range(READY):
                contents.append(next(items).read())
            took.append((time.thread_time() - before) / READY)
        contents += [item.read() for item in items]
        self.figures = {
            "thread_microseconds": median(took) * 1e6,
            "python_microseconds": _python_seconds(dataset, contents) * 1e6,
        }
        return sum(map(len, contents))


def _python_seconds(dataset: OssIterableDataset, contents: list[bytes]) -> float:
    """Return the CPU time of this thread for one object, where the native side hands out what it has."""
    here = dataset._delivery._here()  # noqa: SLF001  (what lies behind it is what is measured without)
    store: Any = here.store
    here.store = cast("Any", _Holding(store, list(enumerate(contents))))
    took = []
    for _ in range(PASSES):
        before = time.thread_time()
        for item in dataset:
            item.read()
        took.append((time.thread_time() - before) / len(contents))
    here.store = store
    return median(took)
