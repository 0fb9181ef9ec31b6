"""Whether the request quota was what an epoch waited for, and what larger objects would give."""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

_log = logging.getLogger(__name__)

# The quota was the limit if the consumer waited for a tenth of the epoch, and its requests were held back for half of
# the time that they took. Less than that, and something else would be the limit a little later.
_WAITED_PART = 0.1
_HELD_BACK_PART = 0.5

# Sizes to compare with: what packing samples into archives gives, and what a large read is cut to.
_LARGER_BYTES = (1 << 20, 8 << 20)


class Epoch:
    """One epoch of one process, a `with` block: says at its end if it waited for the request quota.

    Args:
        name: what is read.
        stats: returns the raw counters of this process.
    """

    def __init__(self, name: str, stats: Callable[[], Mapping[str, float]]) -> None:
        self._name = name
        self._stats = stats
        self._before: Mapping[str, float] = {}
        self._begun = 0.0
        # At exit an iterator may be closed when modules have no names any more.
        self._is_exiting = sys.is_finalizing

    def __enter__(self) -> None:
        """Begin."""
        self._before = self._stats()
        self._begun = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Log a line if the request quota was the limit."""
        if self._is_exiting():
            return
        told = line(self._name, self._before, self._stats(), time.monotonic() - self._begun)
        if told is not None:
            _log.warning("%s", told)


def line(name: str, before: Mapping[str, float], after: Mapping[str, float], seconds: float) -> str | None:
    """Say that the service's limit of requests, and not this client, held up an epoch; None if it did not.

    Args:
        name: what was read.
        before: raw counters of the reading process when the epoch began.
        after: and when it ended.
        seconds: between the two.
    """

    def added(counter: str) -> float:
        return after.get(counter, 0) - before.get(counter, 0)

    objects, waited = added("dataset_objects"), added("dataset_wait_seconds")
    held_back, taken = added("throttle_pause_seconds"), added("request_seconds")
    if not (objects and added("throttled") and waited >= _WAITED_PART * seconds):
        return None
    if held_back < _HELD_BACK_PART * taken:
        return None
    mean_bytes, rate = added("dataset_bytes") / objects, added("requests_ok") / seconds
    return (
        f"epoch of {name}: the request quota of the account was the limit, not this client: OSS admitted {rate:,.0f} "
        f"requests/s and refused {added('throttled'):,.0f}; the consumer waited {waited:.1f} of {seconds:.1f} s. "
        f"{objects:,.0f} objects of {_size(mean_bytes)} on average came at {_size(mean_bytes * objects / seconds)}/s"
        f"{_with_larger(mean_bytes, rate)}"
    )


def _with_larger(mean_bytes: float, rate: float) -> str:
    larger = [size for size in _LARGER_BYTES if size > 2 * mean_bytes]
    if not larger:
        return "; ask for a higher quota"
    gains = " and ".join(f"{_size(size)} would bring {_size(size * rate)}/s" for size in larger)
    return f"; at this rate of requests objects of {gains}, as far as the network goes: pack samples, or ask for more"


def _size(size_bytes: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size_bytes < 1000:  # noqa: PLR2004  (units of a thousand)
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.3g} GB"
