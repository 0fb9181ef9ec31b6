"""Recipes for the rows of an index: a prefix, a list of objects, a user's function. Picklable values."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from osstorchconnector.data_object import DataObject, checked_label
from osstorchconnector.errors import ConfigError
from osstorchconnector.uri import location_text, object_path, prefix_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from osstorchconnector.store import Row, Store


class PrefixSource:
    """Everything below a prefix, in byte order of keys.

    Args:
        oss_uri: `oss://bucket/prefix`, plain string prefix.
        include_empty: deliver zero-byte objects whose key does not end in `/`.
    """

    def __init__(self, oss_uri: str | os.PathLike[str], *, include_empty: bool = False) -> None:
        self.path = prefix_path(location_text(oss_uri, "oss_uri"))
        self.include_empty = include_empty

    @property
    def name(self) -> str:
        """The prefix as a URI."""
        return f"oss:/{self.path}"

    def rows(self, store: Store) -> Iterator[Row]:
        """List, and leave out what is asked to be left out."""
        return (row for row in store.rows(self.path) if self.delivers(row))

    def delivers(self, row: Row) -> bool:
        """Say whether a listed row belongs to the dataset."""
        path, size, _, _ = row
        return bool(size) or (self.include_empty and not path.endswith("/"))


class ObjectsSource:
    """Objects named one by one; the list is taken once, here.

    Raises:
        ConfigError: the list is empty, or an entry is no location of an object.
    """

    def __init__(self, object_uris: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> None:
        if isinstance(object_uris, str | os.PathLike):
            object_uris = [object_uris]
        self.paths: list[str] | None = [
            object_path(location_text(uri, "object_uris"), "object_uris") for uri in object_uris
        ]
        if not self.paths:
            raise ConfigError("object_uris is empty; name at least one oss://bucket/key")

    @property
    def name(self) -> str:
        """Say what it is; there is no one URI."""
        return "the given list of objects"

    def rows(self, store: Store) -> Iterator[Row]:
        """Yield the named objects; sizes come with the first answer."""
        if self.paths is None:
            raise ConfigError(
                "the object list of this dataset lay in an index file of the process that made it, which has ended; "
                "make the dataset again"
            )
        return ((path, None, None, "") for path in self.paths)

    def without_list(self) -> ObjectsSource:
        """Return a copy for pickles, whose list is in the index file."""
        copy = ObjectsSource.__new__(ObjectsSource)
        copy.paths = None
        return copy


class CallableSource:
    """What a user's `get_dataset_objects(client)` returns: DataObjects of any kind."""

    def __init__(
        self, get_dataset_objects: Callable[[Any], Iterable[DataObject]], make_client: Callable[[], Any]
    ) -> None:
        self.get_dataset_objects = get_dataset_objects
        self.make_client = make_client

    @property
    def name(self) -> str:
        """Name the callable."""
        return getattr(self.get_dataset_objects, "__qualname__", "get_dataset_objects")

    def rows(self, store: Store) -> Iterator[Row]:
        """Call it and yield one row for each object."""
        named = self.get_dataset_objects(self.make_client())
        if not isinstance(named, Iterable):
            raise TypeError(f"{self.name} must return an iterable of DataObject, not {type(named).__name__}")
        for item in named:
            if not isinstance(item, DataObject):
                raise TypeError(f"{self.name} must yield DataObject, not {type(item).__name__}")
            path = object_path(item.uri, "key")
            yield path, *item.pinned(), checked_label(item.label)
