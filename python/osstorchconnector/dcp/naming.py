"""The names below a checkpoint's path: what a save calls its objects, and how they are known again."""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from osstorchconnector.errors import ConfigError
from osstorchconnector.uri import location_text, split

if TYPE_CHECKING:
    import os

    from osstorchconnector.dcp.filesystem import OssDCPFileSystem

METADATA = ".metadata"
SUFFIX = ".distcp"

PREFIX_STRATEGIES = ("none", "hashed", "rank")

_SAVE_ID = r"\d{8}T\d{12}-[0-9a-f]{16}"
_DIRECTORY = r"(?:[0-9a-f]{4}|rank-\d+)"
_OWN_SHARD = re.compile(
    rf"(?:(?P<directory>{_DIRECTORY})/)?(?P<plain>__(?P<save>{_SAVE_ID})_(?P<rank>\d+)_\d+\{SUFFIX})"
)
_OWN_MANIFEST = re.compile(rf"\.manifest\.(?P<save>{_SAVE_ID})\.json")
_METADATA = re.compile(r"(?:__\d+)?\.metadata")
_ANY_SHARD = re.compile(rf"__[^/]*\{SUFFIX}")


def draw_save_id() -> str:
    """Draw the name of a save: the time, to the microsecond, and 64 random bits."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds))
    return f"{moment}{nanoseconds // 1000:06d}-{secrets.token_hex(8)}"


def is_save_id(text: object) -> bool:
    """Say whether this names a save of ours."""
    return isinstance(text, str) and re.fullmatch(_SAVE_ID, text) is not None


def manifest_name(save_id: str) -> str:
    """Name the manifest of a save."""
    return f".manifest.{save_id}.json"


def metadata_name(rank: int | None = None) -> str:
    """Name the metadata: the checkpoint's, or that of one rank which saved without the others."""
    return METADATA if rank is None else f"__{rank}{METADATA}"


def is_metadata(name: str) -> bool:
    """Say whether this is the name of a checkpoint's metadata."""
    return _METADATA.fullmatch(name) is not None


def save_of_shard(name: str) -> str | None:
    """Return the save that a data object belongs to, None if it is not of ours.

    A directory before the name must be the one that a prefix strategy gives to this very object: any other is a
    checkpoint of its own, such as `1000`.
    """
    found = _OWN_SHARD.fullmatch(name)
    if found is None or found["directory"] not in (None, _hash_of(found["plain"]), f"rank-{found['rank']}"):
        return None
    return found["save"]


def save_of_manifest(name: str) -> str | None:
    """Return the save that a manifest belongs to, None if it is none."""
    found = _OWN_MANIFEST.fullmatch(name)
    return found["save"] if found else None


def is_checkpoint_part(name: str) -> bool:
    """Say whether an object below a checkpoint's path is part of a checkpoint, whoever wrote it."""
    return is_anchor(name) or save_of_shard(name) is not None or _ANY_SHARD.fullmatch(name) is not None


def is_anchor(name: str) -> bool:
    """Say whether an object of this name lies directly below a checkpoint's path."""
    return is_metadata(name) or save_of_manifest(name) is not None


def _hash_of(plain: str) -> str:
    return hashlib.blake2b(plain.encode(), digest_size=2).hexdigest()


@dataclass(frozen=True)
class ShardNames:
    """How one rank names its data objects in one save; the plan carries it from the coordinator to the rank."""

    save_id: str
    rank: int
    strategy: str = "none"

    def name(self, number: int) -> str:
        """Name the rank's data object `number`, relative to the checkpoint's path."""
        plain = f"__{self.save_id}_{self.rank}_{number}{SUFFIX}"
        if self.strategy == "hashed":
            return f"{_hash_of(plain)}/{plain}"
        if self.strategy == "rank":
            return f"rank-{self.rank}/{plain}"
        return plain

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Arrive on a rank, with its plan."""
        self.__dict__.update(state)
        self.bring()

    def bring(self) -> None:
        """Be what `brought` returns next on this thread."""
        _of_thread.brought = self


_of_thread = threading.local()


def brought() -> ShardNames | None:
    """Return, once, the names that came to this thread last.

    A planner that keeps plans drops the one that carries them and hands out one of an earlier save; torch has no other
    way from the coordinator to a rank in the middle of a save. The thread that took the plan is the one that writes.
    """
    names: ShardNames | None = getattr(_of_thread, "brought", None)
    _of_thread.brought = None
    return names


@dataclass(frozen=True)
class LoadName:
    """What the ranks of one load call it among themselves; the plan carries it from the coordinator to the rank."""

    load_id: str
    rank: int


def checked_strategy(strategy: str) -> str:
    """Return a known prefix strategy.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(strategy, str) or strategy not in PREFIX_STRATEGIES:
        raise ConfigError(f"prefix_strategy must be one of {', '.join(PREFIX_STRATEGIES)}, not {strategy!r}")
    return strategy


def directory_path(path: str | os.PathLike[str], argument: str = "path") -> str:
    """Return `/bucket/key` of a checkpoint, without a slash at its end.

    Raises:
        ConfigError: it is not a location on OSS, or names no more than a bucket.
    """
    bucket, key = split(location_text(path, argument), argument)
    key = key.strip("/")
    if not key:
        raise ConfigError(
            f"{argument} {path!r} names a bucket; a checkpoint needs a name below it: oss://bucket/name"
        )
    return f"/{bucket}/{key}"


def prefix_of(path: str | os.PathLike[str], argument: str = "prefix") -> str:
    """Return `/bucket/prefix/`, in which checkpoints are looked for.

    Raises:
        ConfigError: it is not a location on OSS.
    """
    bucket, key = split(location_text(path, argument), argument)
    key = key.strip("/")
    return f"/{bucket}/{key}/" if key else f"/{bucket}/"


def checked_file_system(fs: Any) -> OssDCPFileSystem:
    """Return the file system of a reader or writer.

    Raises:
        TypeError: it is none, such as a path.
    """
    if not callable(getattr(fs, "init_path", None)):
        raise TypeError(
            f"the first argument must be an OssDCPFileSystem, not {type(fs).__name__}; or use fs.reader(path)"
        )
    return cast("OssDCPFileSystem", fs)
