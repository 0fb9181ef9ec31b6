"""From positions of an index to what the user gets: objects, each transformed exactly once.

Both datasets stand on this. A `Delivery` is a picklable value; what a process needs (client, mapped index, counters)
is made on first use there.
"""

from __future__ import annotations

import functools
import logging
import operator
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex

from osstorchconnector import counters, logs
from osstorchconnector.data_object import DataObject
from osstorchconnector.errors import ConfigError, EmptyDatasetError, NotFoundError
from osstorchconnector.index import IndexFile, build_announced
from osstorchconnector.sources import ObjectsSource, PrefixSource
from osstorchconnector.streams import ObjectReader

if TYPE_CHECKING:
    from osstorchconnector.connection import Connection
    from osstorchconnector.counters import Stats
    from osstorchconnector.store import Deliveries, RowIndex, RowSource, Store

_log = logging.getLogger(__name__)

OnMissing = Literal["raise", "skip"] | Callable[[DataObject], Any]

# After so many objects the native side's log records are taken over, besides at the end of each batch and epoch.
_LOG_EVERY = 64


@dataclass(frozen=True)
class Worker:
    """Which DataLoader worker this process is; (0, 1) outside of one."""

    id: int = 0
    count: int = 1
    is_child: bool = False


@dataclass(frozen=True)
class Options:
    """What a dataset does in the cases that are errors by default.

    Attributes:
        allow_empty: deliver nothing where nothing is, instead of raising.
        on_missing: what happens for an object that is not there.
    """

    allow_empty: bool = False
    on_missing: OnMissing = "raise"

    @classmethod
    def checked(
        cls, connection: Connection, allow_empty: bool | None, on_missing: OnMissing | None
    ) -> Options:
        """Fill what the caller left open from the config file.

        Raises:
            ConfigError: `on_missing` is none of its values.
        """
        if on_missing is None:
            on_missing = "skip" if connection.config.missing == "skip" else "raise"
        if not callable(on_missing) and on_missing not in ("raise", "skip"):
            raise ConfigError(f'on_missing must be "raise", "skip" or a function, not {on_missing!r}')
        if allow_empty is None:
            allow_empty = connection.config.empty_prefix == "allow"
        return cls(allow_empty, on_missing)


@dataclass
class _Counters:
    """What this process delivered, and how long its consumers waited."""

    objects: int = 0
    bytes: int = 0
    missing: int = 0
    waited_seconds: float = 0.0
    running: set[Deliveries] = field(default_factory=set)

    def as_stats(self) -> Stats:
        waited = self.waited_seconds + sum(run.wait_seconds for run in self.running)
        return {
            "dataset_objects": self.objects,
            "dataset_bytes": self.bytes,
            "dataset_missing_skipped": self.missing,
            "dataset_wait_seconds": waited,
        }


class _Process:
    """What one process needs to deliver: never pickled, never shared with a child."""

    def __init__(self, store: Store, index: RowIndex) -> None:
        self.pid = os.getpid()
        self.store = store
        self.index = index
        self.counters = _Counters()
        self.duties: list[counters.Duty] = []
        self.publication: counters.Duty | None = None

    def publish_to(self, path: str) -> None:
        """Write the counters into a worker's file, now and then and at each end."""
        action = functools.partial(self._publish, path)
        self.publication = counters.Duty(counters.PUBLISH_SECONDS, action, at_once=True)
        self.duties.append(self.publication)

    def log_every(self, seconds: float, name: str) -> None:
        """Log the counters as one line, now and then."""
        action = functools.partial(self._log, name)
        self.duties.append(counters.Duty(seconds, action, at_once=False))

    def _publish(self, path: str) -> None:
        counters.publish(path, self.own_stats())

    def _log(self, name: str) -> None:
        text = " ".join(f"{key}={value:g}" for key, value in sorted(self.own_stats().items()))
        _log.info("%s: %s", name, text)

    def own_stats(self) -> Stats:
        return counters.total([self.store.stats(), self.counters.as_stats()])


class Delivery:
    """The objects of one dataset.

    Args:
        connection: where they are.
        source: which they are.
        transform: called once with each object; its result is what the user gets.
        options: what to do in the cases that are errors by default.
    """

    def __init__(
        self, connection: Connection, source: RowSource, transform: Callable[[Any], Any], options: Options
    ) -> None:
        self._connection = connection
        self._source = source
        self._transform = transform
        self._options = options
        self._file = IndexFile()
        self._worker_files = counters.WorkerFiles(self._file.stats_files, self._file.is_owned)
        self._worker = Worker()
        self._process: _Process | None = None
        counters.register(self)

    def enter(self, worker: Worker) -> None:
        """Say which worker this process is; before anything else in that process."""
        if worker != self._worker:
            self._worker = worker
            logs.set_worker(worker.id)

    def count(self) -> int:
        """Count the objects; lists on first use."""
        return len(self._here().index)

    def known_count(self) -> int | None:
        """Count the objects if nothing has to be listed for it."""
        if self._process is None and (self._connection.is_local or not self._file.is_built):
            return None
        return self.count()

    def run(self, positions: range | list[int]) -> Iterator[Any]:
        """Yield the transformed objects of `positions`, in order; what is in flight goes when the iterator goes."""
        here = self._here()
        skips = self._options.on_missing != "raise"
        deliveries = here.store.prefetch(here.index, positions, skip_missing=skips)
        delivered, duties, transform = here.counters, here.duties, self._transform
        delivered.running.add(deliveries)
        try:
            for position, data in self._explained(deliveries):
                path, _, _, label = here.index.row(position)
                if data is None:
                    substitute = self._missing(here, path, label)
                    if substitute is None:
                        continue
                    yield transform(substitute[0])
                else:
                    delivered.objects += 1
                    delivered.bytes += len(data)
                    yield transform(ObjectReader.of_bytes(data, path, label))
                for duty in duties:
                    duty.if_due()
                if not delivered.objects % _LOG_EVERY:
                    logs.emit_waiting()
        finally:
            deliveries.close()
            delivered.running.discard(deliveries)
            delivered.waited_seconds += deliveries.wait_seconds
            logs.emit_waiting()
            if here.publication is not None:
                here.publication.now()

    def batch(self, indices: Sequence[SupportsIndex]) -> list[Any]:
        """Fetch objects in parallel; a list in the order asked for, duplicates allowed."""
        positions = [self.position(index) for index in indices]
        return list(self.run(positions)) if positions else []

    def one(self, index: SupportsIndex) -> Any:
        """Fetch one object.

        Raises:
            IndexError: there is no such position.
            NotFoundError: the object is gone; unless `on_missing` is a function, whose result is used.
        """
        position = self.position(index)
        here = self._here()
        row = here.index.row(position)
        try:
            with logs.emitting():
                data = here.store.fetch(row)
        except NotFoundError as failure:
            if not callable(self._options.on_missing):
                failure.advise(_MISSING_ADVICE)
                raise
            substitute = self._missing(here, row[0], row[3])
            return None if substitute is None else self._transform(substitute[0])
        here.counters.objects += 1
        here.counters.bytes += len(data)
        for duty in here.duties:
            duty.if_due()
        return self._transform(ObjectReader.of_bytes(data, row[0], row[3]))

    def position(self, index: SupportsIndex) -> int:
        """Turn an index, negative ones counted from the end, into a position.

        Raises:
            IndexError: it is out of range.
        """
        count = self.count()
        number = operator.index(index)
        if not -count <= number < count:
            raise IndexError(f"index {number} is out of range for {count} objects of {self._source.name}")
        return number % count

    def stats(self) -> Stats:
        """Return the counters of this process and of the dataset's workers."""
        own = (
            self._process.own_stats()
            if self._process is not None and self._process.pid == os.getpid()
            else {}
        )
        return counters.total([own, self.worker_stats()])

    def worker_stats(self) -> Stats:
        """Sum the counters that workers in other processes wrote."""
        return self._worker_files.read()

    def _here(self) -> _Process:
        if self._process is None or self._process.pid != os.getpid():
            self._process = self._begun()
        return self._process

    def _begun(self) -> _Process:
        """Make what this process needs; a forked child keeps its parent's client and map."""
        store = self._connection.store(self._worker.count)
        inherited = self._process.index if self._process is not None else None
        index = inherited if inherited is not None else self._opened_index(store)
        process = _Process(store, index)
        if self._worker.is_child:
            process.publish_to(self._file.beside(counters.own_suffix()))
        if self._connection.config.stats_log_seconds is not None:
            process.log_every(self._connection.config.stats_log_seconds, self._source.name)
        return process

    def _opened_index(self, store: Store) -> RowIndex:
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
        if len(index) == 0:
            self._refuse_empty(left_out)
        return index

    def _refuse_empty(self, left_out: int) -> None:
        name = self._source.name
        if self._options.allow_empty:
            _log.warning("%s: no objects", name)
            return
        found = (
            f"only {left_out} zero-byte objects (include_empty=True delivers them)"
            if left_out
            else "no objects"
        )
        named = "the prefix" if isinstance(self._source, PrefixSource) else "what names them"
        raise EmptyDatasetError(
            f"list {name}: {found}; check {named}, or pass allow_empty=True "
            '(compatibility.emptyPrefix = "allow" in the config file)',
            operation="list",
            uri=name if isinstance(self._source, PrefixSource) else "",
        )

    def _explained(self, deliveries: Deliveries) -> Iterator[tuple[int, bytes | None]]:
        """Name the way out where a missing object ends the iteration."""
        try:
            yield from deliveries
        except NotFoundError as failure:
            failure.advise(_MISSING_ADVICE)
            raise

    def _missing(self, here: _Process, path: str, label: str) -> tuple[Any] | None:
        """Apply `on_missing`: a value to deliver, in a tuple, or None to go on without."""
        here.counters.missing += 1
        if here.counters.missing == 1:
            _log.warning("oss:/%s is missing; stats() counts this and all further ones", path)
        if callable(self._options.on_missing):
            return (self._options.on_missing(DataObject(path, None, label)),)
        return None

    def __getstate__(self) -> dict[str, Any]:
        """Carry values; a long list of objects goes by its index file."""
        state = {**self.__dict__, "_process": None, "_worker": Worker()}
        del state["_worker_files"]
        if isinstance(self._source, ObjectsSource) and not self._connection.is_local:
            self._connection.store().open_index(self._source, self._file)
            state["_source"] = self._source.without_list()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over the values."""
        self.__dict__.update(state)
        self._worker_files = counters.WorkerFiles(self._file.stats_files, self._file.is_owned)
        counters.register(self)


_MISSING_ADVICE = (
    'pass on_missing="skip" (compatibility.missing = "skip" in the config file) to leave missing objects out'
)
