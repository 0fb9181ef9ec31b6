"""What goes, and when: the objects of saves that were replaced or that died, and old checkpoints.

Nothing that the current metadata names ever goes. The objects of a replaced save stay for a grace time after it was
replaced, since an evaluator may be loading them. Those of a save that died were never named by any metadata.
"""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from osstorchconnector.dcp import checkpoints, naming, uploads
from osstorchconnector.errors import ConfigError, FormatError, OssError
from osstorchconnector.uri import as_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from osstorchconnector.connection import OssStore
    from osstorchconnector.dcp.checkpoints import Contents, Group
    from osstorchconnector.store import AbandonedUpload

_log = logging.getLogger(__name__)

GRACE_SECONDS = 3600.0
# By hand nobody knows whether a save is running: one that has published nothing for a day is taken for dead.
GC_GRACE_SECONDS = 86400.0
# Keys of one request.
_BATCH = 1000


@dataclass(frozen=True)
class Before:
    """What lay below the path when a save began."""

    contents: Contents
    live: set[str]


def look_before(store: OssStore, path: str, allow_classes: Iterable[type] = ()) -> Before | None:
    """Look below the path when a save begins; None, and a warning, if that cannot be done."""
    try:
        contents = checkpoints.look(store, path)
        return Before(contents, checkpoints.live_saves(store, path, contents, allow_classes))
    except OssError as failure:
        _log.warning("save %s: old objects stay, because they cannot be told: %s", as_uri(path), failure)
        return None


def collect_after(store: OssStore, path: str, before: Before, grace_seconds: float, etag: str | None) -> None:
    """Remove what a save that has just ended well makes superfluous; a failure is a warning.

    Its own objects are not among `before`, so whatever is neither live nor replaced in there is dead: unless another
    job has saved into the same path since, which this one knows nothing of. Then nothing goes. Its own uploads have
    ended, so any that is open is a dead one's; those go after the grace time.

    Args:
        etag: of the metadata that the save wrote.
    """
    try:
        current = store.head_object(f"{path}/{naming.METADATA}")
        if etag is None or current.etag is None or current.etag.strip('"') != etag.strip('"'):
            _log.warning(
                "save %s: its metadata is not the current one any more, so nothing is removed; if another job saves "
                "into the same path, give each job a path of its own",
                as_uri(path),
            )
            return
        # The time of OSS: this machine's clock may be off by more than the grace.
        now = current.last_modified or store.server_now()
        names = superfluous(before.contents, before.live, now, grace_seconds, 0.0, committed_at=now)
        remove(store, path, names)
        uploads.abort(store, uploads.of_checkpoint(store, path, grace_seconds))
    except OssError as failure:
        _log.warning(
            "save %s: old objects could not be removed, the next save tries again: %s", as_uri(path), failure
        )


def superfluous(
    contents: Contents,
    live: set[str],
    now: float,
    grace_seconds: float,
    dead_grace_seconds: float,
    committed_at: float | None = None,
) -> list[str]:
    """Choose the objects that may go, in the order in which they go: a save's manifest after its data.

    Pure. Manifests tell the order of saves; one that is later than the live save's was written by a save that died
    just before its metadata. While the live save's own is not there, nothing is known, and what is complete stays.
    Data without a manifest of its name is taken for that of the replaced save whose manifest came next: where a planner
    keeps plans, older versions let the ranks name their data themselves.

    Args:
        live: saves that the current metadata names.
        committed_at: when a save that is not among `contents` replaced the live ones; None if none did.
    """
    order = sorted(
        (group.manifest_at, save_id)
        for save_id, group in contents.groups.items()
        if group.manifest_at is not None
    )
    named, last_live = live, max((entry for entry in order if entry[1] in live), default=None)
    if last_live is None and any(map(naming.is_save_id, live)):
        live = live | {save_id for _, save_id in order}
    committed = [entry for entry in order if last_live is not None and entry <= last_live]
    replaced_at: dict[str, float | None] = {
        save_id: later for (_, save_id), (later, _) in itertools.pairwise(committed)
    }
    for save_id in live:
        replaced_at[save_id] = committed_at
    replaced = [entry for entry in order if entry[1] in replaced_at and entry[1] not in named]
    for save_id, group in contents.groups.items():
        later = [owner for manifest_at, owner in replaced if manifest_at >= group.newest_at]
        if later and group.manifest_at is None and save_id not in replaced_at:
            replaced_at[save_id] = replaced_at[later[0]]
    names: list[str] = []
    for save_id, group in sorted(contents.groups.items()):
        if save_id in replaced_at:
            since = replaced_at[save_id]
            goes = since is not None and now - since >= grace_seconds
        else:
            goes = now - group.newest_at >= dead_grace_seconds
        if goes:
            names += _names(save_id, group)
    return names


def _names(save_id: str, group: Group) -> list[str]:
    return [
        *group.shards,
        *([naming.manifest_name(save_id)] if group.manifest_at is not None else []),
    ]


def remove(store: OssStore, path: str, names: list[str]) -> None:
    """Delete objects below a path, in their order."""
    if names:
        store.remove_all([f"{path}/{name}" for name in names])
        _log.info("%s: removed %d objects of saves that were replaced or died", as_uri(path), len(names))


def latest(store: OssStore, prefix: str, allow_classes: Iterable[type] = ()) -> str | None:
    """Find the newest checkpoint below a prefix that loads; None if there is none.

    Raises:
        FormatError: the metadata of the newest that may load asks for a class that is not allowed. An older one, or
            none, would be a training that goes back.
    """
    for path, name in checkpoints.by_age(checkpoints.find(store, prefix)):
        if checkpoints.is_loadable(store, path, name, allow_classes):
            return as_uri(path)
    return None


def keep_last(
    store: OssStore,
    prefix: str,
    count: int,
    allow_classes: Iterable[type] = (),
    just_saved: str | None = None,
) -> list[str]:
    """Remove all but the newest `count` checkpoints directly below a prefix; return the URIs of those that went.

    The newest one that loads stays, even if it is not among them. What has no metadata is no checkpoint, and stays.
    So does what lies deeper: it may be another job's.

    Args:
        just_saved: the path of the newest one, where that is known; OSS dates objects by the second.
    """
    found = {
        path: contents
        for path, contents in checkpoints.find(store, prefix).items()
        if f"{path.rpartition('/')[0]}/" == prefix
    }
    aged = sorted(checkpoints.by_age(found), key=lambda entry: entry[0] != just_saved)
    kept = {path for path, _ in aged[: checked_count(count)]}
    for path, name in aged:
        if checkpoints.is_whole(store, path, name, allow_classes):
            kept.add(path)
            break
    else:
        # Nothing loads as it is: whatever there is may be needed to find out why.
        return []
    gone = [path for path, _ in aged if path not in kept]
    for path in gone:
        parts = found[path].parts
        # Metadata first: what is half removed is no checkpoint any more.
        metadata = [name for name in parts if naming.is_metadata(name)]
        store.remove_all([f"{path}/{name}" for name in metadata])
        store.remove_all([f"{path}/{name}" for name in parts if name not in metadata])
        _log.info("removed the checkpoint %s, to keep the last %d", as_uri(path), count)
    return [as_uri(path) for path in gone]


def checked_count(count: int) -> int:
    """Return a number of checkpoints to keep.

    Raises:
        ConfigError: it is below one.
    """
    if not isinstance(count, int) or count < 1:
        raise ConfigError(f"keep_last must be a whole number, 1 or more, not {count!r}")
    return count


def checked_grace(grace_seconds: float) -> float:
    """Return how long old data stays.

    Raises:
        ConfigError: it is no number, or a negative one.
    """
    if not isinstance(grace_seconds, int | float) or not grace_seconds >= 0:
        raise ConfigError(f"grace_seconds must be a number, 0 or more, not {grace_seconds!r}")
    return float(grace_seconds)


@dataclass(frozen=True)
class Garbage:
    """What may go: the paths of objects, in the order in which they go, and open uploads."""

    objects: list[str]
    uploads: list[AbandonedUpload]

    def uris(self) -> list[str]:
        """Name everything."""
        return [*map(as_uri, self.objects), *map(uploads.uri_of, self.uploads)]

    def remove(self, store: OssStore, progress: Callable[[int, int], None] | None = None) -> None:
        """Let it go; `progress` is called with how many went, and how many there were."""
        tell = progress or (lambda _gone, _of: None)
        of = len(self.objects) + len(self.uploads)
        for start in range(0, len(self.objects), _BATCH):
            tell(start, of)
            store.remove_all(self.objects[start : start + _BATCH])
        tell(len(self.objects), of)
        uploads.abort(store, self.uploads)


def garbage(
    store: OssStore, prefix: str, grace_seconds: float, allow_classes: Iterable[type] = ()
) -> Garbage:
    """Find what may go below a prefix; nothing is removed.

    A checkpoint whose metadata cannot be read keeps all its objects.
    """
    objects: list[str] = []
    for path, contents in sorted(checkpoints.find(store, prefix).items()):
        try:
            live = checkpoints.live_saves(store, path, contents, allow_classes)
        except FormatError as wrong:
            _log.warning("%s keeps everything: %s", as_uri(path), wrong)
            continue
        names = superfluous(contents, live, store.server_now(), grace_seconds, grace_seconds)
        objects += [f"{path}/{name}" for name in names]
    return Garbage(objects, uploads.of_dead_saves(store, prefix, grace_seconds))
