"""Which positions of which epoch an iteration reads, in which order, and from where it goes on.

A `Schedule` is the picklable value of an iterable dataset; a `run.Run` is one iteration in one process.
"""

from __future__ import annotations

import functools
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from osstorchconnector.epochs import SharedEpoch
from osstorchconnector.errors import ConfigError
from osstorchconnector.loaded import LoadedState
from osstorchconnector.order import order_of
from osstorchconnector.progress import Progress, State, state_of
from osstorchconnector.ranks import Group, Ranks, RankSource
from osstorchconnector.run import Run
from osstorchconnector.sharding import Uneven, share_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from osstorchconnector.delivery import Worker

_log = logging.getLogger(__name__)

Shard = Literal["none", "rank"]

_SEEDS = 1 << 64


@dataclass(frozen=True)
class Epochs:
    """What a user asks of the order of an iterable dataset.

    Attributes:
        shuffle: draw a new order for each epoch.
        seed: of all orders.
        shard: "none": each rank reads all; "rank": the ranks share.
        uneven: what happens with a last round that is not enough for all ranks.
        ordered: deliver in the order of the epoch, not as objects arrive.
        batch_size: samples that one worker reads in a row; that of the DataLoader.
        strict_resume: refuse the state of an index that has changed.
    """

    shuffle: bool = False
    seed: int = 0
    shard: Shard | None = None
    uneven: Uneven = "drop"
    ordered: bool = True
    batch_size: int = 1
    strict_resume: bool = True

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: one is out of its range; names it.
        """
        _demand_one_of("shard", self.shard, (None, *get_args(Shard)))
        _demand_one_of("uneven", self.uneven, get_args(Uneven))
        if not isinstance(self.seed, int) or not 0 <= self.seed < _SEEDS:
            raise ConfigError(f"seed must be a whole number from 0 to 2**64 - 1, not {self.seed!r}")
        if not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise ConfigError(f"batch_size must be a whole number from 1 on, not {self.batch_size!r}")


class Schedule:
    """The order of a dataset's epochs, their division, and where to go on.

    Args:
        epochs: what the user asks.
        ranks: tells rank and world size.
        group: asks for the process group of this process.
    """

    def __init__(
        self, epochs: Epochs, rank: int | None, world_size: int | None, group: Callable[[], Group | None]
    ) -> None:
        self._epochs = epochs
        self._ranks = RankSource(rank, world_size, group)
        self._is_sharded = epochs.shard == "rank" or (epochs.shard is None and self._ranks.is_given)
        self._shared = SharedEpoch()
        self._epoch = 0
        self._loaded = LoadedState(self._shared)
        self._resumed: State | None = None
        self._run: Run | None = None
        self._run_in = 0

    @property
    def ordered(self) -> bool:
        """Whether delivery keeps the order of the epoch."""
        return self._epochs.ordered

    def set_epoch(self, epoch: int, worker: Worker) -> None:
        """Say which epoch the iterations that begin from now on are of."""
        if not isinstance(epoch, int) or not 0 <= epoch < _SEEDS:
            raise ConfigError(f"an epoch is a whole number from 0 on, not {epoch!r}")
        self._loaded.drop_used(worker)
        self._shared.set(epoch, is_worker=worker.is_child)
        self._epoch = epoch

    def epoch(self, worker: Worker) -> int:
        """Return the epoch that an iteration beginning now is of."""
        told = self._shared.get(is_worker=worker.is_child)
        return self._epoch if told is None else told

    def length(self, count: int) -> int:
        """Count the positions of this rank in an epoch over `count` objects."""
        ranks = self._sharing()
        return share_of(count, rank=ranks.rank, world_size=ranks.world_size, uneven=self._epochs.uneven).count

    def begin(self, count: int, fingerprint: str, worker: Worker, *, is_shared: bool = True) -> Run:
        """Begin an iteration over an index; a state that was loaded is used up.

        Args:
            is_shared: whether all ranks have one index, and not each its own.

        Raises:
            ConfigError: the state is of another dataset, layout or epoch.
        """
        state = self._loaded.take(worker)
        epoch = self.epoch(worker)
        if state is not None and epoch != state.epoch and self._is_told(worker):
            self._demand_finished(state, epoch, count, worker)
            state = None
        run = self._run_of(count, fingerprint, worker, state, epoch if state is None else state.epoch)
        self._run, self._run_in = run, os.getpid()
        self._tell(count, run, worker, is_shared=is_shared)
        return run

    def rows_of_round(self, worker: Worker) -> int | None:
        """Say how many ranks share the rows, if an iteration may begin while they are listed; None if it may not.

        It may from the start, and in the order of the listing.
        """
        if self._epochs.shuffle or self._loaded.waiting(worker) is not None:
            return None
        return self._sharing().world_size

    def begin_early(self, worker: Worker) -> Run:
        """Begin an iteration over an index of which nothing is known yet."""
        run = self._run_of(0, "", worker, None, self.epoch(worker))
        self._run, self._run_in = run, os.getpid()
        return run

    def settle(self, run: Run, worker: Worker, count: int, fingerprint: str) -> None:
        """Say what an iteration that began early is over; each rank has listed for itself."""
        run.settle(count, fingerprint)
        self._tell(count, run, worker, is_shared=False)

    def state(self, count: int, fingerprint: str, worker: Worker) -> dict[str, Any]:
        """Tell where the latest iteration of this process is; the beginning if there is none."""
        run = self._run if self._run_in == os.getpid() else None
        if run is not None and not run.fingerprint:
            # It began early and is not at the end of what was known then.
            run.fingerprint = fingerprint
        if run is not None and (worker.is_child or run.epoch == self.epoch(worker)):
            return run.state().as_dict()
        waiting = self._loaded.waiting(worker)
        if waiting is not None:
            return waiting.as_dict()
        return self._run_of(count, fingerprint, worker, None, self.epoch(worker)).state().as_dict()

    def state_at(self, samples: int, count: int, fingerprint: str, worker: Worker) -> dict[str, Any]:
        """Tell where the job is after `samples` samples of this epoch, free of any layout.

        Raises:
            ConfigError: the ranks cannot have used so many; or they do not share epochs, and it is not told how many
                they are.
        """
        ranks = self._ranks.ranks(os.environ)
        # Ranks that do not share have each used the same part of an epoch of their own.
        readers = 1 if self._is_sharded else ranks.world_size
        most = count + ranks.world_size if self._is_sharded else count * readers
        if not isinstance(samples, int) or not 0 <= samples <= most:
            raise ConfigError(
                f"state_at: {samples!r} is no number of samples of an epoch of {count}; count those of all ranks "
                "since the epoch began"
            )
        if samples % readers:
            raise ConfigError(
                f"state_at: {samples} is not the samples of {readers} ranks that each read the whole dataset; count "
                f"those of all ranks together, {readers} times those of each"
            )
        epoch = self.epoch(worker)
        if self._resumed is not None and self._resumed.epoch == epoch:
            fingerprint = self._resumed.fingerprint
        return State(fingerprint, self._seed, epoch, samples // readers).as_dict()

    def load(self, document: Any, worker: Worker) -> None:
        """Let the next iteration go on where a state says."""
        state = state_of(document)
        if state.seed != self._seed:
            raise ConfigError(
                f"the state was taken with {_named(state.seed)}, this dataset has {_named(self._seed)}; pass the "
                "state of this dataset, or make the dataset as it was"
            )
        self._resumed = state
        self._loaded.load(state, worker)
        self._run = None
        self._epoch = state.epoch
        if not worker.is_child:
            self._shared.set(state.epoch, is_worker=False)

    @property
    def _seed(self) -> int | None:
        return self._epochs.seed if self._epochs.shuffle else None

    def _sharing(self) -> Ranks:
        """Return the ranks among which epochs are divided."""
        return self._ranks.ranks(os.environ) if self._is_sharded else Ranks()

    def _job(self) -> Ranks:
        """Return the ranks of the job, whether or not epochs are divided among them."""
        try:
            return self._ranks.ranks(os.environ)
        except ConfigError:
            if self._is_sharded:
                raise
            # What is wrong in the environment is nothing to a dataset that does not look there.
            return Ranks()

    def _is_told(self, worker: Worker) -> bool:
        return self._shared.get(is_worker=worker.is_child) is not None

    def _run_of(self, count: int, fingerprint: str, worker: Worker, state: State | None, epoch: int) -> Run:
        ranks = self._sharing()
        layout = {
            "rank": ranks.rank,
            "world_size": ranks.world_size,
            "worker": worker.id,
            "workers": worker.count,
        }
        start, progress, drawn_from = 0, Progress(), fingerprint
        if state is not None:
            self._demand_same_index(state, fingerprint, count)
            # Of a changed bucket, too, the order of the state: with as many objects nothing is lost and none comes
            # twice.
            start, drawn_from = state.position, state.fingerprint
            progress = _progress_of(state, {**layout, "batch_size": self._epochs.batch_size})
        share = share_of(
            count, start=start, run=self._epochs.batch_size, uneven=self._epochs.uneven, **layout
        )
        order = order_of(count, drawn_from, self._seed, epoch)
        layout["batch_size"] = self._epochs.batch_size
        in_order = self._epochs.ordered and not progress.ahead
        uneven = self._epochs.uneven
        return Run(drawn_from, self._seed, epoch, start, share, layout, order, uneven, progress, in_order)

    def _demand_same_index(self, state: State, fingerprint: str, count: int) -> None:
        if state.fingerprint == fingerprint:
            if state.position > count + self._sharing().world_size:
                raise ConfigError(f"the state is at position {state.position} of {count}: it is damaged")
            return
        text = (
            f"the state was taken over other objects (fingerprint {state.fingerprint}, here {fingerprint}): the "
            "bucket has changed since, or it is the state of another dataset"
        )
        if self._epochs.strict_resume:
            raise ConfigError(f"{text}; pass the right state, or strict_resume=False to go on all the same")
        _log.warning("%s; going on at position %d of its order, as asked", text, state.position)

    def _demand_finished(self, state: State, epoch: int, count: int, worker: Worker) -> None:
        """Let a new epoch begin in spite of a state, if nothing is left of the state's."""
        left = self._run_of(count, state.fingerprint, worker, state, state.epoch)
        if epoch < state.epoch or left.progress.passed < left.share.count:
            raise ConfigError(
                f"the state that was loaded is of epoch {state.epoch}, set_epoch said {epoch}; call "
                f"set_epoch({state.epoch}) to go on with it, or make a new dataset to begin anew"
            )

    def _tell(self, count: int, run: Run, worker: Worker, *, is_shared: bool) -> None:
        """Say once in a job what its user may not expect."""
        ranks = self._job()
        if ranks.rank or worker.id or ranks.world_size == 1:
            return
        once = functools.partial(self._shared.is_first, is_worker=worker.is_child)
        if not self._is_sharded:
            if self._epochs.shard is None and once("told"):
                _log.warning(
                    'each of the %d ranks reads the whole dataset; pass shard="rank" to divide it, or shard="none" to '
                    "keep it so and silence this line",
                    ranks.world_size,
                )
            return
        if not is_shared and once("told-listing"):
            _log.warning(
                "each of the %d ranks lists for itself, and reads its share of what it found; call prepare() in every "
                "rank after init_process_group, or pass index=, to list once",
                ranks.world_size,
            )
        dropped = max(count - run.start, 0) % ranks.world_size if self._epochs.uneven == "drop" else 0
        if dropped and once("told"):
            _log.log(
                logging.INFO if count >= ranks.world_size else logging.WARNING,
                '%d of %d objects are left out in each epoch, as %d ranks are to have equally many; uneven="pad" or '
                '"allow" reads them',
                dropped,
                count,
                ranks.world_size,
            )

    def __getstate__(self) -> dict[str, Any]:
        """Carry values only; an iteration stays where it is."""
        return {**self.__dict__, "_run": None}


def _progress_of(state: State, layout: dict[str, int]) -> Progress:
    """Return how far a worker was; nothing if the state is free of any layout.

    Raises:
        ConfigError: it is the state of another worker, or of another number of them.
    """
    if state.share is None:
        return Progress()
    was = {name: state.share[name] for name in layout}
    if was != layout:
        raise ConfigError(
            f"the state is that of {_described(was)}, this is {_described(layout)}; save state_at(...) to go on with "
            "another layout"
        )
    return Progress(state.share["passed"], set(state.share["ahead"]))


def _described(layout: dict[str, int]) -> str:
    return (
        f"worker {layout['worker']} of {layout['workers']} in rank {layout['rank']} of {layout['world_size']} with "
        f"batch_size={layout['batch_size']}"
    )


def _named(seed: int | None) -> str:
    return "no shuffling" if seed is None else f"shuffle=True and seed={seed}"


def _demand_one_of(name: str, given: object, values: tuple[object, ...]) -> None:
    if given not in values:
        known = ", ".join(f'"{value}"' for value in values if value is not None)
        raise ConfigError(f"{name} must be one of {known}, not {given!r}")
