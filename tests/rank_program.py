"""One rank of a job, for tests: reads its share of a prefix with two DataLoader workers and says what it read.

Arguments: how the process group is made (a URL, or "none"), the start method of the workers, "apart" if each rank is to
take itself for a node of its own, and a file for what was read.
"""

from __future__ import annotations

import json
import os
import sys

from torch import distributed
from torch.utils.data import DataLoader

from osstorchconnector import OssIterableDataset, rendezvous


def row_of(sample):
    return int(sample.key.rpartition("/")[2])


def main(method, start_method, together, results):
    rank, world_size = int(os.environ["TEST_RANK"]), int(os.environ["TEST_WORLD_SIZE"])
    given = {"rank": rank, "world_size": world_size} if method == "none" else {}
    if method == "env://":
        distributed.init_process_group("gloo")
    elif method != "none":
        distributed.init_process_group("gloo", init_method=method, rank=rank, world_size=world_size)
    if together == "apart":
        rendezvous.node = lambda: str(rank)
    dataset = OssIterableDataset.from_prefix(
        "oss://bucket/p/", transform=row_of, shard="rank", shuffle=True, seed=3, batch_size=4, **given
    )
    dataset.prepare()
    loader = DataLoader(dataset, batch_size=4, num_workers=2, multiprocessing_context=start_method)
    rows = [row for batch in loader for row in batch.tolist()]
    with open(f"{results}.{rank}", "w", encoding="ascii") as file:
        json.dump(
            {"rows": rows, "length": len(dataset), "fingerprint": dataset.state_at(0)["fingerprint"]}, file
        )
    if method != "none":
        distributed.destroy_process_group()


if __name__ == "__main__":
    os.environ.setdefault("TEST_RANK", os.environ.get("RANK", ""))
    os.environ.setdefault("TEST_WORLD_SIZE", os.environ.get("WORLD_SIZE", ""))
    main(*sys.argv[1:])
