"""OssIterableDataset under a DataLoader with workers: batches of 256."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.utils.data import DataLoader

from osstorchconnector import OssIterableDataset
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
        dataset = OssIterableDataset.from_prefix(
            "oss://bucket/train/", transform=size_of, **self.target.where()
        )
        loader = DataLoader(dataset, batch_size=BATCH_SIZE, num_workers=self.target.workers)
        return sum(int(sizes.sum()) for sizes in loader)
