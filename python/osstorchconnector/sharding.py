"""Who reads what: pure arithmetic, the same in every process."""

from __future__ import annotations


def positions_of_worker(count: int, worker_id: int, num_workers: int) -> range:
    """Choose the positions of an index of `count` rows that one DataLoader worker reads.

    Pure. The ranges of all workers cover the index exactly once, differ by at most one in length, and rise, so that
    each worker delivers in index order.

    Args:
        count: rows of the index, >= 0.
        worker_id: 0 <= worker_id < num_workers.

    Raises:
        ValueError: an argument is out of its range.
    """
    if count < 0 or not 0 <= worker_id < num_workers:
        raise ValueError(f"worker {worker_id} of {num_workers} has no share of {count} positions")
    return range(worker_id, count, num_workers)
