"""obstore over one large object: one `get`, all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import obstore

from peers.stores import obstore_bucket

if TYPE_CHECKING:
    from measure import Target


class Workload:
    """Nothing is made before the clock starts; what was read is given back after it."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.data: obstore.Bytes | None = None

    def run(self) -> int:
        """Read the object into new memory; return its length."""
        self.data = data = obstore.get(obstore_bucket(self.target), "big.bin").bytes()
        return len(data)
