"""An object index by itself: listed once, saved, loaded elsewhere, looked at, compared.

Saved, it is packed: about 20 bytes an object, 16 of them the ETag (docs/object-index.md). Loaded, it is a mapped file in the
private directory of this process, as a dataset's is.
"""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from osstorchconnector import saved_index
from osstorchconnector.connection import map_packed
from osstorchconnector.errors import EmptyDatasetError, FormatError
from osstorchconnector.index import IndexFile
from osstorchconnector.listing_progress import bar_shown
from osstorchconnector.sources import PrefixSource
from osstorchconnector.uri import location_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from osstorchconnector.connection import Connection, OssStore
    from osstorchconnector.store import Row

Location = str | os.PathLike[str]


class MappedIndex(Protocol):
    """What is used of a mapped index file."""

    def __len__(self) -> int:
        """Count the rows."""

    def row(self, position: int) -> Row:
        """Return one row, 0 <= position < len."""

    def pack(self) -> bytes:
        """Return it in the form to save."""

    @property
    def fingerprint(self) -> str:
        """A hash of all rows in their order."""

    @property
    def left_out_empty(self) -> int:
        """Zero-byte objects that were found and left out."""


class Difference(NamedTuple):
    """One object that is not the same in two indexes.

    Attributes:
        change: `added`, `removed` or `changed`, seen from the first to the second.
        uri: the object.
    """

    change: Literal["added", "removed", "changed"]
    uri: str


class ObjectIndex:
    """Which objects, in which order; rows are `("/bucket/key", size, etag, label)`.

    Made by `OssClient.build_index` and `OssClient.load_index`.
    """

    def __init__(self, mapped: MappedIndex, file: IndexFile) -> None:
        self._mapped = mapped
        self._file = file

    @classmethod
    def listed(
        cls, connection: Connection, oss_uri: Location, *, include_empty: bool, progress: bool
    ) -> ObjectIndex:
        """List what is below a prefix.

        Raises:
            EmptyDatasetError: there is nothing.
        """
        source, file = PrefixSource(oss_uri, include_empty=include_empty), IndexFile()
        with bar_shown(progress):
            mapped = _on_oss(connection).list_index(source, file)
        if not len(mapped):
            raise EmptyDatasetError(
                f"list {source.name}: no objects; check the prefix", operation="list", uri=source.name
            )
        return cls(mapped, file)

    @classmethod
    def loaded(cls, connection: Connection, location: Location) -> ObjectIndex:
        """Load what `save` wrote.

        Raises:
            NotFoundError: there is no such file or object.
            FormatError: it is no whole index of this version.
        """
        where, file = location_text(location, "location"), IndexFile()
        packed = saved_index.read(lambda: _on_oss(connection), where, "check the path")
        try:
            return cls(map_packed(packed, file), file)
        except FormatError as failure:
            raise FormatError(f"load {where}: {failure}") from None

    def save(self, connection: Connection, location: Location) -> int:
        """Write it to a path or an `oss://` URI, whole or not at all; return the bytes."""
        where, packed = location_text(location, "location"), self._mapped.pack()
        saved_index.write(lambda: _on_oss(connection), where, packed)
        return len(packed)

    @property
    def fingerprint(self) -> str:
        """A hash of all rows in their order."""
        return self._mapped.fingerprint

    @property
    def left_out_empty(self) -> int:
        """Zero-byte objects that were found and left out."""
        return self._mapped.left_out_empty

    def __len__(self) -> int:
        """Count the rows."""
        return len(self._mapped)

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows in their order."""
        return (self._mapped.row(position) for position in range(len(self)))

    def size_bytes(self) -> int:
        """Sum the sizes that are known."""
        return sum(size or 0 for _, size, _, _ in self)

    def differences(self, other: ObjectIndex) -> Iterator[Difference]:
        """Tell what `other` has that this has not, and the other way round, in byte order of keys.

        Raises:
            FormatError: the rows of one are not in that order, as those of a manifest need not be.
        """
        old, new = _Sorted(self), _Sorted(other)
        while old.row is not None or new.row is not None:
            if old.row is None or (new.row is not None and new.key < old.key):
                yield Difference("added", new.take())
            elif new.row is None or old.key < new.key:
                yield Difference("removed", old.take())
            else:
                is_same = old.row[1:3] == new.row[1:3]
                uri, _ = old.take(), new.take()
                if not is_same:
                    yield Difference("changed", uri)


class _Sorted:
    """The rows of an index one after the other, refused where they do not rise."""

    def __init__(self, index: ObjectIndex) -> None:
        self._rows = iter(index)
        self.key = b""
        self.row: Row | None = None
        self._advance()

    def take(self) -> str:
        assert self.row is not None, "asked for one row too many"
        uri = f"oss:/{self.row[0]}"
        self._advance()
        return uri

    def _advance(self) -> None:
        last, self.row = self.row, next(self._rows, None)
        if self.row is None:
            return
        key = self.row[0].encode()
        if last is not None and key <= self.key:
            raise FormatError(
                f"compare indexes: {self.row[0]} follows {last[0]}, so one is not in byte order of keys; "
                "only indexes of listings can be compared"
            )
        self.key = key


def _on_oss(connection: Connection) -> OssStore:
    return connection.refuse_local("an object index").oss_store()


def first(index: ObjectIndex, count: int) -> list[Row]:
    """Return the first rows."""
    return list(itertools.islice(index, count))
