"""What every copy has at hand: where objects are, how things are to be copied, how it is stopped, whom it tells."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from osstorchconnector.checksum import crc64

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from osstorchconnector.cli.cp.jobs import Job
    from osstorchconnector.cli.cp.stopping import Stop
    from osstorchconnector.connection import OssStore

# Enough for the engines to run ranges and parts in parallel.
_PIECE_BYTES = 16 << 20


@dataclass(frozen=True)
class Wanted:
    """How things are to be copied.

    Attributes:
        resume: leave alone what is there with the same bytes, and go on with parts.
        if_absent: refuse to replace anything.
        options: of new objects.
    """

    resume: bool
    if_absent: bool
    options: dict[str, Any]


@dataclass(frozen=True)
class Means:
    """What a copy works with.

    Attributes:
        tell: called with bytes as they have been moved.
    """

    store: OssStore
    wanted: Wanted
    stop: Stop
    tell: Callable[[int], None]


@dataclass(frozen=True)
class Done:
    """What became of a job: `same` was there already, `resumed` was gone on with."""

    job: Job
    how: Literal["copied", "resumed", "same"]
    size_bytes: int
    crc64: int | None


def pieces(source: Any, size_bytes: int | None) -> Iterator[memoryview]:
    """Yield what is left in a stream, in one buffer that is used again and again."""
    # One byte more than is expected: a file that grows is noticed, and one without bytes is still asked.
    room = _PIECE_BYTES if size_bytes is None else min(_PIECE_BYTES, size_bytes + 1)
    with memoryview(bytearray(room)) as buffer:
        while filled := source.readinto(buffer):
            yield buffer[:filled]


def sum_of(means: Means, file: Any, size_bytes: int) -> int:
    """Compute the CRC-64 of what is left in a file."""
    checksum = 0
    for piece in pieces(file, size_bytes):
        means.stop.check()
        checksum = crc64(piece, checksum)
    return checksum


def stat_or_none(path: str) -> os.stat_result | None:
    """Look at a file; None if it is not there."""
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None
