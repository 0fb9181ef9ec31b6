"""`OssStorageReader`: a load, from the metadata over the check of all data objects to the tensors."""

from __future__ import annotations

import dataclasses
import io
import pickle
import re
import secrets
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata
from torch.futures import Future

from osstorchconnector.dcp import checkpoints, naming, older_torch, unpickling
from osstorchconnector.dcp.alarm import Alarm
from osstorchconnector.dcp.fetching import Fetcher, Wanted
from osstorchconnector.dcp.naming import LoadName
from osstorchconnector.dcp.progress import Progress
from osstorchconnector.dcp.rows import Parts
from osstorchconnector.errors import FormatError, IntegrityError, NotFoundError
from osstorchconnector.uri import as_uri

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from torch.distributed.checkpoint.filesystem import _StorageInfo
    from torch.distributed.checkpoint.metadata import MetadataIndex
    from torch.distributed.checkpoint.planner import LoadPlan, LoadPlanner, ReadItem

    from osstorchconnector.dcp.filesystem import OssDCPFileSystem
    from osstorchconnector.dcp.manifest import Item, Manifest


class OssStorageReader(FileSystemReader):
    """Reads one checkpoint; every data object of it is checked before a tensor is touched.

    Args:
        fs: where it is.
        path: `oss://bucket/checkpoint`.
        allow_classes: classes that `.metadata` may hold beside those of torch's checkpoints.
        weights_only: refuse stored objects that are more than tensors and plain values; torch's own planner would
            unpickle them without restriction. Needs torch 2.6.

    Raises:
        ConfigError: an argument is wrong, or this torch is too old for it.
    """

    # An older torch has collectives always, and does not tell a reader its rank.
    use_collectives: bool = True
    rank: int | None = None  # type: ignore[assignment]  # torch declares what it begins with

    def __init__(
        self,
        fs: OssDCPFileSystem,
        path: str | os.PathLike[str],
        *,
        allow_classes: Iterable[type] = (),
        weights_only: bool = False,
    ) -> None:
        super().__init__(path)
        self.fs: OssDCPFileSystem = fs  # type: ignore[assignment]
        self.path = naming.checked_file_system(fs).init_path(path)
        self._allow_classes = unpickling.checked_classes(allow_classes)
        self._weights_only = weights_only
        if weights_only:
            older_torch.refuse_weights_only()
        self._failure: Exception | None = None
        self._metadata: Metadata | None = None
        self._manifest: Manifest | None = None

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Turn to another path, if one is given."""
        if checkpoint_id:
            # Not `Path`, which the base would make of it.
            self.path = self.fs.init_path(checkpoint_id)
        self._failure = self._metadata = self._manifest = None
        super().reset(None)

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """Read the metadata by an allow-list of classes.

        Torch takes any failure for a missing file and falls back to the metadata that one rank wrote for itself,
        which may be that of an older checkpoint. Here only a missing `.metadata` leads there.

        Raises:
            NotFoundError: there is none.
            FormatError: it is malformed, or asks for a class that is not allowed.
        """
        rank = kwargs.get("rank")
        if rank is not None and self._failure is not None:
            return _UnreadableMetadata(self._failure)
        try:
            metadata = checkpoints.load_metadata(
                self.fs.store(), self._location, naming.metadata_name(rank), self._allow_classes
            )
        except NotFoundError as missing:
            if rank is None:
                self._missing = missing
                raise
            return _UnreadableMetadata(getattr(self, "_missing", missing))
        except Exception as failure:
            self._failure = failure
            raise
        if getattr(metadata, "storage_meta", None) is None:
            metadata.storage_meta = StorageMeta()
        assert metadata.storage_meta is not None
        metadata.storage_meta.load_id = self.load_id
        return metadata

    def set_up_storage_reader(
        self, metadata: Metadata, is_coordinator: bool, *args: Any, **kwargs: Any
    ) -> None:
        """Read the manifest; the coordinator looks at all data objects, and no rank goes on before it has.

        Raises:
            IntegrityError: a data object is missing, or is not what was written.
        """
        if isinstance(metadata, _UnreadableMetadata):
            raise metadata.failure
        super().set_up_storage_reader(metadata, is_coordinator, *args, **kwargs)
        store = self.fs.store()
        self._metadata = metadata
        self._manifest = checkpoints.load_manifest(store, self._location, checkpoints.save_of(metadata))
        if is_coordinator or not self.use_collectives:
            named = checkpoints.named_shards(metadata)
            checkpoints.check_shards(store, self._location, named, self._manifest)

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        """Tell all ranks what this load is called among them; torch's own `load_id` is that of the reader."""
        load_id = secrets.token_hex(16)
        return [
            dataclasses.replace(plan, storage_data=LoadName(load_id, rank)) for rank, plan in enumerate(plans)
        ]

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        """Bring the items of the plan into the tensors of the model."""
        wanted = self._wanted(plan)
        shards = self._manifest.shards if self._manifest is not None else ()
        total_bytes = sum(one.size_bytes for one in wanted)
        uri, name = as_uri(self._location), plan.storage_data
        load_id, rank = (name.load_id, name.rank) if isinstance(name, LoadName) else (None, self.rank or 0)
        with Progress("load", uri, rank, total_bytes, len(wanted)) as progress:
            fetcher = Fetcher(
                self.fs.store(),
                self._location,
                {shard.name: shard.size_bytes for shard in shards},
                planner,
                older_torch.transforms(self).transform_load_stream,
                self._check_object if self._weights_only else None,
                progress,
            )
            with Alarm(load_id, f"load {uri}", rank, fetcher.give_up):
                fetcher.fetch(wanted)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        """Say whether this is a location on OSS."""
        from osstorchconnector.dcp.filesystem import OssDCPFileSystem

        return OssDCPFileSystem.validate_checkpoint_id(checkpoint_id)

    def __repr__(self) -> str:
        """Name the checkpoint."""
        return f"<OssStorageReader {as_uri(self._location)}>"

    @property
    def _location(self) -> str:
        return naming.directory_path(self.path)

    def _wanted(self, plan: LoadPlan) -> list[Wanted]:
        """Gather what the plan reads, each stored item once."""
        reads: dict[MetadataIndex, list[ReadItem]] = {}
        for read in plan.items:
            reads.setdefault(read.storage_index, []).append(read)
        shards = self._manifest.shards if self._manifest is not None else ()
        parts = {shard.name: Parts(shard.parts) for shard in shards if shard.parts}
        wanted = []
        for index, some in reads.items():
            info = self.storage_data[index]
            item, chunk = self._item(index, info), self._chunk(index)
            wanted.append(Wanted.of(info, item, some, chunk, parts.get(info.relative_path)))
        return wanted

    def _item(self, index: MetadataIndex, info: _StorageInfo) -> Item | None:
        """Find what the manifest says of an item; None if the checkpoint has no manifest.

        Raises:
            IntegrityError: the manifest does not know it, so nothing could be compared.
        """
        if self._manifest is None:
            return None
        item = self._manifest.item(info.relative_path, info.offset, info.length)
        if item is None:
            uri = as_uri(f"{self._location}/{info.relative_path}")
            raise IntegrityError(
                f"load {uri}: the checkpoint's manifest does not know the bytes of {index.fqn!r}, it belongs to other "
                "metadata; no tensor was changed; load an older checkpoint",
                operation="load",
                uri=uri,
            )
        return item

    def _chunk(self, index: MetadataIndex) -> torch.Size | None:
        """Return the size of a stored chunk; None for what is no tensor."""
        assert self._metadata is not None, "set_up_storage_reader comes first"
        stored = self._metadata.state_dict_metadata.get(index.fqn)
        if not isinstance(stored, TensorStorageMetadata):
            return None
        sizes = (chunk.sizes for chunk in stored.chunks if index.offset in (None, chunk.offsets))
        return next(sizes, None)

    def _check_object(self, read: ReadItem, data: bytes) -> None:
        try:
            with older_torch.allowing(self._allow_classes):
                torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as refused:
            uri = as_uri(self._location)
            raise FormatError(
                f"load {uri}: the object {read.storage_index.fqn!r} is more than tensors and plain values"
                f"{_what_it_asks_for(refused)}; if you trust whoever wrote it, name its classes in allow_classes=[...], "
                "or pass weights_only=False",
                operation="load",
                uri=uri,
            ) from None


def _what_it_asks_for(refused: pickle.UnpicklingError) -> str:
    """Return the class that torch refused, out of its page of advice."""
    found = re.search(r"GLOBAL ([\w.]+)", str(refused))
    return f" (it asks for {found[1]})" if found else ""


class _UnreadableMetadata(Metadata):
    """Stands for metadata that could not be read, until torch gives it back: every rank then gets the true error."""

    def __init__(self, failure: Exception) -> None:
        self.failure = failure

    @property
    def state_dict_metadata(self) -> Any:  # type: ignore[override]
        raise self.failure

    @property
    def planner_data(self) -> Any:
        raise self.failure
