"""Bytes in and out without an open file: cat, pipe, get and put.

Large objects are moved in parallel by the engines; here many objects are moved at a time.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import stat
from typing import IO, TYPE_CHECKING, Any

from osstorchconnector.errors import ConfigError
from osstorchconnector.fsspec import paths
from osstorchconnector.fsspec.crowd import for_all
from osstorchconnector.fsspec.library import DEFAULT_CALLBACK, Callback, isfilelike
from osstorchconnector.fsspec.lookups import Lookups

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from _typeshed import ReadableBuffer

    from osstorchconnector.streams import ObjectReader

# Bytes between file and object at a time: enough for the engines to run ranges and parts in parallel.
_COPY_BYTES = 16 << 20


class Transfers(Lookups):
    """Whole files and ranges of them, to memory and to local files."""

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        """Return the bytes of a file, or of the range that `start` and `end` name as a slice does.

        The whole file is compared with the checksum that OSS keeps.
        """
        path = paths.stripped(path)
        if start is None and end is None:
            return self.store.fetch((paths.location(path), None, None, ""))
        with self._reader(path) as reader:
            return _ranges(reader, [(start, end)])[0]

    def cat_ranges(
        self,
        paths: list[str],
        starts: int | Sequence[int | None] | None,
        ends: int | Sequence[int | None] | None,
        max_gap: int | None = None,
        on_error: str = "return",
        **kwargs: Any,
    ) -> list[bytes | BaseException]:
        """Return one range for each path; ranges of one file come from one version, neighbours in one request.

        Args:
            max_gap: no effect; the engine chooses which ranges to fetch as one.
            on_error: "return" puts the exception in the place of the bytes, anything else raises it.

        Raises:
            TypeError: `paths` is no list.
            ValueError: the lists differ in length.
        """
        if not isinstance(paths, list):
            raise TypeError("cat_ranges takes a list of paths")
        slices = list(zip(_each(starts, paths), _each(ends, paths), strict=True))
        if len(slices) != len(paths):
            raise ValueError(f"cat_ranges got {len(paths)} paths and {len(slices)} ranges")
        by_path: dict[str, list[int]] = {}
        for place, path in enumerate(paths):
            by_path.setdefault(path, []).append(place)
        results: list[bytes | BaseException] = [b""] * len(paths)

        def fetch(path: str) -> None:
            places = by_path[path]
            try:
                with self._reader(self._strip_protocol(path)) as reader:
                    found: Sequence[bytes | BaseException] = _ranges(reader, [slices[at] for at in places])
            except Exception as failure:
                if on_error != "return":
                    raise
                found = [failure] * len(places)
            for at, piece in zip(places, found, strict=True):
                results[at] = piece

        for_all(fetch, list(by_path))
        return results

    def cat(self, path: Any, recursive: bool = False, on_error: str = "raise", **kwargs: Any) -> Any:
        """Return the bytes of a file, or of many as a dict by name; many are fetched at a time.

        Args:
            on_error: "raise", "omit" the name, or "return" the exception in the place of the bytes.
        """
        names = self.files(path, recursive=recursive)
        if not isinstance(path, list) and names == [self._strip_protocol(path)]:
            return self.cat_file(names[0], **kwargs)

        def fetch(name: str) -> bytes | BaseException:
            try:
                return self.cat_file(name, **kwargs)
            except Exception as failure:
                if on_error == "raise":
                    raise
                return failure

        found = dict(zip(names, for_all(fetch, names), strict=True))
        if on_error == "omit":
            return {name: data for name, data in found.items() if not isinstance(data, BaseException)}
        return found

    def pipe_file(self, path: str, value: ReadableBuffer, mode: str = "overwrite", **kwargs: Any) -> None:
        """Write a whole file.

        Args:
            mode: "overwrite", or "create" to refuse a file that exists; OSS itself decides that.

        Raises:
            AlreadyExistsError: with "create", it exists.
        """
        with memoryview(value) as view:
            size_bytes = view.nbytes
        with self.open(
            path, "wb", size_hint_bytes=size_bytes, if_absent=_must_be_new(mode), **kwargs
        ) as file:
            file.write(value)

    def get(
        self,
        rpath: Any,
        lpath: Any,
        recursive: bool = False,
        callback: Any = DEFAULT_CALLBACK,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Fetch files to local paths, by the rules of fsspec; many are fetched at a time."""
        later = _together(callback)
        super().get(rpath, lpath, recursive, callback, maxdepth, later=later, **kwargs)
        for_all(lambda one: self.get_file(*one, **kwargs), later or [])

    def put(
        self,
        lpath: Any,
        rpath: Any,
        recursive: bool = False,
        callback: Any = DEFAULT_CALLBACK,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Write local files to OSS, by the rules of fsspec; many are written at a time."""
        later = _together(callback)
        super().put(lpath, rpath, recursive, callback, maxdepth, later=later, **kwargs)
        for_all(lambda one: self.put_file(*one, **kwargs), later or [])

    def get_file(
        self,
        rpath: str,
        lpath: Any = None,
        callback: Any = DEFAULT_CALLBACK,
        outfile: Any = None,
        later: list[Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Fetch a file to a local path, where it appears whole, or into an open file; of a directory make one.

        Args:
            later: collects what there is to do, instead of its being done.
        """
        if later is not None:
            later.append((rpath, lpath, callback))
            return
        if outfile is None and isfilelike(lpath):
            outfile = lpath
        with self._reader(paths.stripped(rpath)) as reader:
            try:
                # This asks for the object, and mostly is all of it.
                first = reader.read(_COPY_BYTES)
            except FileNotFoundError:
                if outfile is not None or not self.isdir(rpath):
                    raise
                os.makedirs(lpath, exist_ok=True)
                return
            callback.set_size(reader.size)
            destination: Any = contextlib.nullcontext(outfile) if outfile else _appearing(lpath)
            with destination as target:
                for piece in itertools.chain([first], _pieces(reader, reader.size - len(first))):
                    target.write(piece)
                    callback.relative_update(len(piece))

    def put_file(
        self,
        lpath: str,
        rpath: str,
        callback: Any = DEFAULT_CALLBACK,
        mode: str = "overwrite",
        later: list[Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write a local file to OSS; of a directory nothing, as OSS has none.

        Args:
            mode: as of `pipe_file`.
            later: collects what there is to do, instead of its being done.
        """
        if later is not None:
            later.append((lpath, rpath, callback))
            return
        if os.path.isdir(lpath):
            return
        with open(lpath, "rb") as source:
            size_bytes = _size_bytes_or_none(source)
            callback.set_size(size_bytes)
            with self.open(
                rpath, "wb", size_hint_bytes=size_bytes, if_absent=_must_be_new(mode), **kwargs
            ) as target:
                for piece in _pieces(source, size_bytes):
                    target.write(piece)
                    callback.relative_update(len(piece))

    def _reader(self, path: str) -> ObjectReader:
        """Open an object without asking for it first."""
        return self.store.open_reader(paths.location(path))


def _together(callback: Any) -> list[tuple[Any, Any, Any]] | None:
    """Give a list to collect files in; None for a callback that watches each file, and wants them one by one."""
    kind = type(callback)
    watches = (kind.branched, kind.branch) != (Callback.branched, Callback.branch)
    return None if watches and kind is not type(DEFAULT_CALLBACK) else []


def _ranges(reader: ObjectReader, slices: Sequence[tuple[int | None, int | None]]) -> list[bytes]:
    """Read ranges that are named as slices name them."""
    size_bytes = reader.size
    spans = [slice(start, end).indices(size_bytes)[:2] for start, end in slices]
    pieces = [bytearray(max(0, end - start)) for start, end in spans]
    wanted = [(start, piece) for (start, _), piece in zip(spans, pieces, strict=True) if piece]
    if wanted:
        reader.readinto_ranges(wanted)
    return [bytes(piece) for piece in pieces]


def _each(given: Any, paths: list[str]) -> list[int | None]:
    return list(given) if isinstance(given, list | tuple) else [given] * len(paths)


def _must_be_new(mode: str) -> bool:
    if mode not in ("overwrite", "create"):
        raise ConfigError(f"mode is 'overwrite' or 'create', not {mode!r}")
    return mode == "create"


def _size_bytes_or_none(file: IO[bytes]) -> int | None:
    """Return the size of a file; None if it is none, as a pipe, or tells 0, as those of /proc do."""
    about = os.fstat(file.fileno())
    return about.st_size or None if stat.S_ISREG(about.st_mode) else None


def _pieces(source: Any, size_bytes: int | None) -> Iterator[memoryview]:
    """Yield what is left in a file, in one buffer that is used again and again; the size may be unknown."""
    if size_bytes == 0:
        return
    with memoryview(bytearray(min(_COPY_BYTES, size_bytes or _COPY_BYTES))) as buffer:
        while filled := source.readinto(buffer):
            yield buffer[:filled]


@contextlib.contextmanager
def _appearing(path: str) -> Iterator[IO[bytes]]:
    """Give a file to write that takes its name at the end of the block, and is removed if the block raises.

    A link stays, and what it points to is replaced. A device or a pipe is written to, never replaced.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as device:
            yield device
        return
    target = os.path.realpath(path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    # Not by `tempfile`, whose files are for their owner alone: the umask decides about this one.
    meanwhile = os.path.join(os.path.dirname(target), f".oss-{secrets.token_hex(8)}")
    try:
        with open(meanwhile, "xb") as file:
            yield file
        # Closed before: the last bytes are in the file, or the disk was full.
        os.replace(meanwhile, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(meanwhile)
        raise
