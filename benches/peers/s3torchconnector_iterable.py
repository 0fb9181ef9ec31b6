"""S3IterableDataset over many small objects: one process, in order, each read whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from s3torchconnector import S3IterableDataset

from peers.stores import s3_arguments

if TYPE_CHECKING:
    from measure import Target


class Workload:
    """Nothing is made before the clock starts: the listing counts too."""

    def __init__(self, target: Target) -> None:
        self.target = target

    def run(self) -> int:
        """List, read and drop every small object; return the bytes read."""
        dataset = S3IterableDataset.from_prefix("s3://bucket/train/", **s3_arguments(self.target))
        return sum(len(item.read()) for item in dataset)
