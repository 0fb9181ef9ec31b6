"""torch.load of the state that model_save saved, through OssCheckpoint.reader, from the emulator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

import model
from osstorchconnector import OssCheckpoint

if TYPE_CHECKING:
    from measure import Target


class Workload:
    """Nothing is made before the clock starts: the tensors are made by the load."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.state: dict[str, torch.Tensor] = {}

    def run(self) -> int:
        """Load the state; return the bytes of its tensors."""
        target = self.target
        checkpoint = OssCheckpoint(**target.where())
        with checkpoint.reader("oss://bucket/model.pt") as reader:
            self.state = torch.load(reader, weights_only=True)
        return model.size_bytes(self.state)
