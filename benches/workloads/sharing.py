"""Many processes that know nothing of each other, each an OssIterableDataset, share what one account is admitted."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Any

from osstorchconnector import OssIterableDataset
from workloads.figured import FiguredWorkload

SECONDS = 20.0
# Until all have been forked: they begin in one moment, and end in one.
FORKING_SECONDS = 4.0


class Workload(FiguredWorkload):
    """The objects are listed beforehand, once; then `target.workers` processes are forked."""

    def run(self) -> int:
        """Read for a while; return the bytes read, which no process knows beforehand."""
        fork, count = multiprocessing.get_context("fork"), self.target.workers
        index = str(Path(self.target.directory) / "sharing.index")
        OssIterableDataset.from_prefix("oss://bucket/train/", **self.target.where()).save_index(index)
        datasets = [
            OssIterableDataset.from_prefix(
                "oss://bucket/train/",
                shard="rank",
                rank=rank,
                world_size=count,
                index=index,
                **self.target.where(),
            )
            for rank in range(count)
        ]
        results: Any = fork.SimpleQueue()
        begins = time.monotonic() + FORKING_SECONDS
        processes = [fork.Process(target=_read, args=(dataset, begins, results)) for dataset in datasets]
        for process in processes:
            process.start()
        told = [results.get() for _ in processes]
        for process in processes:
            process.join()
        self.figures = {"told": told, "seconds": SECONDS}
        return sum(int(size_bytes) for size_bytes, *_ in told)


def _read(dataset: OssIterableDataset, begins: float, results: Any) -> None:
    ends, total = begins + SECONDS, 0
    late_seconds = time.monotonic() - begins
    assert late_seconds < 0, f"a process began {late_seconds:.1f} s after the others"
    time.sleep(-late_seconds)
    for item in dataset:
        total += len(item.read())
        if time.monotonic() >= ends:
            break
    stats = dataset.stats()
    names = ("requests.GetObject.ok", "requests", "throttled")
    results.put((total, *(stats.get(name, 0) for name in names)))
