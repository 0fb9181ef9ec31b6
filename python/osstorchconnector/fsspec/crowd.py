"""Many objects at a time, for calls that name many of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

# Objects at a time: each one is split into parallel ranges or parts by the engine when it is large.
_AT_A_TIME = 16


def for_all(work: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    """Do the work for every item, some at a time, and return the results in their order.

    The first failure is raised when those under way have ended, and the others are not begun. Ctrl-C does not wait.
    """
    if len(items) <= 1:
        return [work(item) for item in items]
    pool = ThreadPoolExecutor(min(_AT_A_TIME, len(items)), "oss-fsspec")
    ends_well = False
    try:
        results = list(pool.map(work, items))
        ends_well = True
    except Exception:
        ends_well = True
        raise
    finally:
        pool.shutdown(wait=ends_well, cancel_futures=True)
    return results
