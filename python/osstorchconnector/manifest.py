"""Manifest files: the user's list of objects and labels, read by the user's parser."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from osstorchconnector.data_object import checked_label
from osstorchconnector.errors import ConfigError, FormatError, NotFoundError, OssError
from osstorchconnector.uri import SCHEME, location_text, object_path

if TYPE_CHECKING:
    import os

    from osstorchconnector.store import Row, Store

# Bytes of a manifest that are held at a time.
_PIECE_BYTES = 1 << 20

ManifestParser = Callable[[Any], Iterable[tuple[str, str]]]


def imagenet_manifest_parser(reader: Any) -> Iterator[tuple[str, str]]:
    r"""Parse `key`, or `key<TAB>label`, one per line, UTF-8; further columns are ignored, blank lines skipped.

    Raises:
        FormatError: a line has an empty first column, or is not UTF-8; the text names its number.
    """
    for number, octets in enumerate(_lines(reader), start=1):
        try:
            line = octets.decode("utf-8")
        except UnicodeDecodeError as failure:
            raise FormatError(
                f"manifest line {number} is not UTF-8 ({failure.reason}): {octets[:80]!r}; correct the line"
            ) from failure
        if not line.strip():
            continue
        # The label may be empty, so only the outer ends of the columns are stripped.
        columns = line.strip(" \r\n").split("\t")
        key, label = columns[0].strip(), columns[1].strip() if len(columns) > 1 else ""
        if not key:
            raise FormatError(
                f"manifest line {number} has no key before its first TAB: {line[:80]!r}; correct the line"
            )
        yield key, label


def _lines(reader: Any) -> Iterator[bytes]:
    """Yield the lines of a stream without their ends; a manifest may be larger than memory."""
    rest = b""
    while piece := reader.read(_PIECE_BYTES):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
    yield rest


class ManifestSource:
    """The objects a manifest names: base + key, in manifest order.

    Args:
        manifest_file_path: a local path, or `oss://bucket/key`.
        manifest_parser: gets a binary stream at position 0, yields (key, label).
        oss_base_uri: put before each key as it is; "" when the keys are full URIs.

    Raises:
        ConfigError: a path or the parser is missing.
    """

    def __init__(
        self,
        manifest_file_path: str | os.PathLike[str],
        manifest_parser: ManifestParser,
        oss_base_uri: str | os.PathLike[str] | None,
    ) -> None:
        self.name = location_text(manifest_file_path, "manifest_file_path")
        if manifest_parser is None or not callable(manifest_parser):
            raise ConfigError("manifest_parser is missing; pass a function that yields (key, label)")
        self.parser = manifest_parser
        self.base = location_text(oss_base_uri, "oss_base_uri") if oss_base_uri else ""
        if self.name.startswith(SCHEME):
            object_path(self.name, "manifest_file_path")

    def rows(self, store: Store) -> Iterator[Row]:
        """Parse the manifest and yield its rows; the stream closes at the end.

        Raises:
            FormatError: the parser failed, or an entry is no (key, label); names the manifest and the entry.
            NotFoundError: the manifest is not there.
        """
        with self._open(store) as reader:
            for number, entry in enumerate(self._entries(reader), start=1):
                yield self._row(number, entry)

    def _open(self, store: Store) -> BinaryIO | Any:
        if self.name.startswith(SCHEME):
            return store.open_reader(object_path(self.name))
        try:
            return open(self.name, "rb")
        except FileNotFoundError:
            raise NotFoundError(
                f"manifest file {self.name} does not exist; correct manifest_file_path, or write oss://bucket/key for "
                "a manifest on OSS"
            ) from None

    def _entries(self, reader: Any) -> Iterator[Any]:
        """Run the user's parser; whatever it raises names the manifest."""
        try:
            yield from self.parser(reader)
        except FormatError as failure:
            raise FormatError(f"manifest {self.name}: {failure}") from failure
        except OssError:
            raise
        except Exception as failure:
            raise FormatError(
                f"manifest {self.name}: its parser raised {type(failure).__name__}: {failure}; correct the manifest or "
                "the parser"
            ) from failure

    def _row(self, number: int, entry: Any) -> Row:
        if (
            not isinstance(entry, tuple | list)
            or len(entry) != len(("key", "label"))
            or not isinstance(entry[0], str)
        ):
            raise FormatError(
                f"manifest {self.name}: the parser must yield (key, label), entry {number} is {entry!r:.80}"
            )
        key, label = entry
        if not key:
            raise FormatError(
                f"manifest {self.name}: entry {number} has an empty key; correct the manifest or the parser"
            )
        try:
            return object_path(self.base + key, f"entry {number}"), None, None, checked_label(label)
        except ConfigError as failure:
            raise FormatError(f"manifest {self.name}: {failure}; check oss_base_uri") from failure
        except TypeError as failure:
            raise TypeError(
                f"manifest {self.name}: entry {number}: {failure}; let the parser yield text"
            ) from None
