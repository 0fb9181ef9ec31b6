"""Batches of 256 decoded JPEGs: how much of its time the loop waits for data."""

from __future__ import annotations

import io
import time
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from osstorchconnector import OssIterableDataset
from workloads.figured import FiguredWorkload

BATCH_SIZE = 256


class Workload(FiguredWorkload):
    """Nothing is made before the clock starts: the listing counts too."""

    def run(self) -> int:
        """Decode every picture once; return the bytes read."""
        dataset = OssIterableDataset.from_prefix(
            "oss://bucket/pictures/", transform=decoded, **self.target.where()
        )
        began, total = time.perf_counter(), 0
        for _, sizes in DataLoader(dataset, batch_size=BATCH_SIZE):
            total += int(sizes.sum())
        waited = float(dataset.stats()["dataset_wait_seconds"])
        self.figures = {"waiting_share": waited / (time.perf_counter() - began)}
        return total


def decoded(item: Any) -> tuple[torch.Tensor, int]:
    """Decode a picture to a tensor; return it and the bytes that it came in."""
    data = item.read()
    with Image.open(io.BytesIO(data)) as picture:
        return torch.from_numpy(np.array(picture.convert("RGB"))), len(data)
