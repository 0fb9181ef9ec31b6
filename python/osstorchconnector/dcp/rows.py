"""Rows of a stored tensor, read without the rest of it.

The CRC-64 of an item is that of the whole; rows alone could be compared with nothing. But the manifest also has the
CRC-64 of every part in which the data object was uploaded. So the parts that rows lie in are read, and compared one by
one, where that is clearly less than the item.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.distributed.checkpoint.planner import ReadItem

# Of an item. Above this share of it the whole is read: it is one more part, and needs no cutting.
_WORTHWHILE = 0.75


@dataclass(frozen=True)
class Rows:
    """Neighbouring rows of a stored tensor, and the parts of the data object that they lie in.

    Attributes:
        first: number of the first row.
        count: how many rows.
        offset: of the first row in the data object.
        size_bytes: of the rows.
        parts_offset: of the first part in the data object.
        parts: size and CRC-64 of each part.
    """

    first: int
    count: int
    offset: int
    size_bytes: int
    parts_offset: int
    parts: tuple[tuple[int, int], ...]

    @property
    def parts_bytes(self) -> int:
        """Bytes of all the parts."""
        return sum(size_bytes for size_bytes, _ in self.parts)


class Parts:
    """The parts of a data object."""

    def __init__(self, parts: Sequence[tuple[int, int]]) -> None:
        self._parts = tuple(parts)
        self._edges = list(itertools.accumulate((size_bytes for size_bytes, _ in parts), initial=0))

    def around(self, start: int, end: int) -> tuple[int, tuple[tuple[int, int], ...]]:
        """Return the parts that bytes `start..end` lie in, and the offset of the first."""
        first = bisect_right(self._edges, start) - 1
        return self._edges[first], self._parts[first : bisect_left(self._edges, end)]


def wanted_rows(
    reads: Sequence[ReadItem], shape: Sequence[int], offset: int, item_size: int, parts: Parts
) -> Rows | None:
    """Find the rows that `reads` want of a stored tensor; None where all of it is rather read.

    Args:
        reads: what the plan wants of it.
        shape: of the stored tensor.
        offset: of its first element in the data object; rows follow one another from there.
        item_size: bytes of an element.
    """
    if not shape or not all(_are_rows(read, shape) for read in reads):
        return None
    first = min(read.storage_offsets[0] for read in reads)
    end = max(read.storage_offsets[0] + read.lengths[0] for read in reads)
    row_bytes = prod(shape[1:]) * item_size
    if not 0 <= first < end <= shape[0] or not row_bytes:
        return None
    start = offset + first * row_bytes
    parts_offset, some = parts.around(start, offset + end * row_bytes)
    rows = Rows(first, end - first, start, (end - first) * row_bytes, parts_offset, some)
    return rows if rows.parts_bytes <= _WORTHWHILE * shape[0] * row_bytes else None


def _are_rows(read: ReadItem, shape: Sequence[int]) -> bool:
    """Say whether a read wants rows as they are stored, and not some of their elements."""
    offsets, lengths = tuple(read.storage_offsets), tuple(read.lengths)
    return (
        len(offsets) == len(lengths) == len(shape)
        and not any(offsets[1:])
        and lengths[1:] == tuple(shape[1:])
    )
