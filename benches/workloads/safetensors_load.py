"""OssSafetensor.load_file over one large file: a model's tensors, each in memory of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensors
from osstorchconnector import OssSafetensor

if TYPE_CHECKING:
    from measure import Target


class Workload:
    """Nothing is made before the clock starts."""

    def __init__(self, target: Target) -> None:
        self.target = target

    def run(self) -> int:
        """Load all tensors; return their bytes and those of the header."""
        target = self.target
        connector = OssSafetensor(**target.where())
        loaded = connector.load_file("oss://bucket/big.bin")
        return tensors.HEAD_BYTES + sum(tensor.nbytes for tensor in loaded.values())
