"""obstore over many small objects: asyncio, as its README shows, with as many requests at a time as our raw client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import obstore

from peers.stores import obstore_bucket
from raw import THREADS

if TYPE_CHECKING:
    from measure import Target


class Workload:
    """Nothing is made before the clock starts: the listing counts too."""

    def __init__(self, target: Target) -> None:
        self.target = target

    def run(self) -> int:
        """List, read and drop every small object, in any order; return the bytes read."""
        return asyncio.run(self._run())

    async def _run(self) -> int:
        bucket = obstore_bucket(self.target)
        listed = await bucket.list("train/").collect_async()
        keys = iter(entry["path"] for entry in listed)

        async def take() -> int:
            total = 0
            for key in keys:
                answer = await obstore.get_async(bucket, key)
                total += len(await answer.bytes_async())
            return total

        return sum(await asyncio.gather(*(take() for _ in range(THREADS))))
