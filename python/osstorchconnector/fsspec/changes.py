"""Copying, moving and deleting.

A bucket has objects, and no directories: a directory is what keys begin with, it is there while a key begins with it,
and an object whose key ends with a slash only marks one.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections import Counter
from glob import has_magic
from typing import Any

from osstorchconnector.errors import ConfigError, NotFoundError
from osstorchconnector.fsspec import paths
from osstorchconnector.fsspec.crowd import for_all
from osstorchconnector.fsspec.library import other_paths
from osstorchconnector.fsspec.transfers import Transfers
from osstorchconnector.uri import object_path


class Changes(Transfers):
    """What changes objects without passing their bytes through this machine."""

    def copy(
        self,
        path1: Any,
        path2: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        on_error: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Copy files within OSS, by the rules of fsspec; many are copied at a time.

        Args:
            on_error: "ignore" passes over what is gone meanwhile, "raise" does not; the former if `recursive`.
        """
        later: list[tuple[str, str]] = []
        super().copy(path1, path2, recursive, maxdepth, later=later, **kwargs)
        ignores = (on_error or ("ignore" if recursive else "raise")) == "ignore"

        def copy_one(pair: tuple[str, str]) -> None:
            try:
                self.cp_file(*pair)
            except FileNotFoundError:
                if not ignores:
                    raise

        for_all(copy_one, later)

    def cp_file(self, path1: str, path2: str, later: list[Any] | None = None, **kwargs: Any) -> None:
        """Copy an object within OSS, which moves the bytes; of a directory nothing, as OSS has none.

        Args:
            later: collects what there is to do, instead of its being done.

        Raises:
            NotFoundError: the source is missing.
        """
        if later is not None:
            later.append((path1, path2))
            return
        source, target = paths.stripped(path1), paths.stripped(path2)
        try:
            self.store.copy(
                object_path(paths.location(source), "path1"), object_path(paths.location(target), "path2")
            )
        except NotFoundError:
            if not self.isdir(source):
                raise
            return
        self.invalidate_cache(target)

    def mv(
        self, path1: Any, path2: Any, recursive: bool = False, maxdepth: int | None = None, **kwargs: Any
    ) -> None:
        """Copy, then delete what was copied and nothing else; OSS has no rename, so both exist for a while.

        Raises:
            NotFoundError: the source is missing. Nothing was deleted.
            ConfigError: a file would be overwritten before it is moved itself, or two would get one name. Nothing was
                done.
        """
        if isinstance(path1, list) and isinstance(path2, list):
            pairs = list(zip(map(paths.stripped, path1), map(paths.stripped, path2), strict=True))
        else:
            pairs = self._pairs(path1, path2, recursive=recursive, maxdepth=maxdepth)
        counts = Counter(target for _, target in set(pairs))
        shared = sorted(target for target, count in counts.items() if count > 1)
        if shared:
            raise ConfigError(f"mv: two files would become oss://{shared[0]}; give each a name of its own")
        # A file that is moved onto itself, however the paths are written, stays.
        pairs = [(source, target) for source, target in pairs if source != target]
        twice = sorted({source for source, _ in pairs} & {target for _, target in pairs})
        if twice:
            raise ConfigError(f"mv: oss://{twice[0]} is a source and a target; move the files one by one")
        for_all(lambda pair: self.cp_file(*pair), pairs)
        self._remove([source for source, _ in pairs])

    def rm_file(self, path: str) -> None:
        """Delete an object; one that is not there is success."""
        self._remove([paths.stripped(path)])

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Delete files, a thousand a request; with `recursive` everything below directories too.

        Raises:
            NotFoundError: a single path or a pattern, and nothing is there. Of a list, what is there is deleted.
            IsADirectoryError: a single path, a directory, without `recursive`.
        """
        if not recursive:
            found = self.expand_path(path, maxdepth=maxdepth)
            if isinstance(path, str) and found == [paths.stripped(path)]:
                self._demand_file(found[0])
            self._remove(found)
        elif maxdepth is not None:
            self._remove(self.files(path, recursive=True, maxdepth=maxdepth))
        else:
            # A tree that lies in another one is listed with it.
            roots = _outermost(self.expand_path(path))
            must_exist = not isinstance(path, list | tuple | set) and not has_magic(str(path))
            trees = for_all(lambda root: self._tree(root, must_exist=must_exist), roots)
            self._remove(list(itertools.chain.from_iterable(trees)))

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Do nothing: a directory is there when a file below it is."""

    def rmdir(self, path: str) -> None:
        """Remove the marker of an empty directory, if it has one.

        Raises:
            OSError: it is not empty.
        """
        path = paths.stripped(path)
        marker = paths.location(f"{path}/")
        for entry in self.store.entries(marker, None, page_size=2):
            if entry[0] != marker:
                raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), f"oss://{path}")
        if "/" in path:
            self._remove([f"{path}/"])

    def touch(self, path: str, truncate: bool = True, **kwargs: Any) -> None:
        """Write an empty file.

        Raises:
            NotImplementedError: the file exists and is to stay: OSS cannot change its time alone.
        """
        if not truncate and self.exists(path):
            raise NotImplementedError(
                f"oss://{paths.stripped(path)} exists, and OSS cannot change its time alone"
            )
        self.pipe_file(path, b"", **kwargs)

    def _pairs(
        self, path1: Any, path2: str, *, recursive: bool, maxdepth: int | None
    ) -> list[tuple[str, str]]:
        """Say which file goes where, by the rules of fsspec's `copy`."""
        files = set(self.files(path1, recursive=recursive, maxdepth=maxdepth))
        one = isinstance(path1, str)
        if files == {paths.stripped(path1) if one else ""}:
            self._demand_file(paths.stripped(path1))
        # With the directories: the root that all have in common is that of the whole tree.
        sources = self.expand_path(path1, recursive=recursive, maxdepth=maxdepth)
        into = path2.endswith("/") or self.isdir(path2)
        has_pattern = one and has_magic(path1)
        exists = one and (
            (has_pattern and len(sources) == 1) or (not has_pattern and into and not path1.endswith("/"))
        )
        targets = other_paths(sources, paths.stripped(path2), exists=exists, flatten=not one)
        return [pair for pair in zip(sources, targets, strict=True) if pair[0] in files]

    def _demand_file(self, path: str) -> None:
        if self.info(path)["type"] == "directory":
            raise IsADirectoryError(
                errno.EISDIR, "it is a directory; recursive=True takes what is below it", f"oss://{path}"
            )

    def _tree(self, path: str, *, must_exist: bool) -> list[str]:
        """Name the file at a path and what is below it, markers too."""
        keys = [entry[0].removeprefix("/") for entry in self.below(path)]
        if "/" in path:
            try:
                self.file_info(path)
                keys.append(path)
            except NotFoundError:
                if must_exist and not keys:
                    raise
        return keys

    def _remove(self, names: list[str]) -> None:
        self.store.remove_all([object_path(paths.location(name), "path") for name in names])
        for name in names:
            self.invalidate_cache(name)


def _outermost(names: list[str]) -> list[str]:
    """Leave out the names that lie below another one."""
    known = set(names)

    def is_below_another(name: str) -> bool:
        parents = itertools.accumulate(name.split("/")[:-1], "{}/{}".format)
        return any(parent in known for parent in parents)

    return [name for name in names if not is_below_another(name)]
