"""`OssStorageWriter`: a save, from the plan to the one PutObject that makes it the current checkpoint."""

from __future__ import annotations

import copy
import dataclasses
import logging
import pickle
from typing import TYPE_CHECKING, Any

from torch.distributed.checkpoint import filesystem
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.metadata import StorageMeta
from torch.futures import Future

from osstorchconnector.dcp import checkpoints, memory, naming, older_torch, retention, unpickling
from osstorchconnector.dcp.alarm import Alarm, OtherRankFailedError
from osstorchconnector.dcp.checkpoints import SAVE_HEADER
from osstorchconnector.dcp.manifest import Item, Manifest, Shard
from osstorchconnector.dcp.naming import ShardNames
from osstorchconnector.dcp.progress import Progress
from osstorchconnector.dcp.shards import GivenUp, PlannedShard, ShardWriter, StoredItem, given_up, item_bytes
from osstorchconnector.dcp.turns import TURNS
from osstorchconnector.errors import AlreadyExistsError, ConfigError, OssError, UploadError
from osstorchconnector.streams import ObjectWriter
from osstorchconnector.uri import as_uri

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from torch.distributed.checkpoint.metadata import Metadata
    from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
    from torch.distributed.checkpoint.storage import WriteResult

    from osstorchconnector.dcp.filesystem import OssDCPFileSystem
    from osstorchconnector.dcp.retention import Before

_log = logging.getLogger(__name__)

# Past the deadline of any single request; a save that waits longer for the one before is refused.
_TURN_SECONDS = 600.0

# Saves whose names this process has used: a planner that caches plans brings the names of an earlier save again.
_used_saves: set[str] = set()


class OssStorageWriter(FileSystemWriter):
    """Writes one checkpoint at a time below a path; the previous one stays loadable until the new one is whole.

    Args:
        fs: where it is written.
        path: `oss://bucket/checkpoint`. It belongs to one job at a time.
        prefix_strategy: spreads the data objects over key prefixes: `none`, `hashed` (a directory of four hash
            digits for each object) or `rank` (a directory for each rank).
        grace_seconds: how long the data of a replaced save stays after it was replaced, for those who are loading it.
        keep_last: after a save, remove all but so many of the checkpoints beside this one; None keeps all.
        storage_class: OSS storage class of the data objects.
        allow_classes: classes that `.metadata` may hold beside those of torch's checkpoints, such as an own planner's:
            by them older saves are told apart.
        kwargs: those of torch's `FileSystemWriter`.

    Raises:
        ConfigError: an argument is wrong.
    """

    # An older torch has collectives always, and does not tell a writer its rank.
    use_collectives: bool = True
    rank: int | None = None

    def __init__(
        self,
        fs: OssDCPFileSystem,
        path: str | os.PathLike[str],
        *,
        prefix_strategy: str = "none",
        grace_seconds: float = retention.GRACE_SECONDS,
        keep_last: int | None = None,
        storage_class: str | None = None,
        allow_classes: Iterable[type] = (),
        **kwargs: Any,
    ) -> None:
        # There is nothing to sync on OSS; the original passes this too.
        super().__init__(path=path, **{**kwargs, "sync_files": False})
        older_torch.refuse_other_formats(self)
        self.fs: OssDCPFileSystem = fs  # type: ignore[assignment]
        self.path = naming.checked_file_system(fs).init_path(path)
        self._prefix_strategy = naming.checked_strategy(prefix_strategy)
        self._grace_seconds = retention.checked_grace(grace_seconds)
        self._keep_last = None if keep_last is None else retention.checked_count(keep_last)
        self._storage_class = storage_class
        self._allow_classes = unpickling.checked_classes(allow_classes)
        self._is_coordinator = False
        self._before: Before | None = None
        self._etag: str | None = None

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Turn to another path, if one is given."""
        if checkpoint_id:
            self.path = self.fs.init_path(checkpoint_id)

    def stage(self, state_dict: dict[str, Any]) -> dict[str, Any]:
        """Copy the state as it is now; waits for a save that is still running.

        Tensors are copied to this host's memory, everything else is copied deeply: what training changes
        afterwards is not in the checkpoint.
        """
        TURNS.stage(_TURN_SECONDS, self._uri)
        staged = super().stage(state_dict)
        # Torch passes some through as they are, such as a DTensor without dimensions: those are copied here.
        own = {id(tensor) for tensor in memory.tensors(state_dict)}
        memo = {id(tensor): tensor for tensor in memory.tensors(staged) if id(tensor) not in own}
        copied = {name: copy.deepcopy(value, memo) for name, value in staged.items()}
        TURNS.staged()
        return copied

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        """Begin a save; waits until one that is running in this process has ended."""
        super().set_up_storage_writer(is_coordinator, *args, **kwargs)
        self._is_coordinator = is_coordinator
        TURNS.begin(_TURN_SECONDS, self._uri)

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        """Refuse to replace a checkpoint if `overwrite=False`.

        Raises:
            AlreadyExistsError: there is one.
        """
        alone = not self.use_collectives
        if not self.overwrite and (self._is_coordinator or alone):
            name = self._metadata_name()
            if self.fs.exists(self.fs.concat_path(self.path, name)):
                raise AlreadyExistsError(
                    f"save {self._uri}: a checkpoint is there, and overwrite=False forbids to replace it",
                    operation="save",
                    uri=self._uri,
                )
        return dataclasses.replace(plan, storage_data=None)

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        """Draw the name of the save, and tell it to all ranks in their plans."""
        self.save_id = naming.draw_save_id()
        if self.use_collectives:
            self._before = retention.look_before(self.fs.store(), self._location, self._allow_classes)
            ranks: Iterable[int] = range(len(plans))
        else:
            self._before = None
            ranks = [self.rank or 0]
        names = [ShardNames(self.save_id, rank, self._prefix_strategy) for rank in ranks]
        for one in names:
            if one.rank == (self.rank or 0):
                # Without a process group the plan does not travel.
                one.bring()
        return [dataclasses.replace(plan, storage_data=one) for plan, one in zip(plans, names, strict=True)]

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """Write this rank's data objects."""
        try:
            written = self._write(plan, planner)
        except OtherRankFailedError as failure:
            # That rank's failure is the one that torch is to show. What this one has is no part of a checkpoint.
            written = given_up(failure)
        except BaseException:
            TURNS.end()
            raise
        if not self._is_coordinator:
            TURNS.end()
        future: Future[list[WriteResult]] = Future()
        future.set_result(written)
        return future

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Write the manifest, and then the metadata: the moment in which the checkpoint is there."""
        try:
            self._commit(metadata, results)
        finally:
            TURNS.end()

    def storage_meta(self) -> StorageMeta | None:
        """Name the checkpoint and the save."""
        return StorageMeta(checkpoint_id=self._uri, save_id=self.save_id)

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        """Say whether this is a location on OSS."""
        from osstorchconnector.dcp.filesystem import OssDCPFileSystem

        return OssDCPFileSystem.validate_checkpoint_id(checkpoint_id)

    def __repr__(self) -> str:
        """Name the checkpoint."""
        return f"<OssStorageWriter {self._uri}>"

    def __getstate__(self) -> dict[str, Any]:
        """Carry the values into the process that will save."""
        TURNS.forget_expected()
        return self.__dict__.copy()

    @property
    def _location(self) -> str:
        return naming.directory_path(self.path)

    @property
    def _uri(self) -> str:
        return as_uri(self._location)

    def _metadata_name(self) -> str:
        return naming.metadata_name(None if self.use_collectives else self.rank)

    def _names(self, plan: SavePlan) -> tuple[ShardNames, str | None]:
        """Return the names of this rank's data objects, and the save that the coordinator named, if it is known."""
        # The plan may be one that the planner has kept since an earlier save.
        for names in (naming.brought(), plan.storage_data):
            if isinstance(names, ShardNames) and names.save_id not in _used_saves:
                _used_saves.add(names.save_id)
                return names, names.save_id
        own = naming.draw_save_id()
        _used_saves.add(own)
        return ShardNames(own, self.rank or 0, self._prefix_strategy), None

    def _write(self, plan: SavePlan, planner: SavePlanner) -> list[WriteResult]:
        names, save_id = self._names(plan)
        shards = self._planned(plan, names)
        total_bytes = sum(item_bytes(item) for item in plan.items)
        with Progress("save", self._uri, names.rank, total_bytes, len(shards)) as progress:
            copy_ahead_bytes = self.per_thread_copy_ahead if self.thread_count == 1 else 0
            writer = ShardWriter(
                self._open_stream,
                planner,
                older_torch.transforms(self),
                copy_ahead_bytes,
                progress,
                self._location,
                save_id,
            )
            with Alarm(save_id, f"save {self._uri}", names.rank, lambda _: writer.give_up()):
                return writer.write_all(shards, self.thread_count)

    def _planned(self, plan: SavePlan, names: ShardNames) -> list[PlannedShard]:
        """Share the items of this rank out to data objects; an empty one is none."""
        if self.single_file_per_rank:
            bundles = filesystem._split_by_size_and_type(self.thread_count, plan.items)  # noqa: SLF001
        else:
            bundles = [[item] for item in plan.items]
        full = [bundle for bundle in bundles if bundle]
        return [PlannedShard(names.name(number), bundle) for number, bundle in enumerate(full)]

    def _open_stream(self, name: str, size_hint_bytes: int) -> ObjectWriter:
        path = f"{self._location}/{name}"
        sink = self.fs.store().open_sink(
            path, size_hint_bytes=size_hint_bytes, storage_class=self._storage_class
        )
        return ObjectWriter(sink, path)

    def _commit(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        metadata.version = getattr(filesystem, "CURRENT_DCP_VERSION", None)
        metadata.storage_meta = self.storage_meta()
        metadata.storage_data = {}
        stored = []
        for rank, written in enumerate(results):
            for result in written:
                one = self._own(rank, result.storage_data)
                metadata.storage_data[result.index] = one.info
                stored.append(one)
        store, location = self.fs.store(), self._location
        manifest = Manifest(self.save_id, _shards(stored))
        is_of_one_id = all(naming.save_of_shard(shard.name) == self.save_id for shard in manifest.shards)
        store.put(
            f"{location}/{naming.manifest_name(self.save_id)}",
            manifest.encode(),
            content_type="application/json",
        )
        self._look_again(manifest)
        self._etag = store.put(
            f"{location}/{self._metadata_name()}",
            pickle.dumps(metadata),
            if_absent=not self.overwrite,
            metadata={SAVE_HEADER: self.save_id} if is_of_one_id else None,
        )
        self._clean_up()

    def _look_again(self, manifest: Manifest) -> None:
        """Make sure that all data objects are still there: a checkpoint that does not load must not replace one.

        Raises:
            UploadError: one is gone. Another job that saves into the same path takes them for those of a dead save.
        """
        try:
            there = checkpoints.sizes(self.fs.store(), self._location)
        except OssError as failure:
            _log.warning("save %s: its data objects could not be looked at: %s", self._uri, failure)
            return
        for shard in manifest.shards:
            if there.get(shard.name) != shard.size_bytes:
                raise UploadError(
                    f"save {self._uri}: the data object {shard.name} was removed while the save ran, the checkpoint "
                    "before stays; give each job a path of its own",
                    operation="save",
                    uri=as_uri(f"{self._location}/{shard.name}"),
                    state="not_committed",
                )

    def _own(self, rank: int, stored: StoredItem | GivenUp) -> StoredItem:
        """Check that an item was written for this save.

        Raises:
            ConfigError: the ranks did not save into the same place.
            UploadError: a rank gave its part up.
        """
        if isinstance(stored, GivenUp):
            raise UploadError(
                f"save {self._uri}: rank {rank} did not write its part, the checkpoint before stays: {stored.why}",
                operation="save",
                uri=self._uri,
                state="not_committed",
            )
        if stored.path != self._location:
            raise ConfigError(
                f"save {self._uri}: rank {rank} saved into {as_uri(stored.path)}; pass the same path on all ranks"
            )
        if stored.save_id not in (None, self.save_id):
            raise ConfigError(
                f"save {self._uri}: rank {rank} wrote for another save; two saves ran at once on one process group, "
                "wait for the first one's future"
            )
        return stored

    def _clean_up(self) -> None:
        """Remove what this save made superfluous; the checkpoint is there already, so nothing here may fail it."""
        before, self._before = self._before, None
        store = self.fs.store()
        if before is not None:
            retention.collect_after(store, self._location, before, self._grace_seconds, self._etag)
        if self._keep_last is not None:
            try:
                beside = f"{self._location.rpartition('/')[0]}/"
                retention.keep_last(
                    store, beside, self._keep_last, self._allow_classes, just_saved=self._location
                )
            except OSError as failure:
                _log.warning("save %s: old checkpoints could not be removed: %s", self._uri, failure)


def _shards(stored: list[StoredItem]) -> tuple[Shard, ...]:
    """Gather the data objects from what was told of their items."""
    items: dict[tuple[str, int, int], list[Item]] = {}
    parts: dict[str, tuple[tuple[int, int], ...]] = {}
    for one in stored:
        name = one.info.relative_path
        items.setdefault((name, one.shard_bytes, one.shard_crc64), []).append(one.item)
        parts[name] = parts.get(name) or one.shard_parts
    return tuple(Shard(*about, tuple(some), parts[about[0]]) for about, some in sorted(items.items()))
