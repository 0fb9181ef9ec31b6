"""OssIterableDataset over a manifest with labels: nothing is listed, so no size is known beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from osstorchconnector import OssIterableDataset, imagenet_manifest_parser

if TYPE_CHECKING:
    from measure import Target

LABELS = 1000


class Workload:
    """Holds the manifest, which is written before the clock starts."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.manifest = Path(target.directory) / "manifest.tsv"
        lines = (f"{number:08}.bin\t{number % LABELS}\n" for number in range(target.objects))
        self.manifest.write_text("".join(lines))

    def run(self) -> int:
        """Read every object and its label; return the bytes read."""
        dataset = OssIterableDataset.from_manifest_file(
            str(self.manifest), imagenet_manifest_parser, "oss://bucket/train/", **self.target.where()
        )
        total, labels = 0, set()
        for item in dataset:
            total += len(item.read())
            labels.add(item.label)
        assert len(labels) == min(LABELS, self.target.objects), "every object came with its label"
        return total
