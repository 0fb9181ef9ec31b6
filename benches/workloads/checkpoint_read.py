"""OssCheckpoint.reader over one large object: a single `read()`, which also makes the bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from osstorchconnector import OssCheckpoint

if TYPE_CHECKING:
    from measure import Target


class Workload:
    """Nothing is made before the clock starts; what was read is given back after it, as in the raw client."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.data = b""

    def run(self) -> int:
        """Read the object into one new `bytes`; return its length."""
        target = self.target
        checkpoint = OssCheckpoint(**target.where())
        with checkpoint.reader("oss://bucket/big.bin") as reader:
            self.data = reader.read()
        return len(self.data)
