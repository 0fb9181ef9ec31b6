"""`OssIterableDataset` and `OssMapDataset`: an index, a worker's share of it, and a transform.

Making one reads the config file and nothing else: listing happens at first use, or with `prepare()`. Both pickle
before and after use; a pickle holds values, no clients and no secrets.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex, TypedDict

from torch.utils.data import Dataset, IterableDataset, get_worker_info

from osstorchconnector.client import OssClient
from osstorchconnector.connection import Connection
from osstorchconnector.data_object import DataObject
from osstorchconnector.delivery import Delivery, Worker
from osstorchconnector.errors import ConfigError
from osstorchconnector.listing_progress import bar_shown
from osstorchconnector.manifest import ManifestParser, ManifestSource
from osstorchconnector.measures import shown
from osstorchconnector.policy import OnChanged, OnError, OnMissing, Policy
from osstorchconnector.rendezvous import process_group, share_index
from osstorchconnector.schedule import Epochs, Schedule, Shard
from osstorchconnector.sources import CallableSource, ObjectsSource, PrefixSource
from osstorchconnector.streams import ObjectReader
from osstorchconnector.uri import location_text

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from osstorchconnector.growing import GrowingIndex
    from osstorchconnector.sharding import Uneven
    from osstorchconnector.store import RowSource

Path = str | os.PathLike[str]
Transform = Callable[[Any], Any]
GetDatasetObjects = Callable[[Any], Iterable[DataObject]]

# A DataLoader's queue drops what it cannot pickle and then waits for ever. A delivered object is all in memory, so it
# may take that way, and only that: elsewhere a stream refuses to be pickled, as the contract says.
ForkingPickler.register(ObjectReader, ObjectReader.carry)


class EpochOptions(TypedDict, total=False):
    """Keywords of `OssIterableDataset` alone, described there; a map dataset takes a sampler instead."""

    shuffle: bool
    seed: int
    shard: Shard | None
    uneven: Uneven
    ordered: bool
    batch_size: int
    rank: int | None
    world_size: int | None
    strict_resume: bool


class Reading(EpochOptions, total=False):
    """Keywords of every way to make a dataset, described at `OssIterableDataset`."""

    on_error: OnError | None
    on_changed: OnChanged | None
    error_budget: float | None
    pin_versions: bool | None
    index: Path | None


def identity(obj: Any) -> Any:
    """Return the object as it is: the default transform."""
    return None if obj is None else obj.copy()


class _OssDataset:
    """What both datasets are: a delivery, and the ways to say which objects."""

    _delivery: Delivery
    # Whether `prepare` lists once for the job without being told to.
    _shares_listing = False

    def _set_up(
        self,
        connection: Connection,
        objects: GetDatasetObjects | RowSource | None,
        transform: Transform | None,
        policy: Policy,
        allow_empty: bool | None,
        index: Path | None,
    ) -> None:
        if objects is None:
            raise ConfigError(
                "get_dataset_objects is missing; pass a function, or use from_prefix or from_objects"
            )
        if callable(objects):
            objects = CallableSource(objects, functools.partial(OssClient.over, connection))
        self._delivery = Delivery(
            connection,
            objects,
            identity if transform is None else transform,
            policy,
            allow_empty=allow_empty,
            saved=None if index is None else location_text(index, "index"),
        )

    @classmethod
    def from_prefix(
        cls,
        oss_uri: Path,
        endpoint: str | None = None,
        *,
        cred_path: Path | None = "",
        cred_provider: Any = None,
        config_path: Path | None = "",
        transform: Transform = identity,
        region: str | None = "",
        include_empty: bool = False,
        allow_empty: bool | None = None,
        on_missing: OnMissing | None = None,
        addressing: str | None = None,
        **reading: Unpack[Reading],
    ) -> Self:
        """Make a dataset of everything below a prefix, in byte order of keys.

        Args:
            oss_uri: `oss://bucket/prefix`: a plain string prefix; a directory in local-directory mode.
            endpoint: `http[s]://host[:port]`; None takes `OSS_ENDPOINT`, "" is local-directory mode.
            cred_path: JSON credentials file.
            cred_provider: an object with `get_credentials()`, or a callable.
            config_path: JSON config file; "" is the default one if it exists.
            transform: called once with each object; its result is what you get.
            region: signing region; "" is inferred from the endpoint.
            include_empty: deliver zero-byte objects whose key does not end in `/`.
            allow_empty: deliver nothing where nothing is found, instead of raising.
            on_missing: "raise", "skip", or a function that gets a detached object and gives what goes to `transform`.
            addressing: `auto`, `virtual`, `path` or `cname`.
            reading: order, division and failures; see the class.

        Raises:
            ConfigError: an argument is wrong; nothing was sent.
        """
        return cls._made(
            PrefixSource(oss_uri, include_empty=include_empty),
            endpoint=endpoint,
            cred_path=cred_path,
            cred_provider=cred_provider,
            config_path=config_path,
            transform=transform,
            region=region,
            allow_empty=allow_empty,
            on_missing=on_missing,
            addressing=addressing,
            **reading,
        )

    @classmethod
    def from_objects(
        cls,
        object_uris: Path | Iterable[Path],
        endpoint: str | None = None,
        *,
        cred_path: Path | None = "",
        cred_provider: Any = None,
        config_path: Path | None = "",
        transform: Transform = identity,
        region: str | None = "",
        on_missing: OnMissing | None = None,
        addressing: str | None = None,
        **reading: Unpack[Reading],
    ) -> Self:
        """Make a dataset of named objects, in the order given; duplicates are samples of their own.

        Args:
            object_uris: one URI or an iterable of them, taken once, now.
        """
        return cls._made(
            ObjectsSource(object_uris),
            endpoint=endpoint,
            cred_path=cred_path,
            cred_provider=cred_provider,
            config_path=config_path,
            transform=transform,
            region=region,
            on_missing=on_missing,
            addressing=addressing,
            **reading,
        )

    @classmethod
    def from_manifest_file(
        cls,
        manifest_file_path: Path,
        manifest_parser: ManifestParser,
        oss_base_uri: Path | None,
        endpoint: str | None = None,
        *,
        cred_path: Path | None = "",
        cred_provider: Any = None,
        config_path: Path | None = "",
        transform: Transform = identity,
        region: str | None = "",
        allow_empty: bool | None = None,
        on_missing: OnMissing | None = None,
        addressing: str | None = None,
        **reading: Unpack[Reading],
    ) -> Self:
        """Make a dataset of the objects that a manifest names, in its order, with its labels.

        Args:
            manifest_file_path: a local file, or `oss://bucket/key`.
            manifest_parser: gets a binary stream, yields (key, label).
            oss_base_uri: put before each key as it is.
        """
        return cls._made(
            ManifestSource(manifest_file_path, manifest_parser, oss_base_uri),
            endpoint=endpoint,
            cred_path=cred_path,
            cred_provider=cred_provider,
            config_path=config_path,
            transform=transform,
            region=region,
            allow_empty=allow_empty,
            on_missing=on_missing,
            addressing=addressing,
            **reading,
        )

    @classmethod
    def from_tar(cls, *arguments: Any, **options: Any) -> NoReturn:
        """Refuse: tar archives are not in this release."""
        raise NotImplementedError(
            f"{cls.__name__}.from_tar is not in this release: it comes with the tar archives"
        )

    @classmethod
    def _made(cls, source: RowSource, **given: Any) -> Self:
        make: Callable[..., Self] = cls
        return make(get_dataset_objects=source, **given)

    def prepare(self, *, shared: bool | None = None, progress: bool = False) -> int:
        """List or read the manifest now; return the number of objects. What is wrong is raised here, early.

        Args:
            shared: list once for the whole job: rank 0 lists and the others receive, over torch.distributed. Every
                rank must call it. None does so if `shard` was given and the process group is initialised.
            progress: a bar on stderr while it lists; the log has a line every 5 s either way.

        Raises:
            ConfigError: `shared=True` without a process group.
        """
        delivery = self._delivered()
        group = process_group()
        if shared and group is None:
            raise ConfigError("prepare(shared=True) needs a process group; call init_process_group first")
        wanted = self._shares_listing if shared is None else shared
        with bar_shown(progress):
            if (
                wanted
                and group is not None
                and group[1] > 1
                and not (delivery.is_shared or delivery.is_local)
            ):
                share_index(delivery)
                delivery.is_shared = True
            return delivery.count()

    def save_index(self, path_or_uri: Path) -> None:
        """Write the index to a file or to `oss://bucket/key`, for other datasets to take by `index=`."""
        self._delivered().save(location_text(path_or_uri, "path_or_uri"))

    def stats(self) -> dict[str, int | float]:
        """Return the counters of this dataset, DataLoader workers included; names and units are in docs/stats.md."""
        return self._delivery.stats()

    def stats_by_worker(self) -> dict[int, dict[str, int | float]]:
        """Return the counters of the DataLoader workers apart, by their numbers; what ended stays counted."""
        return {number: shown(stats) for number, stats in sorted(self._delivery.worker_stats().items())}

    def _delivered(self) -> Delivery:
        """Return the delivery, told which DataLoader worker this process is."""
        self._delivery.enter(_worker())
        return self._delivery


class OssIterableDataset(_OssDataset, IterableDataset[Any]):
    """Objects one after the other; each exactly once an epoch over all workers of a DataLoader, in a defined order.

    The sequence of an epoch is a function of what is listed, `seed` and the epoch, never of time.

    Args:
        endpoint: see `from_prefix`, as all that follow up to `transform`.
        get_dataset_objects: called with an `OssClient`; returns DataObjects, whose names are the index.
        from_tar: must be False in this release.
        shuffle: draw a new order for each epoch; say `set_epoch(n)` before each.
        allow_empty: deliver nothing where nothing is found, instead of raising.
        on_missing: "raise", "skip", or a function: it gets the nameless rest (a detached DataObject), and its
            result goes to `transform` in the object's place.
        addressing: `auto`, `virtual`, `path` or `cname`.
        seed: of all orders.
        shard: "rank" divides each epoch over the ranks of the job; "none" has each rank read all of it, as does a
            call that says nothing (with one warning if there are several ranks).
        uneven: with "rank", what happens if the objects do not suffice for a last round of all ranks: "drop" leaves
            them out, "pad" repeats others, "allow" lets some ranks have one more.
        ordered: False delivers objects as they arrive.
        batch_size: that of the DataLoader. With it, the ranks' batches are the epoch's sequence in its order,
            whatever the number of workers.
        rank: of this process, with `world_size`; by default that of torch.distributed, or of `RANK` and
            `WORLD_SIZE` in the environment.
        on_error: as `on_missing`, for objects that cannot be read; a function gets the error as well.
        on_changed: as `on_missing`, for objects that were replaced after they were listed; pins versions.
        error_budget: objects that one process may leave out in all, or the part of its share if it is a float;
            by default a tenth, and ten in any case.
        pin_versions: refuse an object that was replaced after it was listed; else it is read in its new version.
        index: path or `oss://` URI of what `save_index` wrote, to be used in place of listing.
        strict_resume: refuse a state if what is listed has changed since.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        cred_path: Path | None = "",
        config_path: Path | None = "",
        get_dataset_objects: GetDatasetObjects | RowSource | None = None,
        transform: Transform = identity,
        cred_provider: Any = None,
        from_tar: bool = False,
        shuffle: bool = False,
        shuffle_chunk_size: int = 1000,
        region: str | None = "",
        *,
        allow_empty: bool | None = None,
        on_missing: OnMissing | None = None,
        addressing: str | None = None,
        seed: int = 0,
        shard: Shard | None = None,
        uneven: Uneven = "drop",
        ordered: bool = True,
        batch_size: int = 1,
        rank: int | None = None,
        world_size: int | None = None,
        on_error: OnError | None = None,
        on_changed: OnChanged | None = None,
        error_budget: float | None = None,
        pin_versions: bool | None = None,
        index: Path | None = None,
        strict_resume: bool = True,
    ) -> None:
        super().__init__()
        if from_tar:
            raise NotImplementedError("from_tar is not in this release: it comes with the tar archives")
        epochs = Epochs(bool(shuffle), seed, shard, uneven, bool(ordered), batch_size, strict_resume)
        self._shares_listing = shard is not None
        self._schedule = Schedule(epochs, rank, world_size, process_group)
        connection = Connection(endpoint, cred_path, config_path, cred_provider, region, addressing)
        connection.world_size = world_size
        policy = Policy.checked(
            connection,
            on_missing=on_missing,
            on_changed=on_changed,
            on_error=on_error,
            error_budget=error_budget,
            pin_versions=pin_versions,
        )
        self._set_up(connection, get_dataset_objects, transform, policy, allow_empty, index)

    def __iter__(self) -> Iterator[Any]:
        """Yield this worker's share; all of it outside of a DataLoader's workers."""
        delivery = self._delivered()
        rows_of_round = self._schedule.rows_of_round(_worker())
        growing = None if rows_of_round is None else delivery.growing(rows_of_round)
        if growing is not None:
            return self._begun_early(delivery, growing)
        run = self._schedule.begin(
            delivery.count(),
            delivery.fingerprint(),
            _worker(),
            is_shared=delivery.is_shared or delivery.is_local,
        )
        return delivery.run(run.rest, run, ordered=self._schedule.ordered)

    def _begun_early(self, delivery: Delivery, growing: GrowingIndex) -> Iterator[Any]:
        """Yield this worker's share while objects are still being listed."""
        worker = _worker()
        run = self._schedule.begin_early(worker)
        settle = functools.partial(self._schedule.settle, run, worker)
        return delivery.stream(growing, run, settle, ordered=self._schedule.ordered)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the iterations that begin from now on are of; workers that live already see it."""
        self._schedule.set_epoch(epoch, _worker())

    def state_dict(self) -> dict[str, Any]:
        """Tell where this process is in the epoch: a small value that JSON can hold.

        It fits the same layout of ranks and workers; torchdata's `StatefulDataLoader` calls it in each worker.
        """
        delivery = self._delivered()
        return self._schedule.state(delivery.count(), delivery.fingerprint(), _worker())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iteration go on where a state says: one of `state_dict`, or of `state_at`.

        Raises:
            ConfigError: it is no state, or one of another seed. One of other objects or another layout is refused
                when the iteration begins.
        """
        self._schedule.load(state, _worker())

    def state_at(self, samples_consumed_by_job: int) -> dict[str, Any]:
        """Tell where the job is: {fingerprint, seed, epoch, position}, which any number of ranks and workers loads.

        Say how many samples of this epoch all ranks together have used, whether they share it or each reads all of it;
        a resumed epoch is counted from its beginning. What is ahead in a DataLoader's queues is not used, so it comes
        again. `batch_size` must be that of the DataLoader.

        Raises:
            ConfigError: so many cannot have been used; or where each of several ranks reads everything, it is not as
                many times what one has used, or how many ranks there are is not told.
        """
        delivery = self._delivered()
        return self._schedule.state_at(
            samples_consumed_by_job, delivery.count(), delivery.fingerprint(), _worker()
        )

    def __len__(self) -> int:
        """Count the samples of this rank in an epoch, once the objects were listed.

        Raises:
            TypeError: they were not; `prepare()` lists.
        """
        count = self._delivery.known_count()
        if count is None:
            raise TypeError(
                "the length of this dataset is not known before it was listed; call prepare() first"
            )
        return self._schedule.length(count)

    def shuffle(self, generator: Any = None) -> NoReturn:
        """Refuse: it is for archives, which are not in this release."""
        raise NotImplementedError("shuffle is not in this release: it comes with the tar archives")

    def __bool__(self) -> bool:
        """Return True: whether there are objects is not known without listing."""
        return True


class OssMapDataset(_OssDataset, Dataset[Any]):
    """Objects by position: `dataset[i]`, slices, `len`, and batches fetched in parallel.

    Args:
        endpoint: see `OssIterableDataset`, as all others.
        tar_uri: must be None in this release; so must `tar_index_uri`.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        cred_path: Path | None = "",
        config_path: Path | None = "",
        get_dataset_objects: GetDatasetObjects | RowSource | None = None,
        transform: Transform = identity,
        tar_uri: str | None = None,
        tar_index_uri: str | None = None,
        cred_provider: Any = None,
        region: str | None = "",
        *,
        allow_empty: bool | None = None,
        on_missing: OnMissing | None = None,
        addressing: str | None = None,
        on_error: OnError | None = None,
        on_changed: OnChanged | None = None,
        error_budget: float | None = None,
        pin_versions: bool | None = None,
        index: Path | None = None,
        **epochs: Unpack[EpochOptions],
    ) -> None:
        for name in epochs:
            if name not in EpochOptions.__annotations__:
                raise TypeError(f"OssMapDataset got an unexpected keyword argument {name!r}")
        if epochs:
            raise TypeError(
                f"OssMapDataset takes no {', '.join(sorted(epochs))}: its order and division are those of the sampler, "
                "such as DataLoader(shuffle=True) or DistributedSampler"
            )
        if tar_uri or tar_index_uri:
            raise NotImplementedError(
                "tar_uri and tar_index_uri are not in this release: they come with the tar archives"
            )
        connection = Connection(endpoint, cred_path, config_path, cred_provider, region, addressing)
        policy = Policy.checked(
            connection,
            on_missing=on_missing,
            on_changed=on_changed,
            on_error=on_error,
            error_budget=error_budget,
            pin_versions=pin_versions,
        )
        self._set_up(connection, get_dataset_objects, transform, policy, allow_empty, index)

    def __len__(self) -> int:
        """Count the objects; lists on first use."""
        return self._delivered().count()

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        """Fetch one object, negative positions counted from the end; a slice gives a list."""
        delivery = self._delivered()
        if isinstance(index, slice):
            return delivery.batch(range(*index.indices(delivery.count())))
        return delivery.one(index)

    def __getitems__(self, indices: Sequence[SupportsIndex]) -> list[Any]:
        """Fetch objects in parallel; a list in the order asked for, duplicates allowed."""
        return self._delivered().batch(indices)

    def __iter__(self) -> Iterator[Any]:
        """Yield all objects in order, fetched ahead."""
        delivery = self._delivered()
        yield from delivery.run(range(delivery.count()))

    def is_continuous(self, indices: Sequence[int]) -> bool:
        """Say whether each index is the one before plus one."""
        return all(after == before + 1 for before, after in itertools.pairwise(indices))


def _worker() -> Worker:
    info = get_worker_info()
    if info is None:
        return Worker()
    # A DataLoader gives its workers seeds in a row, from one that it draws for each crew of them.
    return Worker(info.id, info.num_workers, is_child=True, loader=info.seed - info.id)
