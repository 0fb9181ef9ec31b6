"""OssIterableDataset over many small objects: one process, in order, signed and checked, each read whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from osstorchconnector import OssIterableDataset

if TYPE_CHECKING:
    from measure import Target


class Workload:
    """Nothing is made before the clock starts: the listing counts too."""

    def __init__(self, target: Target) -> None:
        self.target = target

    def run(self) -> int:
        """List, read and drop every small object; return the bytes read."""
        target, total = self.target, 0
        dataset = OssIterableDataset.from_prefix("oss://bucket/train/", **target.where())
        for item in dataset:
            total += len(item.read())
        return total
