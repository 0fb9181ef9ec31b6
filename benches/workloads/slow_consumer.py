"""OssIterableDataset under a program that is much slower than the wire: how much is read ahead of it."""

from __future__ import annotations

import time

from osstorchconnector import OssIterableDataset
from workloads.figured import FiguredWorkload

TAKEN = 400
PAUSE_SECONDS = 0.005


class Workload(FiguredWorkload):
    """Nothing is made before the clock starts."""

    def run(self) -> int:
        """Take some objects, slowly; return their bytes."""
        dataset = OssIterableDataset.from_prefix("oss://bucket/train/", **self.target.where())
        total, most = 0, 0.0
        for _, item in zip(range(TAKEN), dataset):  # noqa: B905  (it ends long before the dataset does)
            total += len(item.read())
            time.sleep(PAUSE_SECONDS)
            stats = dataset.stats()
            most = max(most, float(stats["read_ahead_bytes"]) / float(stats["read_ahead_limit_bytes"]))
        self.figures = {"most_read_ahead": most}
        return total
