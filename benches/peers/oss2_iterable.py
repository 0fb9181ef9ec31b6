"""oss2, the vendor's SDK, over many small objects: threads, as many as our raw client has."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import oss2

from peers.stores import oss2_bucket
from raw import THREADS

if TYPE_CHECKING:
    from measure import Target


class Workload:
    """Nothing is made before the clock starts: the listing counts too."""

    def __init__(self, target: Target) -> None:
        self.target = target

    def run(self) -> int:
        """List, read and drop every small object; return the bytes read."""
        bucket = oss2_bucket(self.target)
        keys = [entry.key for entry in oss2.ObjectIteratorV2(bucket, prefix="train/", max_keys=1000)]
        with ThreadPoolExecutor(THREADS) as threads:
            return sum(threads.map(lambda key: len(bucket.get_object(key).read()), keys))
