"""Checkpoints as they lie on OSS: which objects are there, which save is the current one, whether all is whole."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from osstorchconnector.dcp import manifest, naming
from osstorchconnector.dcp.unpickling import MAX_BYTES, read_metadata, too_large
from osstorchconnector.errors import FormatError, IntegrityError, NotAllowedError, NotFoundError
from osstorchconnector.uri import as_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch.distributed.checkpoint.metadata import Metadata

    from osstorchconnector.connection import OssStore
    from osstorchconnector.dcp.manifest import Manifest, Shard
    from osstorchconnector.store import ObjectInfo

_log = logging.getLogger(__name__)

# Data objects looked at at a time.
_LOOKS = 32
# The user metadata of `.metadata` that names its save, so that knowing it costs a HEAD and no unpickling. It is left
# out where data objects are named after another id than the manifest.
SAVE_HEADER = "osstorchconnector-save"


def load_metadata(store: OssStore, path: str, name: str, allow_classes: Iterable[type] = ()) -> Metadata:
    """Read a checkpoint's metadata.

    Raises:
        NotFoundError: there is none.
        FormatError: it is not to be trusted; see `unpickling`.
    """
    at = f"{path}/{name}"
    try:
        with store.open_reader(at) as reader:
            if reader.size > MAX_BYTES:
                raise too_large(reader.size, as_uri(at))
            data = reader.read()
    except NotFoundError as missing:
        missing.advise(
            "no save into this path has ended well; latest(prefix) finds the newest checkpoint that loads"
        )
        raise
    return read_metadata(data, as_uri(at), allow_classes)


def save_of(metadata: Metadata) -> str | None:
    """Return the save whose manifest belongs to this metadata, as the metadata names it."""
    save_id: str | None = getattr(metadata.storage_meta, "save_id", None)
    return save_id


def load_manifest(store: OssStore, path: str, save_id: str | None) -> Manifest | None:
    """Read the manifest of the save that metadata names; None if the checkpoint has none.

    Raises:
        FormatError: it is malformed, or belongs to another save.
    """
    if save_id is None or not naming.is_save_id(save_id):
        _log.warning(
            "load %s: written by another tool, without a manifest: its checksums cannot be compared",
            as_uri(path),
        )
        return None
    at = f"{path}/{naming.manifest_name(save_id)}"
    try:
        with store.open_reader(at) as reader:
            data = reader.read()
    except NotFoundError:
        _log.warning(
            "load %s: the manifest %s is gone: its checksums cannot be compared", as_uri(path), as_uri(at)
        )
        return None
    found = manifest.decode(data, as_uri(at))
    if found.save_id != save_id:
        raise FormatError(
            f"load {as_uri(at)}: the manifest is that of the save {found.save_id[:100]}; load an older checkpoint",
            operation="load",
            uri=as_uri(at),
        )
    return found


def named_shards(metadata: Metadata) -> dict[str, int]:
    """Return the data objects that a metadata names, and how many bytes each must have at least."""
    least_bytes: dict[str, int] = {}
    for info in metadata.storage_data.values():
        end = info.offset + info.length
        least_bytes[info.relative_path] = max(end, least_bytes.get(info.relative_path, 0))
    return least_bytes


def check_shards(store: OssStore, path: str, least_bytes: dict[str, int], found: Manifest | None) -> None:
    """Look whether every data object of a checkpoint is there and whole, 32 at a time.

    Args:
        least_bytes: the data objects, and how many bytes each must have at least.

    Raises:
        IntegrityError: one is missing, or its size or CRC-64 is not what was written.
    """
    known = {shard.name: shard for shard in found.shards} if found is not None else {}

    def check(name: str) -> None:
        uri = as_uri(f"{path}/{name}")
        if found is not None and name not in known:
            raise _damaged(uri, "is not in the checkpoint's manifest")
        try:
            info = store.head_object(f"{path}/{name}")
        except NotFoundError:
            raise _damaged(uri, "is missing") from None
        _compare(uri, info, known.get(name), least_bytes[name])

    with ThreadPoolExecutor(_LOOKS, thread_name_prefix="oss-dcp-check") as pool:
        looks = [pool.submit(check, name) for name in sorted(least_bytes)]
        try:
            for look in looks:
                look.result()
        finally:
            for look in looks:
                look.cancel()


def _compare(uri: str, info: ObjectInfo, shard: Shard | None, least_bytes: int) -> None:
    """Compare what OSS says of a data object with what was written; without a manifest, with what is needed."""
    if shard is None:
        if info.size < least_bytes:
            raise _damaged(uri, f"has {info.size} bytes, {least_bytes} or more were written")
    elif info.size != shard.size_bytes or info.size < least_bytes:
        raise _damaged(uri, f"has {info.size} bytes, {max(shard.size_bytes, least_bytes)} were written")
    elif info.crc64 is not None and info.crc64 != shard.crc64:
        raise _damaged(uri, f"has the CRC-64 {info.crc64}, {shard.crc64} was written")


def _damaged(uri: str, what: str) -> IntegrityError:
    return IntegrityError(
        f"load {uri}: this part of the checkpoint {what}; no tensor was changed; load an older checkpoint, "
        "latest(prefix) finds the newest one that is whole",
        operation="load",
        uri=uri,
    )


@dataclass
class Group:
    """The objects of one save.

    Attributes:
        manifest_at: when its manifest was written; None without one.
        newest_at: when the last of its objects was written.
    """

    shards: list[str] = field(default_factory=list)
    manifest_at: float | None = None
    newest_at: float = 0.0


@dataclass
class Contents:
    """What lies below a checkpoint's path.

    Attributes:
        metadata: names of `.metadata` objects, and when they were written.
        groups: our saves by their id.
        parts: every object that is part of a checkpoint, whoever wrote it.
    """

    metadata: dict[str, float] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)

    def add(self, name: str, changed_at: float) -> None:
        """Take an object in; names that are no part of a checkpoint are left out."""
        if not naming.is_checkpoint_part(name):
            return
        self.parts.append(name)
        if naming.is_metadata(name):
            self.metadata[name] = changed_at
            return
        save_id = naming.save_of_shard(name)
        if save_id is not None:
            group = self.groups.setdefault(save_id, Group())
            group.shards.append(name)
        else:
            save_id = naming.save_of_manifest(name)
            if save_id is None:
                return
            group = self.groups.setdefault(save_id, Group())
            group.manifest_at = changed_at
        group.newest_at = max(group.newest_at, changed_at)


def look(store: OssStore, path: str) -> Contents:
    """List what lies below one checkpoint's path."""
    return find(store, f"{path}/").get(path, Contents())


def sizes(store: OssStore, path: str) -> dict[str, int | None]:
    """List the sizes of all objects below one checkpoint's path, by their names."""
    return {key[len(path) + 1 :]: size for key, size, _, _ in store.entries(f"{path}/", None)}


def find(store: OssStore, prefix: str) -> dict[str, Contents]:
    """List all checkpoints below `/bucket/prefix/`, by their path; one may lie at the prefix itself."""
    found: dict[str, Contents] = {}
    entries = [(key, changed_at) for key, _, _, changed_at in store.entries(prefix, None)]
    homes = {key.rpartition("/")[0] for key, _ in entries if naming.is_anchor(key.rpartition("/")[2])}
    for key, changed_at in entries:
        home = _home(key, homes)
        if home is not None:
            found.setdefault(home, Contents()).add(key[len(home) + 1 :], changed_at)
    return found


def _home(key: str, homes: set[str]) -> str | None:
    """Find the checkpoint that an object belongs to; None if it is no part of one."""
    parent, _, name = key.rpartition("/")
    if parent in homes:
        return parent
    # A save that runs, or that died early, has nothing but data objects.
    above, _, directory = parent.rpartition("/")
    if naming.save_of_shard(f"{directory}/{name}") is not None:
        return above
    return parent if naming.save_of_shard(name) is not None else None


def live_saves(
    store: OssStore, path: str, contents: Contents, allow_classes: Iterable[type] = ()
) -> set[str]:
    """Return the saves whose objects the current metadata names.

    Raises:
        FormatError: the metadata cannot be read, so nothing can be said.
    """
    live = set()
    for name in contents.metadata:
        said = store.head_object(f"{path}/{name}").metadata.get(SAVE_HEADER)
        live |= {said} if said is not None else _saves_named(load_metadata(store, path, name, allow_classes))
    return live


def _saves_named(metadata: Metadata) -> set[str]:
    """Return the saves of the manifest and of the data objects that a metadata names."""
    named = {naming.save_of_shard(info.relative_path) for info in metadata.storage_data.values()}
    named.add(save_of(metadata))
    return {save_id for save_id in named if save_id is not None}


def is_loadable(store: OssStore, path: str, name: str, allow_classes: Iterable[type] = ()) -> bool:
    """Say whether a load of this checkpoint would begin; what is wrong with it is logged.

    Raises:
        NotAllowedError: its metadata asks for a class that is not allowed: that is not to be taken for damage.
    """
    try:
        metadata = load_metadata(store, path, name, allow_classes)
        check_shards(store, path, named_shards(metadata), load_manifest(store, path, save_of(metadata)))
    except NotAllowedError:
        raise
    except (FormatError, IntegrityError, NotFoundError) as wrong:
        _log.warning("%s is passed over: %s", as_uri(path), wrong)
        return False
    return True


def is_whole(store: OssStore, path: str, name: str, allow_classes: Iterable[type] = ()) -> bool:
    """Say whether a load of this checkpoint would begin for whoever may read its metadata.

    Metadata that may not be read here is believed about nothing but the save that its header names, whose manifest
    tells the data objects.
    """
    try:
        return is_loadable(store, path, name, allow_classes)
    except NotAllowedError as refused:
        try:
            found = load_manifest(store, path, store.head_object(f"{path}/{name}").metadata.get(SAVE_HEADER))
            if found is not None:
                check_shards(store, path, {shard.name: shard.size_bytes for shard in found.shards}, found)
                return True
        except (FormatError, IntegrityError, NotFoundError) as wrong:
            _log.warning("%s is passed over: %s", as_uri(path), wrong)
        else:
            _log.warning("%s is passed over: %s", as_uri(path), refused)
    return False


def by_age(found: dict[str, Contents]) -> list[tuple[str, str]]:
    """Return (path, name of its metadata) of the checkpoints that have metadata, newest first."""
    dated = [
        (changed_at, path, name)
        for path, contents in found.items()
        for name, changed_at in [newest(contents)]
        if name is not None
    ]
    return [(path, name) for _, path, name in sorted(dated, reverse=True)]


def newest(contents: Contents) -> tuple[str | None, float]:
    """Return name and time of a checkpoint's metadata: the common one, else the newest of the ranks'."""
    if naming.METADATA in contents.metadata:
        return naming.METADATA, contents.metadata[naming.METADATA]
    at: Callable[[str], float] = contents.metadata.__getitem__
    name = max(contents.metadata, key=at, default=None)
    return name, contents.metadata[name] if name is not None else 0.0
