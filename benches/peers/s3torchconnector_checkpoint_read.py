"""S3Checkpoint.reader over one large object: a single `read()`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from s3torchconnector import S3Checkpoint

from peers.stores import s3_arguments

if TYPE_CHECKING:
    from measure import Target


class Workload:
    """Nothing is made before the clock starts; what was read is given back after it."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.data = b""

    def run(self) -> int:
        """Read the object into new memory; return its length."""
        with S3Checkpoint(**s3_arguments(self.target)).reader("s3://bucket/big.bin") as reader:
            self.data = reader.read()
        return len(self.data)
