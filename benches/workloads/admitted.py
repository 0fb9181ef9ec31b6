"""OssIterableDataset against a service that refuses what is beyond its rate: how much of the rate is used."""

from __future__ import annotations

import threading

from osstorchconnector import OssIterableDataset
from workloads.figured import FiguredWorkload

SAMPLE_SECONDS = 0.25


class Workload(FiguredWorkload):
    """Counts while it reads: `figures` has a list of (objects delivered, requests, refusals) a moment apart."""

    def run(self) -> int:
        """Read every object once; return the bytes read."""
        dataset = OssIterableDataset.from_prefix("oss://bucket/train/", **self.target.where())
        samples: list[tuple[float, float, float]] = []
        ended = threading.Event()

        def sample() -> None:
            while not ended.wait(SAMPLE_SECONDS):
                stats = dataset.stats()
                names = ("requests.GetObject.ok", "requests", "throttled")
                answered, sent, refused = (float(stats.get(name, 0)) for name in names)
                samples.append((answered, sent, refused))

        watcher = threading.Thread(target=sample, daemon=True)
        watcher.start()
        total = sum(len(item.read()) for item in dataset)
        ended.set()
        watcher.join()
        self.figures = {"samples": samples, "sample_seconds": SAMPLE_SECONDS}
        return total
