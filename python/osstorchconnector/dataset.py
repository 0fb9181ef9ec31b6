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
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex

from torch.utils.data import Dataset, IterableDataset, get_worker_info

from osstorchconnector.client import OssClient
from osstorchconnector.connection import Connection
from osstorchconnector.data_object import DataObject
from osstorchconnector.delivery import Delivery, OnMissing, Options, Worker
from osstorchconnector.errors import ConfigError
from osstorchconnector.manifest import ManifestParser, ManifestSource
from osstorchconnector.sharding import positions_of_worker
from osstorchconnector.sources import CallableSource, ObjectsSource, PrefixSource
from osstorchconnector.streams import ObjectReader

if TYPE_CHECKING:
    from typing_extensions import Self

    from osstorchconnector.store import RowSource

Path = str | os.PathLike[str]
Transform = Callable[[Any], Any]
GetDatasetObjects = Callable[[Any], Iterable[DataObject]]

# A DataLoader's queue drops what it cannot pickle and then waits for ever. A delivered object is all in memory, so it
# may take that way, and only that: elsewhere a stream refuses to be pickled, as the contract says.
ForkingPickler.register(ObjectReader, ObjectReader.carry)


def identity(obj: Any) -> Any:
    """Return the object as it is: the default transform."""
    return None if obj is None else obj.copy()


class _OssDataset:
    """What both datasets are: a delivery, and the ways to say which objects."""

    _delivery: Delivery

    def _set_up(
        self,
        connection: Connection,
        objects: GetDatasetObjects | RowSource | None,
        transform: Transform | None,
        options: Options,
    ) -> None:
        if objects is None:
            raise ConfigError(
                "get_dataset_objects is missing; pass a function, or use from_prefix or from_objects"
            )
        if callable(objects):
            objects = CallableSource(objects, functools.partial(OssClient.over, connection))
        self._delivery = Delivery(connection, objects, identity if transform is None else transform, options)

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

    def prepare(self) -> int:
        """List or read the manifest now; return the number of objects. What is wrong is raised here, early."""
        return self._delivered().count()

    def stats(self) -> dict[str, int | float]:
        """Return the counters of this dataset, DataLoader workers included; names and units are in docs/stats.md."""
        return self._delivery.stats()

    def _delivered(self) -> Delivery:
        """Return the delivery, told which DataLoader worker this process is."""
        self._delivery.enter(_worker())
        return self._delivery


class OssIterableDataset(_OssDataset, IterableDataset[Any]):
    """Objects one after the other; each exactly once over all workers of a DataLoader, in index order.

    Args:
        endpoint: see `from_prefix`, as all that follow up to `transform`.
        get_dataset_objects: called with an `OssClient`; returns DataObjects, whose names are the index.
        from_tar: must be False in this release; so must `shuffle`, which is for archives.
        allow_empty: deliver nothing where nothing is found, instead of raising.
        on_missing: "raise", "skip", or a function: it gets the nameless rest (a detached DataObject), and its
            result goes to `transform` in the object's place.
        addressing: `auto`, `virtual`, `path` or `cname`.
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
    ) -> None:
        super().__init__()
        if from_tar or shuffle:
            raise NotImplementedError(
                "from_tar and shuffle are not in this release: they come with the tar archives"
            )
        connection = Connection(endpoint, cred_path, config_path, cred_provider, region, addressing)
        options = Options.checked(connection, allow_empty, on_missing)
        self._set_up(connection, get_dataset_objects, transform, options)

    def __iter__(self) -> Iterator[Any]:
        """Yield this worker's share; all of it outside of a DataLoader's workers."""
        worker = _worker()
        delivery = self._delivered()
        yield from delivery.run(positions_of_worker(delivery.count(), worker.id, worker.count))

    def __len__(self) -> int:
        """Count the objects, once they were listed.

        Raises:
            TypeError: they were not; `prepare()` lists.
        """
        count = self._delivery.known_count()
        if count is None:
            raise TypeError(
                "the length of this dataset is not known before it was listed; call prepare() first"
            )
        return count

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
    ) -> None:
        if tar_uri or tar_index_uri:
            raise NotImplementedError(
                "tar_uri and tar_index_uri are not in this release: they come with the tar archives"
            )
        connection = Connection(endpoint, cred_path, config_path, cred_provider, region, addressing)
        options = Options.checked(connection, allow_empty, on_missing)
        self._set_up(connection, get_dataset_objects, transform, options)

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
    return Worker() if info is None else Worker(info.id, info.num_workers, is_child=True)
