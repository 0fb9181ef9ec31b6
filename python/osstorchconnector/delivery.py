"""From positions of an index to what the user gets: objects, each transformed exactly once.

Both datasets stand on this. A `Delivery` is a picklable value; what a process needs (client, mapped index, counters)
is made on first use there.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import operator
import os
import sys
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex

from osstorchconnector import counters, index_checks, logs, measures, quota, saved_index
from osstorchconnector.connection import set_role
from osstorchconnector.data_object import DataObject
from osstorchconnector.errors import OssError
from osstorchconnector.growing import Growth
from osstorchconnector.index import IndexFile, build_announced
from osstorchconnector.policy import Policy, Tally, instead, kind_of
from osstorchconnector.sources import ObjectsSource
from osstorchconnector.store import Reading
from osstorchconnector.streams import ObjectReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from osstorchconnector.connection import Connection
    from osstorchconnector.growing import GrowingIndex
    from osstorchconnector.measures import Stats
    from osstorchconnector.order import Order
    from osstorchconnector.run import Run
    from osstorchconnector.store import Deliveries, Positions, RowIndex, Rows, RowSource, Store

_log = logging.getLogger(__name__)

# Stands for an object that was left out.
_NOTHING = object()

# After so many objects the native side's log records are taken over, besides at the end of each batch and epoch.
_LOG_EVERY = 64


@dataclass(frozen=True)
class Worker:
    """Which DataLoader worker this process is; (0, 1) outside of one.

    Attributes:
        loader: a number that its siblings have in common, and workers that are made later have not.
    """

    id: int = 0
    count: int = 1
    is_child: bool = False
    loader: int = 0


@dataclass(eq=False)
class _Counters:
    """What this process delivered, and how long its consumers waited."""

    objects: int = 0
    bytes: int = 0
    tally: Tally = field(default_factory=Tally)
    waited_seconds: float = 0.0
    running: set[Deliveries] = field(default_factory=set)

    def counted(self) -> Stats:
        """Return the counters as they are now."""
        # Other threads begin and end iterations meanwhile.
        waited = self.waited_seconds + sum(run.wait_seconds for run in tuple(self.running))
        return {
            "dataset_objects": self.objects,
            "dataset_bytes": self.bytes,
            "dataset_missing_skipped": self.tally.met["missing"],
            "dataset_changed_skipped": self.tally.met["changed"],
            "dataset_errors_skipped": self.tally.met["error"],
            "dataset_wait_seconds": waited,
        }


class _Process:
    """What one process needs to deliver: never pickled, never shared with a child."""

    def __init__(
        self,
        store: Store,
        index: RowIndex | None,
        open_index: weakref.WeakMethod[Callable[[Store], RowIndex]],
    ) -> None:
        self.pid = os.getpid()
        self.store = store
        self.known_index = index
        self._open_index = open_index
        self.counters = _Counters()
        self.duties: list[counters.Duty] = []
        self.publication: counters.Duty | None = None
        self.epochs = 0

    @property
    def index(self) -> RowIndex:
        """The index; lists on first use."""
        if self.known_index is None:
            open_index = self._open_index()
            assert open_index is not None, "the delivery, whose method it is, owns this"
            self.known_index = open_index(self.store)
        return self.known_index

    def publish_to(self, path: str, worker_id: int, before: Stats) -> None:
        """Write the counters, added to those of `before`, into a worker's file, now and then and at each end."""
        action = functools.partial(self._publish, path, worker_id, before)
        self.publication = counters.Duty(counters.PUBLISH_SECONDS, action, at_once=True)
        self.duties.append(self.publication)

    def _publish(self, path: str, worker_id: int, before: Stats) -> None:
        stats = measures.total([before, self.store.stats(), self.counters.counted()])
        counters.publish_own(path, worker_id, stats)

    def own_stats(self) -> Stats:
        return measures.total([self.store.stats(), self.counters.counted(), counters.of_process()])


class Delivery:
    """The objects of one dataset.

    Args:
        connection: where they are.
        source: which they are.
        transform: called once with each object; its result is what the user gets.
        policy: what to do about an object that cannot be delivered.
        allow_empty: deliver nothing where nothing is, instead of raising; None leaves it to the config file.
        saved: path or `oss://` URI of an index that was saved, to be used in place of listing.
    """

    def __init__(
        self,
        connection: Connection,
        source: RowSource,
        transform: Callable[[Any], Any],
        policy: Policy,
        *,
        allow_empty: bool | None,
        saved: str | None = None,
    ) -> None:
        self._saved = saved
        self.is_shared = saved is not None
        self._connection = connection
        self._source = source
        self._transform = transform
        self._policy = policy
        self._allow_empty = (
            connection.config.empty_prefix == "allow" if allow_empty is None else bool(allow_empty)
        )
        self._file = IndexFile()
        # What was listed when this was pickled, if anything was; there it is part of what the samples are.
        self._expected: str | None = None
        self._worker_files = counters.WorkerFiles(self._file.stats_files, self._file.is_owned)
        self._worker = Worker()
        self._process: _Process | None = None
        counters.register(self._worker_files, self)

    def enter(self, worker: Worker) -> None:
        """Say which worker this process is; before anything else in that process."""
        if worker != self._worker:
            self._worker = worker
            if worker.is_child:
                counters.be_worker()
            logs.set_worker(worker.id)
            set_role(f"DataLoader worker {worker.id} of {worker.count}, {self._source.name}")

    def count(self) -> int:
        """Count the objects; lists on first use."""
        return len(self._here().index)

    def known_count(self) -> int | None:
        """Count the objects if nothing has to be listed for it."""
        is_known = self._process is not None and self._process.known_index is not None
        if not is_known and (self._connection.is_local or not self._file.is_built):
            return None
        return self.count()

    def fingerprint(self) -> str:
        """Return the hash of what is listed."""
        return self._here().index.fingerprint

    @property
    def is_local(self) -> bool:
        """Whether this is local-directory mode, which has no index file."""
        return self._connection.is_local

    @property
    def index_path(self) -> str:
        """The index file, for another process of this machine."""
        return self._file.path

    def packed(self) -> bytes:
        """Return the index in a form to send or store."""
        return self._here().index.pack()

    def take_packed(self, data: bytes) -> None:
        """Use an index that another process packed."""
        self._process = None
        Path(self._file.path).unlink(missing_ok=True)
        self._connection.store(self._worker.count).unpack_index(data, self._file)

    def take_file(self, path: str) -> None:
        """Use the index file of another process of this machine."""
        self._process = None
        self._file.take(path)

    def save(self, location: str) -> None:
        """Write the packed index to a path, or an object, whole or not at all."""
        saved_index.write(lambda: self._here().store, location, self.packed())

    def run(self, positions: Positions, plan: Run | None = None, *, ordered: bool = True) -> Iterator[Any]:
        """Yield the transformed objects of `positions`; what is in flight goes when the iterator goes.

        Args:
            positions: of the index, or of the plan's order.
            plan: tells the order, and is told how far the iteration came.
            ordered: deliver in the order of `positions`, not as objects arrive.
        """
        if plan is None:
            # A map dataset runs once for each batch, and nobody tells it where an epoch ends.
            yield from self._run(positions, plan, ordered=ordered)
            return
        with self._epoch(self._here()):
            yield from self._run(positions, plan, ordered=ordered)

    def _epoch(self, here: _Process) -> quota.Epoch:
        """Begin an epoch, which the workers of one DataLoader count alike and read together."""
        here.epochs += 1
        worker, meeting = self._worker, None
        if worker.is_child and not self._connection.is_local:
            path = self._file.beside(f"{worker.loader:x}-{here.epochs}.epoch")
            meeting = quota.Meeting(path, worker.id, worker.count)
        return quota.Epoch(self._source.name, here.own_stats, meeting)

    def _run(self, positions: Positions, plan: Run | None, *, ordered: bool) -> Iterator[Any]:
        here = self._here()
        order = None if plan is None else plan.order
        yield from self._deliver(
            here,
            here.index,
            positions,
            self._reading(order, ordered=ordered),
            plan,
            lambda: self._share(here) if plan is None else plan.share.count,
        )

    def growing(self, rows_of_round: int) -> GrowingIndex | None:
        """Begin to list, and return as soon as there is something to read; None if everything is listed already.

        Args:
            rows_of_round: how many ranks share the rows.
        """
        here = self._here()
        if here.known_index is not None or self._saved is not None or self._expected is not None:
            return None
        return here.store.growing_index(self._source, self._file, rows_of_round)

    def stream(
        self, growing: GrowingIndex, plan: Run, settle: Callable[[int, str], None], *, ordered: bool
    ) -> Iterator[Any]:
        """Yield as `run` does, while the objects are still being listed; who drops it gives the listing up.

        Args:
            plan: of an iteration that has only begun; it is told what is known.
            settle: told the number of objects and the fingerprint, once they are known.
            ordered: as for `run`.
        """
        stream = self._stream(growing, plan, settle, ordered=ordered)
        # A generator that never began closes nothing when it goes: this one has, up to its first yield.
        next(stream)
        return stream

    def _stream(
        self, growing: GrowingIndex, plan: Run, settle: Callable[[int, str], None], *, ordered: bool
    ) -> Iterator[Any]:
        with contextlib.closing(growing):
            yield None
            here = self._here()
            reading = self._reading(None, ordered=ordered)

            def settled() -> RowIndex:
                growing.finish()
                growing.demand_beginning_of(here.index)
                settle(len(here.index), here.index.fingerprint)
                return here.index

            growth = Growth(growing, plan, settled)

            def count() -> int:
                return plan.dealt(len(here.index)).count

            with self._epoch(here):
                for piece in growing.pieces():
                    positions = growth.begin_with(piece)
                    yield from self._deliver(here, piece, positions, reading, plan, count, growth)
                if not growth.is_settled:
                    settled()
                    yield from self._run(plan.rest, plan, ordered=ordered)

    def _deliver(
        self,
        here: _Process,
        rows: Rows,
        positions: Positions,
        reading: Reading,
        plan: Run | None,
        count: Callable[[], int],
        growth: Growth | None = None,
    ) -> Iterator[Any]:
        """Yield the transformed objects of `positions` of `rows`; `count` tells how many are this process's.

        Args:
            growth: lets it go on behind `rows`.
        """
        order = reading.order
        deliveries = (growth or here.store).prefetch(rows, positions, reading)
        done, duties, transform = here.counters, here.duties, self._transform
        # An iterator that is open at exit may be closed when modules have no names any more.
        is_exiting = sys.is_finalizing
        done.running.add(deliveries)
        try:
            for position, data in deliveries:
                if growth is not None:
                    rows, order = growth.lengthen()
                    growth = None if growth.is_settled else growth
                row = position if order is None else order.row_at(position)
                path, label = rows.names(row)
                if isinstance(data, bytes):
                    done.objects += 1
                    done.bytes += len(data)
                    sample = transform(ObjectReader.of_bytes(data, path, label))
                else:
                    substitute = self._instead(here, data, row, DataObject(path, None, label), count)
                    sample = _NOTHING if substitute is None else transform(substitute[0])
                # A state that is taken while the user has this sample says that the next one is to come.
                if plan is not None:
                    plan.passed(position)
                if sample is not _NOTHING:
                    yield sample
                for duty in duties:
                    duty.if_due()
                if not done.objects % _LOG_EVERY:
                    logs.emit_waiting()
        finally:
            deliveries.close()
            done.running.discard(deliveries)
            done.waited_seconds += deliveries.wait_seconds
            if not is_exiting():
                logs.emit_waiting()
                if here.publication is not None:
                    here.publication.now()

    def batch(self, indices: Sequence[SupportsIndex]) -> list[Any]:
        """Fetch objects in parallel; a list in the order asked for, duplicates allowed."""
        wanted = list(indices)
        if not wanted:
            return []
        count = self.count()
        return list(self.run([self._position(index, count) for index in wanted]))

    def one(self, index: SupportsIndex) -> Any:
        """Fetch one object.

        Raises:
            IndexError: there is no such position.
            OssError: it cannot be delivered; unless the policy for that is a function, whose result is used.
        """
        position = self.position(index)
        here = self._here()
        path, label = here.index.names(position)
        try:
            with logs.emitting():
                data = self._fetched(here, position)
        except OssError as failure:
            kind = kind_of(failure)
            if kind is not None and self._policy.choice(kind) == "skip":
                # There is no way to leave out what was asked for by its number.
                raise
            named = DataObject(path, None, label)
            substitute = self._instead(here, failure, position, named, lambda: self._share(here))
            return None if substitute is None else self._transform(substitute[0])
        here.counters.objects += 1
        here.counters.bytes += len(data)
        for duty in here.duties:
            duty.if_due()
        return self._transform(ObjectReader.of_bytes(data, path, label))

    def _fetched(self, here: _Process, position: int) -> bytes:
        if not self._policy.pin_versions:
            return here.store.fetch(here.index.row(position))
        deliveries = here.store.prefetch(here.index, [position], self._reading(None, ordered=True))
        try:
            _, data = next(deliveries)
        finally:
            deliveries.close()
        if isinstance(data, bytes):
            return data
        assert isinstance(data, OssError), "missing objects come as errors where they are not skipped"
        raise data

    def _reading(self, order: Order | None, *, ordered: bool) -> Reading:
        return Reading(
            order=order,
            ordered=ordered,
            skip_missing=self._policy.on_missing != "raise",
            pin_versions=self._policy.pin_versions,
        )

    def position(self, index: SupportsIndex) -> int:
        """Turn an index, negative ones counted from the end, into a position.

        Raises:
            IndexError: it is out of range.
        """
        return self._position(index, self.count())

    def _position(self, index: SupportsIndex, count: int) -> int:
        number = operator.index(index)
        if not -count <= number < count:
            raise IndexError(f"index {number} is out of range for {count} objects of {self._source.name}")
        return number % count

    def stats(self) -> Stats:
        """Return the counters of this process and of the dataset's workers."""
        here = self._running()
        own = {} if here is None else here.own_stats()
        stats = measures.shown(measures.total([own, *self.worker_stats().values()]))
        age = None if self.is_local else self._file.age_seconds()
        return stats if age is None else {**stats, "index_age_seconds": age}

    def worker_stats(self) -> dict[int, Stats]:
        """Return the raw counters that workers in other processes wrote, by the workers' numbers."""
        return self._worker_files.read()

    def _running(self) -> _Process | None:
        return self._process if self._process is not None and self._process.pid == os.getpid() else None

    def _here(self) -> _Process:
        if self._process is None or self._process.pid != os.getpid():
            self._process = self._begun()
        return self._process

    def _begun(self) -> _Process:
        """Make what this process needs; a forked child keeps its parent's client and map."""
        store = self._connection.store(self._worker.count)
        inherited = None if self._process is None else self._process.known_index
        # Weak, so that a dataset that goes takes its files along at once, and not when cycles are looked for.
        process = _Process(store, inherited, weakref.WeakMethod(self._opened_index))
        counters.register(process.counters, process)
        # In a forked child they are not yet.
        counters.register(self._worker_files, self)
        if self._worker.is_child:
            path = self._file.beside(counters.own_suffix())
            before = counters.take_over(self._file.stats_files(), path, self._worker.id)
            process.publish_to(path, self._worker.id, before)
        return process

    def _opened_index(self, store: Store) -> RowIndex:
        if self._saved is not None and not self._file.is_built:
            remedy = "save it with save_index on one rank first"
            store.unpack_index(saved_index.read(lambda: store, self._saved, remedy), self._file)
        index = build_announced(
            self._source.name, lambda: store.open_index(self._source, self._file), _log.info
        )
        left_out = getattr(index, "left_out_empty", 0)
        if left_out and self._worker.id == 0:
            _log.info(
                "%s: %d zero-byte objects left out; include_empty=True delivers them",
                self._source.name,
                left_out,
            )
        index_checks.demand_expected(index, self._source, self._expected)
        if len(index) == 0:
            index_checks.refuse_empty(self._source, left_out, allow_empty=self._allow_empty)
        elif self._saved is not None:
            index_checks.demand_own(index, self._source, self._saved)
        return index

    def _share(self, here: _Process) -> int:
        return len(here.index) // self._worker.count

    def _instead(
        self, here: _Process, failure: Exception | None, row: int, named: DataObject, count: Callable[[], int]
    ) -> tuple[Any] | None:
        """Apply the policy: a value to deliver, in a tuple, or None to go on without."""
        if failure is not None and not isinstance(failure, OssError):
            raise failure
        return instead(self._policy, here.counters.tally, failure, named, row, count)

    def __getstate__(self) -> dict[str, Any]:
        """Carry values; a long list of objects goes by its index file."""
        state = {**self.__dict__, "_process": None, "_worker": Worker()}
        if self._process is not None and self._process.known_index is not None:
            state["_expected"] = self._process.known_index.fingerprint
        del state["_worker_files"]
        if isinstance(self._source, ObjectsSource) and not self._connection.is_local:
            self._connection.store().open_index(self._source, self._file)
            state["_source"] = self._source.without_list()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over the values."""
        self.__dict__.update(state)
        self._worker_files = counters.WorkerFiles(self._file.stats_files, self._file.is_owned)
        counters.register(self._worker_files, self)
