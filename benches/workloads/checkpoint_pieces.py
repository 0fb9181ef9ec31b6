"""OssCheckpoint.reader over one large object: `readinto` the same 64 MiB again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from osstorchconnector import OssCheckpoint

if TYPE_CHECKING:
    from measure import Target

PIECE_BYTES = 64 * 1024 * 1024


class Workload:
    """Holds the destination, which is made before the clock starts."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.piece = bytearray(PIECE_BYTES)

    def run(self) -> int:
        """Read the object to its end; return the bytes read."""
        target, total = self.target, 0
        checkpoint = OssCheckpoint(**target.where())
        with checkpoint.reader("oss://bucket/big.bin") as reader:
            while got := reader.readinto(self.piece):
                total += got
        return total
