"""oss2, the vendor's SDK, over one large object: one `get_object`, read whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peers.stores import oss2_bucket

if TYPE_CHECKING:
    from measure import Target


class Workload:
    """Nothing is made before the clock starts; what was read is given back after it."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.data = b""

    def run(self) -> int:
        """Read the object into new memory; return its length."""
        self.data = oss2_bucket(self.target).get_object("big.bin").read()
        return len(self.data)
