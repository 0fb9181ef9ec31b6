"""Which bytes of a tensor a slice of it needs. Pure."""

from __future__ import annotations

import itertools
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Blocks with smaller holes between them are read with the holes: a request costs more than so many bytes.
NEAR_BYTES = 4 * 1024
# At most so much is read for one run, holes included; it bounds the memory for what is thrown away.
RUN_BYTES = 8 * 1024 * 1024


class Run(NamedTuple):
    """`blocks` blocks at equal distances: one stretch of the file, and the next bytes of the slice.

    Attributes:
        offset: of the first block, from the tensor's first byte.
        block_bytes: length of each block.
        pitch_bytes: from the start of one block to that of the next.
    """

    offset: int
    block_bytes: int
    pitch_bytes: int
    blocks: int

    @property
    def wanted_bytes(self) -> int:
        """Bytes that belong to the slice."""
        return self.block_bytes * self.blocks

    @property
    def span_bytes(self) -> int:
        """Bytes to be read."""
        return self.pitch_bytes * (self.blocks - 1) + self.block_bytes


def runs(offset: int, shape: Sequence[int], strides: Sequence[int], item_bytes: int) -> Iterator[Run]:
    """Yield the runs of a strided view of a row-major tensor, in the order of the view's elements.

    Args:
        offset: of the view's first element; it and `strides` count elements.
        shape: of the view, without a zero.
    """
    dimensions = [
        (length, stride * item_bytes) for length, stride in zip(shape, strides, strict=True) if length > 1
    ]
    block_bytes = item_bytes
    while dimensions and dimensions[-1][1] == block_bytes:
        block_bytes *= dimensions.pop()[0]
    count, pitch_bytes = 1, block_bytes
    if dimensions and dimensions[-1][1] - block_bytes <= NEAR_BYTES:
        count, pitch_bytes = dimensions.pop()
    most = max(1, RUN_BYTES // pitch_bytes)
    steps = [range(0, length * stride, stride) for length, stride in dimensions]
    for at in itertools.product(*steps):
        start = offset * item_bytes + sum(at)
        for done in range(0, count, most):
            yield Run(start + done * pitch_bytes, block_bytes, pitch_bytes, min(most, count - done))


class RunQueue:
    """Runs to be taken from the front, so many bytes of the slice at a time."""

    def __init__(self, of: Iterator[Run]) -> None:
        self._of = of
        # What was cut off.
        self._next: deque[Run] = deque()

    def take(self, size_bytes: int) -> Iterator[Run]:
        """Yield runs of so many bytes in all, of those that are left."""
        while size_bytes > 0:
            run = self._next.popleft() if self._next else next(self._of)
            taken, left = _cut(run, size_bytes)
            self._next.extendleft(reversed(left))
            size_bytes -= taken.wanted_bytes
            yield taken


def _cut(run: Run, size_bytes: int) -> tuple[Run, list[Run]]:
    """Cut a run after so many bytes of the slice: the first part, and what is left; whole blocks stay together."""
    blocks = min(size_bytes // run.block_bytes, run.blocks)
    if blocks:
        taken, tail = run._replace(blocks=blocks), []
    else:
        blocks, tail_bytes = 1, run.block_bytes - size_bytes
        taken = Run(run.offset, size_bytes, size_bytes, 1)
        tail = [Run(run.offset + size_bytes, tail_bytes, tail_bytes, 1)]
    if blocks < run.blocks:
        tail.append(run._replace(offset=run.offset + blocks * run.pitch_bytes, blocks=run.blocks - blocks))
    return taken, tail
