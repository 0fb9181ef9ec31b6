"""One iteration of one process over its share of an epoch: what is still to be read, and how far it has come."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from osstorchconnector.order import order_of
from osstorchconnector.progress import Progress, State
from osstorchconnector.sharding import Rest, share_of

if TYPE_CHECKING:
    from osstorchconnector.order import Order
    from osstorchconnector.sharding import Share, Uneven


@dataclass
class Run:
    """One iteration of one worker over its share of an epoch.

    Attributes:
        fingerprint: the one that the order is drawn from.
        seed: None in the order of the index.
        start: positions of the epoch that were read before the layout was this one.
        layout: rank, world size, worker, workers, batch size.
        in_order: each object that is delivered is the next of the share.
    """

    fingerprint: str
    seed: int | None
    epoch: int
    start: int
    share: Share
    layout: dict[str, int]
    order: Order
    uneven: Uneven
    progress: Progress = field(default_factory=Progress)
    in_order: bool = False

    @property
    def rest(self) -> Rest:
        """What is still to be read."""
        return Rest(self.share, self.progress.passed, sorted(self.progress.ahead))

    def dealt(self, count: int) -> Share:
        """Return this worker's share of `count` objects."""
        layout = {**self.layout}
        run = layout.pop("batch_size")
        return share_of(count, start=self.start, run=run, uneven=self.uneven, **layout)

    def grow(self, count: int) -> None:
        """Say that so many objects are known, whole rounds of all ranks, and that there may be more."""
        self.share = self.dealt(count)

    def settle(self, count: int, fingerprint: str) -> None:
        """Say how many objects there are in the end."""
        self.share = self.dealt(count)
        self.order = order_of(count, fingerprint, self.seed, self.epoch)
        self.fingerprint = fingerprint

    def passed(self, position: int) -> None:
        """Say that the object at this position was delivered, or left out."""
        if self.in_order:
            self.progress.passed += 1
        else:
            self.progress.mark(self.share.place_of(position))

    def state(self) -> State:
        """Tell how far this worker has come."""
        done = {"passed": self.progress.passed, "ahead": sorted(self.progress.ahead)}
        return State(self.fingerprint, self.seed, self.epoch, self.start, {**self.layout, **done})
