"""OssCheckpoint.reader over one large object: a single `readinto` of all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from osstorchconnector import OssCheckpoint

if TYPE_CHECKING:
    from measure import Target


class Workload:
    """Holds the destination, which is made before the clock starts."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.memory = bytearray(target.big_bytes)

    def run(self) -> int:
        """Read the object into memory that is there already; return the bytes read."""
        target = self.target
        checkpoint = OssCheckpoint(**target.where())
        with checkpoint.reader("oss://bucket/big.bin") as reader:
            return reader.readinto(self.memory)
