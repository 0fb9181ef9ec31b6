"""What is where: everything a file system answers without changing anything.

Only a 404 means that something is not there. A refusal, or trouble on the way, is raised: a program that takes it for
"does not exist" trains from scratch, or deletes what it believes to be alone.
"""

from __future__ import annotations

import hashlib
from glob import has_magic
from typing import TYPE_CHECKING, Any

from osstorchconnector.errors import ConfigError, NotFoundError
from osstorchconnector.fsspec import paths
from osstorchconnector.fsspec.library import AbstractFileSystem

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from osstorchconnector.connection import OssStore
    from osstorchconnector.fsspec.paths import Info


class Lookups(AbstractFileSystem):  # type: ignore[misc]  # fsspec is not typed
    """Lookups over a store; `root_marker` is "", and the names of things are `bucket/key`."""

    protocol = "oss"
    root_marker = ""

    @property
    def store(self) -> OssStore:
        """Where the objects are."""
        raise NotImplementedError

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return [paths.stripped(one) for one in path] if isinstance(path, list) else paths.stripped(path)

    @classmethod
    def _parent(cls, path: str | os.PathLike[str]) -> str:
        return paths.parent(paths.stripped(path))

    def ls(self, path: str, detail: bool = True, refresh: bool = False, **kwargs: Any) -> list[Any]:
        """List a directory, in byte order; of a file, the file alone.

        Args:
            refresh: ask OSS even if a listing is kept.

        Raises:
            NotFoundError: there is neither.
        """
        path = paths.stripped(path)
        found = None if refresh else self._kept(path)
        if found is None:
            found = self._listing(path)
        return found if detail else [info["name"] for info in found]

    def info(self, path: str, **kwargs: Any) -> Info:
        """Describe a file or a directory: `name`, `size`, `type`, and of a file `ETag` and `LastModified`.

        Raises:
            NotFoundError: there is neither.
        """
        path = paths.stripped(path)
        kept = self._kept_info(path)
        if kept is not None:
            return kept
        if "/" in path:
            try:
                return self.file_info(path)
            except NotFoundError:
                if not self._is_prefix(path):
                    raise
        elif path:
            self._is_prefix(path)
        return paths.directory(path)

    def file_info(self, path: str) -> Info:
        """Describe an object; a directory is not there.

        Raises:
            NotFoundError: there is none.
        """
        found = self.store.head_object(paths.location(path))
        return paths.file(
            path,
            found.size,
            found.etag,
            found.last_modified,
            ContentType=found.content_type,
            StorageClass=found.storage_class or "Standard",
            crc64=found.crc64,
            metadata=found.metadata,
        )

    def exists(self, path: str, **kwargs: Any) -> bool:
        """Say whether there is a file or a directory; False means that OSS said 404, and nothing else."""
        return self._type(path) is not None

    def isfile(self, path: str) -> bool:
        """Say whether there is a file; False means that OSS said 404, and nothing else."""
        return self._type(path) == "file"

    def isdir(self, path: str) -> bool:
        """Say whether keys begin with the path and a slash."""
        return self._type(path) == "directory"

    def walk(
        self,
        path: str,
        maxdepth: int | None = None,
        topdown: bool = True,
        on_error: str | Callable[[OSError], None] = "omit",
        **kwargs: Any,
    ) -> Iterator[tuple[str, Any, Any]]:
        """Walk as `os.walk`. What "omit" leaves out is what is not there; other trouble is raised."""
        handler = _pass_over_missing if on_error == "omit" else on_error
        yield from super().walk(path, maxdepth=maxdepth, topdown=topdown, on_error=handler, **kwargs)

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        prefix: str = "",
        **kwargs: Any,
    ) -> Any:
        """Find all files below a path, with one listing; of a file, the file.

        Args:
            maxdepth: levels to go down; None is all.
            withdirs: directories too, the path itself among them.
            detail: a dict of what `info` would say, by name.
            prefix: only files whose names, seen from `path`, begin with this.
        """
        path = paths.stripped(path)
        if maxdepth is not None:
            if prefix:
                raise ConfigError("find takes prefix or maxdepth, not both")
            return super().find(path, maxdepth=maxdepth, withdirs=withdirs, detail=detail, **kwargs)
        out: dict[str, Info] = {}
        for entry in self.below(path, prefix):
            found = paths.listed(entry)
            if withdirs:
                for above in [path, *paths.between(path, found["name"])]:
                    out.setdefault(above, paths.directory(above))
            if withdirs or found["type"] == "file":
                out.setdefault(found["name"], found)
        if not out and not prefix and self.isfile(path):
            out[path] = self.info(path)
        names = sorted(out)
        return {name: out[name] for name in names} if detail else names

    def files(self, path: Any, *, recursive: bool = False, maxdepth: int | None = None) -> list[str]:
        """Return the files that a path, a pattern or a list of them stands for, sorted.

        A path without pattern is taken as it is, unless `recursive` asks for what is below it.

        Raises:
            NotFoundError: there is none.
        """
        found: set[str] = set()
        for one in path if isinstance(path, list) else [path]:
            name = paths.stripped(one)
            kinds = {name: "directory" if recursive else "file"}
            if has_magic(name):
                matches = self.glob(one, maxdepth=maxdepth, detail=True)
                kinds = {match: info["type"] for match, info in matches.items()}
            found.update(match for match, kind in kinds.items() if kind == "file")
            if recursive:
                for match, kind in kinds.items():
                    if kind == "directory":
                        found.update(self.find(match, maxdepth=maxdepth))
        if not found:
            raise NotFoundError(f"find {path}: there is no such file; check the path", operation="find")
        return sorted(found)

    def du(
        self,
        path: str,
        total: bool = True,
        maxdepth: int | None = None,
        withdirs: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Sum the bytes of the files below a path, or give those of each."""
        found = self.find(path, maxdepth=maxdepth, withdirs=withdirs, detail=True, **kwargs)
        sizes = {name: info["size"] for name, info in found.items()}
        return sum(sizes.values()) if total else sizes

    def ukey(self, path: str) -> str:
        """Return a text that changes when the file does: it is made of name, size and ETag."""
        info = self.info(path)
        known = (info["name"], info["size"], info.get("ETag"))
        return hashlib.sha256(repr(known).encode()).hexdigest()

    def checksum(self, path: str) -> int:
        """Return `ukey` as a number."""
        return int(self.ukey(path), 16)

    def modified(self, path: str) -> datetime:
        """Return when the object was written.

        Raises:
            IsADirectoryError: directories have no time.
        """
        changed: datetime | None = self.info(path).get("LastModified")
        if changed is None:
            raise IsADirectoryError(f"oss://{paths.stripped(path)} is a directory, and those have no time")
        return changed

    def created(self, path: str) -> datetime:
        """Return when the object was written: it is made anew by every write."""
        return self.modified(path)

    def invalidate_cache(self, path: str | None = None) -> None:
        """Forget the listings that are kept, or those that a path appears in."""
        if path is None:
            self.dircache.clear()
        else:
            at = paths.stripped(path)
            while at:
                self.dircache.pop(at, None)
                at = paths.parent(at)
        super().invalidate_cache(path)

    def below(self, path: str, prefix: str = "") -> Iterator[tuple[str, int | None, str, float]]:
        """Yield every object below a directory, markers too, as the store lists them."""
        bucket_only = path and "/" not in path
        root = f"{path}/" if path else ""
        if not root and not bucket_only:
            raise _bucket_wanted()
        return self.store.entries(paths.location(root + prefix), None)

    def _type(self, path: str) -> str | None:
        try:
            kind: str = self.info(path)["type"]
        except FileNotFoundError:
            return None
        return kind

    def _listing(self, path: str) -> list[Info]:
        """Ask for what is directly below a path, or for the file at it."""
        if not path:
            raise _bucket_wanted()
        entries = list(self.store.entries(paths.location(f"{path}/")))
        found = [paths.listed(entry) for entry in entries if entry[0] != paths.location(f"{path}/")]
        if not entries and "/" in path:
            return [self.file_info(path)]
        self.dircache[path] = found
        return found

    def _is_prefix(self, path: str) -> bool:
        """Say whether keys begin with a path and a slash; a bucket that is not there raises."""
        first = self.store.entries(paths.location(f"{path}/"), None, page_size=1)
        return next(iter(first), None) is not None

    def _kept(self, path: str) -> list[Info] | None:
        kept: list[Info] | None = self.dircache.get(path)
        return kept

    def _kept_info(self, path: str) -> Info | None:
        """Describe a path from the listings that are kept; None if they do not tell.

        Raises:
            NotFoundError: the listing of its directory is kept, and it is not there.
        """
        if self._kept(path) is not None:
            return paths.directory(path)
        siblings = self._kept(paths.parent(path)) if "/" in path else None
        if siblings is None:
            return None
        named = [info for info in siblings if info["name"] == path]
        if not named:
            raise NotFoundError(
                f"info oss://{path}: it is not in the listing that is kept; fs.invalidate_cache() asks again",
                operation="info",
                uri=f"oss://{path}",
            )
        return named[0]


def _pass_over_missing(failure: OSError) -> None:
    if not isinstance(failure, FileNotFoundError):
        raise failure


def _bucket_wanted() -> ConfigError:
    return ConfigError("oss:// names no bucket, and buckets are not listed; name one: oss://bucket/key")
