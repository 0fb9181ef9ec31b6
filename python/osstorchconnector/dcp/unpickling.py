"""`.metadata` as objects, by an allow-list: a pickle from a stranger must not run a stranger's code.

Torch unpickles it without restriction. Here only the classes that a checkpoint's metadata is made of are found; any
other name is an error that says how to allow it. Sizes and memo numbers are checked before the pickle is read, since
a short file can otherwise ask for any amount of memory.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex

from osstorchconnector.dcp.manifest import checked_name
from osstorchconnector.errors import ConfigError, FormatError, NotAllowedError

if TYPE_CHECKING:
    from collections.abc import Iterable

# A million tensors in a thousand pieces each would be smaller.
MAX_BYTES = 1 << 30

_DCP = "torch.distributed.checkpoint.metadata"
_SHARDED = "torch.distributed._shard.sharded_tensor.metadata"
_ALLOWED = {
    *((_DCP, name) for name in ("BytesStorageMetadata", "ChunkStorageMetadata", "Metadata", "MetadataIndex")),
    *((_DCP, name) for name in ("StorageMeta", "TensorProperties", "TensorStorageMetadata")),
    (_DCP, "_MEM_FORMAT_ENCODING"),
    # Older torch kept these two with the sharded tensors.
    (_SHARDED, "MEM_FORMAT_ENCODING"),
    (_SHARDED, "TensorProperties"),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch", "Size"),
    # It looks a layout up by its name.
    ("torch.serialization", "_get_layout"),
    ("builtins", "set"),
    ("builtins", "frozenset"),
    ("__builtin__", "set"),
    ("__builtin__", "frozenset"),
    ("collections", "OrderedDict"),
    *(("pathlib", name) for name in ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")),
    *(("pathlib._local", name) for name in ("PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")),
}


def read_metadata(data: bytes, uri: str, allow_classes: Iterable[type] = ()) -> Metadata:
    """Unpickle a checkpoint's metadata and check its shape.

    Args:
        uri: its place, for the error.
        allow_classes: further classes that it may hold, such as those of an own planner.

    Raises:
        NotAllowedError: it asks for a class that is not allowed.
        FormatError: it is too large, malformed, or no metadata.
    """
    if len(data) > MAX_BYTES:
        raise too_large(len(data), uri)
    allowed = {(kind.__module__, kind.__qualname__): kind for kind in allow_classes}
    try:
        _check_amounts(data)
        return _checked_shape(_AllowListUnpickler(data, allowed).load())
    except _NotOnTheListError as refused:
        raise NotAllowedError(
            f"load {uri}: the checkpoint's metadata asks for {refused}, which is no part of a checkpoint's metadata; "
            f"if you trust whoever wrote it, pass allow_classes=[{str(refused).rpartition('.')[2]}]",
            operation="load",
            uri=uri,
        ) from None
    except Exception as wrong:
        # Anything may come out of a malformed pickle; there is one thing to do about all of it.
        text = f"{type(wrong).__name__}: {wrong}".replace("\n", " ")[:200]
        raise FormatError(
            f"load {uri}: the checkpoint's metadata is malformed ({text}); load an older checkpoint",
            operation="load",
            uri=uri,
        ) from wrong


def too_large(size_bytes: int, uri: str) -> FormatError:
    """Make the error for metadata beyond the cap."""
    return FormatError(
        f"load {uri}: the checkpoint's metadata has {size_bytes} bytes, more than the {MAX_BYTES} that are read; "
        "it is no metadata of torch's",
        operation="load",
        uri=uri,
    )


def checked_classes(allow_classes: Iterable[type]) -> tuple[type, ...]:
    """Return the classes that a user allows.

    Raises:
        ConfigError: one is no class.
    """
    if isinstance(allow_classes, type):
        raise ConfigError(f"allow_classes must be a list; write allow_classes=[{allow_classes.__name__}]")
    classes = tuple(allow_classes)
    for kind in classes:
        if not isinstance(kind, type):
            raise ConfigError(f"allow_classes must hold classes, not {kind!r}")
    return classes


class _NotOnTheListError(Exception):
    """A name that is not on the list."""


class _AllowListUnpickler(pickle.Unpickler):
    def __init__(self, data: bytes, allowed: dict[tuple[str, str], type]) -> None:
        super().__init__(io.BytesIO(data))
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self._allowed:
            return self._allowed[module, name]
        if (module, name) in _ALLOWED:
            return super().find_class(module, name)
        if module == "torch":
            dtype = getattr(torch, name, None)
            if isinstance(dtype, torch.dtype):
                return dtype
        raise _NotOnTheListError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise _NotOnTheListError(f"the persistent object {pid!r}"[:100])


def _checked_shape(metadata: Any) -> Metadata:
    if not isinstance(metadata, Metadata):
        raise TypeError(f"it holds {type(metadata).__name__}, not torch's Metadata")
    if not isinstance(metadata.state_dict_metadata, dict):
        raise TypeError("it has no table of names")
    if not isinstance(metadata.storage_data, dict):
        raise TypeError("it does not say where the data lies")
    for index, info in metadata.storage_data.items():
        if not isinstance(index, MetadataIndex):
            raise TypeError(f"{type(index).__name__} names a piece of data")
        checked_name(info.relative_path)
        for amount in (info.offset, info.length):
            if type(amount) is not int or amount < 0:
                raise ValueError(f"a piece of data lies at {info.offset!r} and has {info.length!r} bytes")
    return metadata


# How many bytes follow an opcode: a fixed number, or a length of so many bytes and then that many, or a line.
_FIXED: dict[int, int] = {}
_COUNTED: dict[int, int] = {}
_LINES: dict[int, int] = {}
_FIXED_BYTES = {"uint1": 1, "uint2": 2, "int4": 4, "uint4": 4, "uint8": 8, "float8": 8}
_COUNTED_BYTES = {
    **{f"{kind}1": 1 for kind in ("string", "bytes", "unicodestring", "long")},
    **{f"{kind}4": 4 for kind in ("string", "bytes", "unicodestring", "long")},
    **{f"{kind}8": 8 for kind in ("bytes", "bytearray", "unicodestring")},
}
for _operation in pickletools.opcodes:
    _byte, _argument = ord(_operation.code), _operation.arg.name if _operation.arg else ""
    if _argument in _COUNTED_BYTES:
        _COUNTED[_byte] = _COUNTED_BYTES[_argument]
    elif _argument in _FIXED_BYTES:
        _FIXED[_byte] = _FIXED_BYTES[_argument]
    elif _argument:
        _LINES[_byte] = 2 if _argument == "stringnl_noescape_pair" else 1
    else:
        _FIXED[_byte] = 0
_MEMOIZE, _PUT, _STOP = b"\x94p."
_MEMO_NUMBERS = frozenset(b"qr")
_LONGEST_LINE = 4096


def _check_amounts(data: bytes) -> None:
    """Walk over the opcodes: every length must lie within the pickle, and memo numbers may only count up.

    Raises:
        ValueError: one does not.
    """
    at, end, memo_count = 0, len(data), 0
    fixed = _FIXED
    while at < end:
        opcode = data[at]
        at += 1
        if opcode in fixed:
            width = fixed[opcode]
            if opcode in _MEMO_NUMBERS:
                memo_count = _counted_memo(int.from_bytes(data[at : at + width], "little"), memo_count)
            at += width
        else:
            after = _after_argument(data, opcode, at)
            if opcode == _PUT:
                memo_count = _counted_memo(int(data[at : after - 1]), memo_count)
            at = after
        if opcode == _MEMOIZE:
            memo_count += 1
        elif opcode == _STOP:
            return
    raise ValueError("it is cut short")


def _counted_memo(number: int, memo_count: int) -> int:
    """Count a memo number that is given; the unpickler makes room for all below it."""
    if not 0 <= number <= memo_count:
        raise ValueError(f"memo number {number} after {memo_count}")
    return max(memo_count, number + 1)


def _after_argument(data: bytes, opcode: int, at: int) -> int:
    """Return where an argument without a fixed size ends."""
    width = _COUNTED.get(opcode)
    if width is not None:
        return at + width + int.from_bytes(data[at : at + width], "little")
    for _ in range(_LINES.get(opcode, 0)):
        at = data.find(b"\n", at, at + _LONGEST_LINE) + 1
        if at == 0:
            raise ValueError("a line does not end")
    if opcode not in _LINES:
        raise ValueError(f"unknown opcode {opcode:#x}")
    return at
