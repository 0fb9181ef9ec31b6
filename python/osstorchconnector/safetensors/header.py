"""The header of a safetensors file: 8 bytes of length, then JSON that says where each tensor lies. Pure.

A header is read one entry at a time and nothing of it is believed: what it claims is compared with the size of the
object before anybody allocates for it. The rules are those of the official library; beyond them a name may not come
twice, and nothing may be claimed that torch could not hold.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from osstorchconnector.errors import ConfigError, FormatError
from osstorchconnector.safetensors.dtypes import BITS, RANKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import TypeGuard

LENGTH_BYTES = 8
# The official library's bound.
MAX_HEADER_BYTES = 100_000_000
METADATA_KEY = "__metadata__"

# One tensor's entry: about a hundred bytes; this leaves room for a thousand dimensions, and none for an attack.
_MAX_ENTRY_BYTES = 16 * 1024
_MAX_COUNT = 2**64 - 1
_MAX_TORCH_COUNT = 2**63 - 1
_BLANK = " \t\n\r"


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What a header says of one tensor.

    Attributes:
        dtype: a name of `dtypes.BITS`.
        shape: counts values, also of types of which torch packs two in an element.
        begin: its bytes are `begin..end` of the object, end exclusive.
    """

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def size_bytes(self) -> int:
        """Bytes of its data."""
        return self.end - self.begin


@dataclass(frozen=True)
class Header:
    """A header that was found true: its tensors tile the rest of the object.

    Attributes:
        tensors: by name, in the order of the header.
        data_start: offset of the first tensor's bytes.
    """

    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]
    data_start: int


def header_size(first: bytes, object_bytes: int, uri: str) -> int:
    """Return how many bytes of JSON follow the first eight bytes of an object.

    Raises:
        FormatError: there are no eight, or the length is more than the object or the format has.
    """
    if len(first) < LENGTH_BYTES:
        _refuse(uri, f"the object has {object_bytes} bytes, its header alone would take more")
    count = int.from_bytes(first[:LENGTH_BYTES], "little")
    if count > MAX_HEADER_BYTES:
        _refuse(uri, f"its header would have {count} bytes, {MAX_HEADER_BYTES} are allowed")
    if count > object_bytes - LENGTH_BYTES:
        _refuse(uri, f"its header would have {count} bytes, the object has {object_bytes}")
    return count


def parse(json_bytes: bytes, object_bytes: int, uri: str) -> Header:
    """Read a header, and check it against the size of the object.

    Args:
        json_bytes: all of what follows the length.

    Raises:
        FormatError: it is not JSON of the format, or it lies.
    """
    data_start = LENGTH_BYTES + len(json_bytes)
    # Latin-1 keeps one byte for one byte, whatever is in it; each text is decoded as UTF-8 for itself.
    parser = _Parser(json_bytes.decode("latin-1"), data_start, uri)
    del json_bytes
    try:
        tensors, metadata = parser.parse()
    except (ValueError, RecursionError) as wrong:
        if isinstance(wrong, FormatError):
            raise
        raise _wrong(uri, f"its header is not JSON of the format ({_one_line(wrong)})") from None
    _check_tiling(tensors, data_start, object_bytes, uri)
    return Header(tensors, metadata, data_start)


def render(tensors: Iterable[tuple[str, str, tuple[int, ...]]], metadata: Mapping[str, str] | None) -> bytes:
    """Write a header, its length included, as the official library does.

    Args:
        tensors: name, dtype and shape of each, in the order of `sort_key`.
        metadata: None leaves it out, and an empty one does not.

    Raises:
        ConfigError: it would be larger than the format allows.
    """
    document: dict[str, Any] = {} if metadata is None else {METADATA_KEY: dict(metadata)}
    offset = 0
    for name, dtype, shape in tensors:
        end = offset + size_bytes(dtype, shape)
        document[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    # The data begins at a multiple of eight bytes.
    text += b" " * (-len(text) % LENGTH_BYTES)
    if len(text) > MAX_HEADER_BYTES:
        raise ConfigError(
            f"save_file: names and metadata make a header of {len(text)} bytes, the format allows "
            f"{MAX_HEADER_BYTES}; save less metadata, or several files"
        )
    return len(text).to_bytes(LENGTH_BYTES, "little") + text


def sort_key(name: str, dtype: str) -> tuple[int, str]:
    """Order tensors as the official library's files do: wide types first, then by name."""
    return -RANKS[dtype], name


def size_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    """Return the bytes of a tensor.

    Raises:
        ValueError: its bits fill no whole number of bytes, or their number fits no 64 bits.
    """
    count = 1
    for length in shape:
        count *= length
        if count > _MAX_COUNT:
            raise ValueError(f"shape {list(shape)} overflows")
    bits = count * BITS[dtype]
    if bits > _MAX_COUNT:
        raise ValueError(f"{count} elements of {dtype} overflow")
    if bits % 8:
        raise ValueError(f"{count} elements of {dtype} end within a byte")
    return bits // 8


class _Parser:
    """Reads one object's header from left to right; a `ValueError` is JSON that is none."""

    def __init__(self, text: str, data_start: int, uri: str) -> None:
        self._text = text
        self._at = 0
        self._data_start = data_start
        self._uri = uri
        self._strings = json.JSONDecoder()

    def parse(self) -> tuple[dict[str, TensorInfo], dict[str, str]]:
        """Return the tensors and the metadata."""
        tensors: dict[str, TensorInfo] = {}
        metadata: dict[str, str] | None = None
        for name in self._names():
            if name != METADATA_KEY:
                if name in tensors:
                    _refuse(self._uri, f"its header names tensor {name!r} twice")
                tensors[name] = self._tensor(name)
            elif metadata is None:
                metadata = self._metadata()
            else:
                _refuse(self._uri, f"its header has {METADATA_KEY} twice")
        if self._peek():
            raise ValueError(f"more follows at character {self._at}")
        return tensors, metadata or {}

    def _names(self) -> Iterator[str]:
        """Yield the names of the object that begins here; the caller reads each one's value."""
        self._take("{")
        if self._peek() == "}":
            self._at += 1
            return
        while True:
            name = self._string()
            self._take(":")
            yield name
            if self._peek() != ",":
                break
            self._at += 1
        self._take("}")

    def _metadata(self) -> dict[str, str]:
        if self._peek() == "n":
            _, self._at = self._strings.raw_decode(self._text, self._at)  # null, or no JSON
            return {}
        found: dict[str, str] = {}
        for key in self._names():
            if key in found:
                _refuse(self._uri, f"its metadata has {key!r} twice")
            if self._peek() != '"':
                _refuse(self._uri, f"its metadata gives {key!r} a value that is no text")
            found[key] = self._string()
        return found

    def _tensor(self, name: str) -> TensorInfo:
        """Read one entry: a flat object, so it ends at the first brace."""
        if self._peek() != "{":
            _refuse(self._uri, f"its header does not describe tensor {name!r} by an object")
        end = self._text.find("}", self._at) + 1
        if not 0 < end - self._at <= _MAX_ENTRY_BYTES:
            _refuse(self._uri, f"what its header says of tensor {name!r} has no end")
        entry = json.loads(
            self._text[self._at : end].encode("latin-1"), object_pairs_hook=_unique, parse_constant=_no_number
        )
        self._at = end
        try:
            return _checked(entry, self._data_start)
        except ValueError as wrong:
            _refuse(self._uri, f"its header lies about tensor {name!r}: {_one_line(wrong)}")

    def _string(self) -> str:
        if self._peek() != '"':
            raise ValueError(f"a text must begin at character {self._at}")
        begin = self._at
        text, self._at = self._strings.raw_decode(self._text, begin)
        assert isinstance(text, str), "what begins with a quote is a text"
        if text.isascii() and self._at - begin == len(text) + 2:
            return text
        text = json.loads(self._text[begin : self._at].encode("latin-1"))
        text.encode()  # half a surrogate pair is no text
        return str(text)

    def _peek(self) -> str:
        """Return the next character that is not blank, "" at the end."""
        text, at = self._text, self._at
        while at < len(text) and text[at] in _BLANK:
            at += 1
        self._at = at
        return text[at : at + 1]

    def _take(self, wanted: str) -> None:
        if self._peek() != wanted:
            raise ValueError(f"{wanted!r} must stand at character {self._at}")
        self._at += 1


def _checked(entry: dict[str, Any], data_start: int) -> TensorInfo:
    """Turn one entry into what it says.

    Raises:
        ValueError: it is not a true one.
    """
    dtype, shape, offsets = (entry.get(field) for field in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in BITS:
        raise ValueError(f"dtype {dtype!r} is none of the format")
    if not _are_counts(shape):
        raise ValueError(f"shape {shape!r} is not a list of counts")
    if not _are_counts(offsets) or len(offsets) != 2:  # noqa: PLR2004  (begin and end)
        raise ValueError(f"data_offsets {offsets!r} are not two offsets")
    begin, end = offsets
    taken = size_bytes(dtype, tuple(shape))
    if end - begin != taken:
        raise ValueError(f"{dtype} of shape {shape} takes {taken} bytes, data_offsets are {offsets}")
    return TensorInfo(dtype, tuple(shape), data_start + begin, data_start + end)


def _are_counts(found: Any) -> TypeGuard[list[int]]:
    """Say whether this is a list of whole numbers, whose product without zeros torch can hold."""
    if not isinstance(found, list):
        return False
    product = 1
    for count in found:
        if type(count) is not int or count < 0:
            return False
        product *= count or 1
        if product > _MAX_TORCH_COUNT:
            return False
    return True


def _check_tiling(tensors: dict[str, TensorInfo], data_start: int, object_bytes: int, uri: str) -> None:
    """Demand that the tensors follow each other without hole or overlap, up to the end of the object."""
    at = data_start
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if info.begin != at:
            kind = "overlaps the one before" if info.begin < at else "leaves a hole before it"
            _refuse(uri, f"tensor {name!r} {kind}: it begins at byte {info.begin}, not {at}")
        at = info.end
    if at != object_bytes:
        _refuse(uri, f"its tensors end at byte {at}, the object at {object_bytes}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field comes twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _one_line(wrong: BaseException) -> str:
    return " ".join(str(wrong).split())[:200]


def _refuse(uri: str, what: str) -> NoReturn:
    raise _wrong(uri, what)


def _wrong(uri: str, what: str) -> FormatError:
    text = f"safe_open {uri}: not a safetensors file, or a damaged one: {what[:1000]}; save it again"
    return FormatError(text, operation="safe_open", uri=uri)
