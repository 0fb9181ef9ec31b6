"""The first shuffled batch of a bucket that nobody has listed yet."""

from __future__ import annotations

import time

from torch.utils.data import DataLoader

from osstorchconnector import OssIterableDataset
from workloads.figured import FiguredWorkload
from workloads.transforms import size_of

BATCH_SIZE = 256


class Workload(FiguredWorkload):
    """Nothing is made before the clock starts."""

    def run(self) -> int:
        """List, start workers, and wait for one batch; return its bytes."""
        began = time.perf_counter()
        dataset = OssIterableDataset.from_prefix(
            "oss://bucket/train/", transform=size_of, shuffle=True, shard="none", **self.target.where()
        )
        batches = iter(
            DataLoader(dataset, batch_size=BATCH_SIZE, num_workers=self.target.workers, prefetch_factor=2)
        )
        sizes = next(batches)
        self.figures = {"first_batch_seconds": time.perf_counter() - began}
        return int(sizes.sum())
