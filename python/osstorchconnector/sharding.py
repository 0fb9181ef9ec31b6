"""Who reads what: pure arithmetic, the same in every process.

The positions of an epoch are dealt to the ranks one by one. What a rank has is dealt to its DataLoader workers in runs
of one batch, because a DataLoader takes one batch from each worker in turn: so the trainer of a rank sees the rank's
positions in rising order, whatever the number of workers, and what a job has consumed is a beginning of the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Uneven = Literal["drop", "pad", "allow"]


@dataclass(frozen=True)
class Share:
    """The positions that one worker of one rank reads; its n-th is called its place n.

    Attributes:
        first: the rank's first position.
        step: from one position of the rank to the next: the number of ranks.
        run: positions of the rank that follow each other in one worker.
        worker: this worker.
        workers: workers of the rank.
        count: how many positions there are.
    """

    first: int
    step: int
    run: int
    worker: int
    workers: int
    count: int

    def __len__(self) -> int:
        """Count the positions."""
        return self.count

    def position_at(self, place: int) -> int:
        """Return the position that is read at `place`."""
        of_rank = (place // self.run * self.workers + self.worker) * self.run + place % self.run
        return self.first + self.step * of_rank

    def place_of(self, position: int) -> int:
        """Return the place of a position of this share: the inverse of `position_at`."""
        turn, within = divmod((position - self.first) // self.step, self.run)
        return turn // self.workers * self.run + within


@dataclass(frozen=True)
class Rest:
    """What is left of a share: the places from `start` on, but those in `without`."""

    share: Share
    start: int = 0
    without: Sequence[int] = ()

    def __iter__(self) -> Iterator[int]:
        """Yield the positions, in order."""
        done = frozenset(self.without)
        places = (place for place in range(self.start, self.share.count) if place not in done)
        return map(self.share.position_at, places)


def share_of(
    count: int,
    *,
    start: int = 0,
    rank: int = 0,
    world_size: int = 1,
    worker: int = 0,
    workers: int = 1,
    run: int = 1,
    uneven: Uneven = "allow",
) -> Share:
    """Choose the positions of an epoch that one worker of one rank reads.

    Pure. The shares of all (rank, worker) pairs together are the positions `start..count`, each exactly once; "drop"
    leaves out up to `world_size - 1` of the last ones, and "pad" adds as many positions from `count` on, so that all
    ranks have equally many.

    Args:
        count: positions of the epoch, >= 0.
        start: positions that were read before.
        run: positions of a rank that follow each other in one worker.

    Raises:
        ValueError: an argument is out of its range.
    """
    if min(count, start) < 0 or not 0 <= rank < world_size or not 0 <= worker < workers or run < 1:
        raise ValueError(
            f"rank {rank} of {world_size}, worker {worker} of {workers} has no share of {start}..{count} by {run}"
        )
    of_rank = len(range(start + rank, _end(count, start, world_size, uneven), world_size))
    rounds, rest = divmod(of_rank, run * workers)
    places = rounds * run + min(max(rest - worker * run, 0), run)
    return Share(start + rank, world_size, run, worker, workers, places)


def _end(count: int, start: int, world_size: int, uneven: Uneven) -> int:
    left = max(count - start, 0)
    if uneven == "drop":
        left -= left % world_size
    elif uneven == "pad":
        left += -left % world_size
    return start + left
