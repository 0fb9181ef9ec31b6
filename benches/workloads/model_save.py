"""torch.save of a model's state through OssCheckpoint.writer, to the emulator: pickling, sums and upload together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

import model
from osstorchconnector import OssCheckpoint

if TYPE_CHECKING:
    from measure import Target


class Workload:
    """Holds the state, which is made before the clock starts."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.state = model.state(target.big_bytes)
        self.stages: dict[str, float] = {}

    def run(self) -> int:
        """Save the state; return the bytes of its tensors."""
        target = self.target
        checkpoint = OssCheckpoint(**target.where())
        with checkpoint.writer("oss://bucket/model.pt") as writer:
            torch.save(self.state, writer)
        if hasattr(writer, "timings"):  # the original keeps none
            self.stages = writer.timings._asdict()
        return model.size_bytes(self.state)
