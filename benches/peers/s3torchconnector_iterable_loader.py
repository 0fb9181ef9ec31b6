"""S3IterableDataset under a DataLoader with workers, each with a share of the objects: batches of 256."""

from __future__ import annotations

from typing import TYPE_CHECKING

from s3torchconnector import S3IterableDataset
from torch.utils.data import DataLoader

from peers.stores import s3_arguments
from workloads.iterable_loader import BATCH_SIZE
from workloads.transforms import size_of

if TYPE_CHECKING:
    from measure import Target


class Workload:
    """Nothing is made before the clock starts: the listing counts too."""

    def __init__(self, target: Target) -> None:
        self.target = target

    def run(self) -> int:
        """Read every object once; return the bytes read."""
        dataset = S3IterableDataset.from_prefix(
            "s3://bucket/train/", transform=size_of, enable_sharding=True, **s3_arguments(self.target)
        )
        loader = DataLoader(dataset, batch_size=BATCH_SIZE, num_workers=self.target.workers)
        return sum(int(sizes.sum()) for sizes in loader)
