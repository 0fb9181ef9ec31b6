"""OssCheckpoint.writer: one large object written 64 MiB at a time, all from the same memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from osstorchconnector import OssCheckpoint
from server import SAVED_BYTE

if TYPE_CHECKING:
    from measure import Target

PIECE_BYTES = 64 * 1024 * 1024


class Workload:
    """Holds the memory that is written, which is made before the clock starts."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.memory = bytearray([SAVED_BYTE]) * PIECE_BYTES

    def run(self) -> int:
        """Write the object; return the bytes written."""
        target, written = self.target, 0
        checkpoint = OssCheckpoint(**target.where())
        with checkpoint.writer("oss://bucket/saved/object") as writer, memoryview(self.memory) as memory:
            while written < target.big_bytes:
                written += writer.write(memory[: min(target.big_bytes - written, PIECE_BYTES)])
        return written
