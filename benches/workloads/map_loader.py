"""OssMapDataset under a DataLoader: batches of 256 in a random order, with or without workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.utils.data import DataLoader

from osstorchconnector import OssMapDataset
from workloads.transforms import size_of

if TYPE_CHECKING:
    from measure import Target

BATCH_SIZE = 256


class Workload:
    """Nothing is made before the clock starts: the listing counts too."""

    def __init__(self, target: Target) -> None:
        self.target = target

    def run(self) -> int:
        """Read every object once; return the bytes read."""
        dataset = OssMapDataset.from_prefix("oss://bucket/train/", transform=size_of, **self.target.where())
        loader = DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True, num_workers=self.target.workers)
        return sum(int(sizes.sum()) for sizes in loader)
