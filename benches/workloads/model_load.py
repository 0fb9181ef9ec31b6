"""torch.load of the state that model_save saved, through OssCheckpoint.reader, from the emulator."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch

import model
from osstorchconnector import OssCheckpoint

if TYPE_CHECKING:
    from measure import Target


class _Timed:
    """A reader that adds up how long its reads take; the same around the original's and ours."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def read(self, *size: int) -> Any:
        began = time.perf_counter()
        data = self._reader.read(*size)
        self.seconds += time.perf_counter() - began
        return data

    def readinto(self, buffer: Any) -> Any:
        began = time.perf_counter()
        count = self._reader.readinto(buffer)
        self.seconds += time.perf_counter() - began
        return count


class Workload:
    """Nothing is made before the clock starts: the tensors are made by the load."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.state: dict[str, torch.Tensor] = {}
        self.stages: dict[str, float] = {}

    def run(self) -> int:
        """Load the state; return the bytes of its tensors."""
        target, began = self.target, time.perf_counter()
        checkpoint = OssCheckpoint(**target.where())
        with checkpoint.reader("oss://bucket/model.pt") as reader:
            timed = _Timed(reader)
            self.state = torch.load(timed, weights_only=True)
        whole = time.perf_counter() - began
        self.stages = {"read": timed.seconds, "rebuild": whole - timed.seconds}
        return model.size_bytes(self.state)
