"""`.manifest.<save_id>.json`: the size and CRC-64 of every data object of a save, and of every item and part in it.

Torch's `.metadata` has no room for checksums that its own reader would leave in place, so they lie beside it. The
file is JSON so that other tools can read it; CRC-64 values are decimal text, as OSS writes them, because 64 bits are
more than a JSON number keeps everywhere.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from math import prod
from typing import Any

from osstorchconnector.errors import FormatError

_FORMAT = "osstorchconnector-dcp-manifest"
_VERSION = 1
# 64 bits.
_CRC_END = 1 << 64


@dataclass(frozen=True)
class Payload:
    """Where the plain, contiguous, little-endian elements of a tensor lie within its item."""

    offset: int
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Item:
    """One stored tensor or object: a run of bytes of a data object.

    Attributes:
        crc64: of these bytes; None if the writer could not tell where they lie.
        payload: None for anything but a large plain tensor.
    """

    offset: int
    size_bytes: int
    crc64: int | None
    payload: Payload | None = None


@dataclass(frozen=True)
class Shard:
    """One data object; `name` is relative to the checkpoint's path.

    Attributes:
        parts: size and CRC-64 of each part in which it was uploaded; empty if it was not cut, or if nobody noted them.
    """

    name: str
    size_bytes: int
    crc64: int
    items: tuple[Item, ...] = ()
    parts: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Manifest:
    """What one save wrote."""

    save_id: str
    shards: tuple[Shard, ...]
    _items: dict[tuple[str, int, int], Item] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the items."""
        for shard in self.shards:
            for item in shard.items:
                self._items[shard.name, item.offset, item.size_bytes] = item

    def item(self, name: str, offset: int, size_bytes: int) -> Item | None:
        """Find an item by the place that `.metadata` gives for it."""
        return self._items.get((name, offset, size_bytes))

    def encode(self) -> bytes:
        """Write it as JSON."""
        document = {
            "format": _FORMAT,
            "version": _VERSION,
            "save_id": self.save_id,
            "shards": [_encoded_shard(shard) for shard in self.shards],
        }
        return json.dumps(document, separators=(",", ":")).encode()


def decode(data: bytes, uri: str) -> Manifest:
    """Read a manifest.

    Args:
        uri: its place, for the error.

    Raises:
        FormatError: it is malformed.
    """
    try:
        document = json.loads(data)
        _check_format(document["format"], document["version"])
        shards = tuple(_shard(entry) for entry in document["shards"])
        return Manifest(_text(document["save_id"]), shards)
    except (KeyError, IndexError, TypeError, ValueError, RecursionError) as wrong:
        raise FormatError(
            f"load {uri}: the checkpoint's manifest is malformed ({type(wrong).__name__}: {_shortened(wrong)}); "
            "load an older checkpoint",
            operation="load",
            uri=uri,
        ) from None


def _check_format(name: Any, version: Any) -> None:
    if (name, version) != (_FORMAT, _VERSION):
        raise ValueError(f"format {name!r}, version {version!r}")


def _encoded_shard(shard: Shard) -> dict[str, Any]:
    plain = {
        "name": shard.name,
        "size": shard.size_bytes,
        "crc64": str(shard.crc64),
        "items": [_encoded_item(item) for item in shard.items],
    }
    if shard.parts:
        plain["parts"] = [[size_bytes, str(crc64)] for size_bytes, crc64 in shard.parts]
    return plain


def _encoded_item(item: Item) -> list[Any]:
    crc64 = None if item.crc64 is None else str(item.crc64)
    plain = [item.offset, item.size_bytes, crc64]
    if item.payload is None:
        return plain
    return [*plain, [item.payload.offset, item.payload.dtype, list(item.payload.shape)]]


def _shard(entry: dict[str, Any]) -> Shard:
    size_bytes = _count(entry["size"])
    items = tuple(_item(values) for values in entry["items"])
    for item in items:
        if item.offset + item.size_bytes > size_bytes:
            raise ValueError(f"an item ends at {item.offset + item.size_bytes} of {size_bytes} bytes")
    # Older saves noted none.
    parts = tuple((_count(size), _crc64(crc64)) for size, crc64 in entry.get("parts", ()))
    if parts and (sum(size for size, _ in parts) != size_bytes or not all(size for size, _ in parts)):
        raise ValueError(f"the parts of a data object are not its {size_bytes} bytes")
    return Shard(checked_name(entry["name"]), size_bytes, _crc64(entry["crc64"]), items, parts)


def _item(values: list[Any]) -> Item:
    offset, size_bytes = _count(values[0]), _count(values[1])
    crc64 = None if values[2] is None else _crc64(values[2])
    payload = None
    if len(values) > 3:  # noqa: PLR2004  (the fourth value)
        at, dtype, shape = values[3]
        payload = Payload(_count(at), _text(dtype), tuple(_count(size) for size in shape))
        if payload.offset + prod(payload.shape) > size_bytes:
            raise ValueError("a tensor lies outside of its item")
    return Item(offset, size_bytes, crc64, payload)


def checked_name(name: Any) -> str:
    """Return the name of a data object, which must lie below the checkpoint.

    Raises:
        ValueError: it does not.
    """
    text = _text(name)
    if not text or text.startswith("/") or any(part in ("", ".", "..") for part in text.split("/")):
        raise ValueError(f"a data object named {text[:100]!r} does not lie below the checkpoint")
    return text


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no count of bytes")
    return value


def _crc64(value: Any) -> int:
    number = int(_text(value))
    if not 0 <= number < _CRC_END:
        raise ValueError(f"{value!r} is no CRC-64")
    return number


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _shortened(wrong: Exception) -> str:
    return str(wrong).replace("\n", " ")[:200]
