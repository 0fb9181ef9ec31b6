"""A small document that one process writes again and again, and others read whole.

A rename would do that too, but some file systems write a file to the disk before it takes another's name (ext4,
`auto_da_alloc`), for numbers that nobody needs behind a crash of the machine. So the file has two places, and what is
written goes to the one that does not hold the newest document. Each document tells its number, its length and its
checksum, so a place that is being written, or whose writer was killed, counts as empty and the other one is read.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from typing import Any

# The second place is a hole in the file up to there. A document that is longer is refused.
_PLACE_BYTES = 1 << 20

# A place that is not whole is being written, and looked at again; after so many times its writer is gone.
_LOOKS = 8

# Number, bytes, and CRC-32 of both and of the text.
_HEAD = struct.Struct("<QI")
_CRC = struct.Struct("<I")

# What a place holds that was never written, and one that is not whole; documents are numbered from 1.
_NOTHING, _TORN = (0, b""), (-1, b"")


def write(path: str, document: Any) -> None:
    """Write `document`, which JSON can say.

    Raises:
        OSError: it could not be written whole; what was there before is read as before.
    """
    text = json.dumps(document).encode("ascii")
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        number = max(0, *(_at(file, place)[0] for place in (0, 1))) + 1
        head = _HEAD.pack(number, len(text))
        data = head + _CRC.pack(zlib.crc32(text, zlib.crc32(head))) + text
        if len(data) > _PLACE_BYTES or os.pwrite(file, data, number % 2 * _PLACE_BYTES) != len(data):
            raise OSError(f"{path}: a document of {len(data)} bytes could not be written whole")
    finally:
        os.close(file)


def read(path: str | os.PathLike[str]) -> Any:
    """Return the newest document that is whole.

    Raises:
        ValueError: there is none.
        OSError: there is no such file, or it cannot be read.
    """
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        newest, text = _NOTHING
        for _ in range(_LOOKS):
            found = [_at(file, place) for place in (0, 1)]
            newest, text = max((newest, text), *found)
            # Beside a place that is being written the other one may have been passed by meanwhile.
            if _TORN not in found:
                break
    finally:
        os.close(file)
    if newest < 1:
        raise ValueError(f"{os.fspath(path)} holds no whole document")
    try:
        return json.loads(text)
    except RecursionError as deep:
        raise ValueError(f"{os.fspath(path)} holds a document whose parts lie too deep") from deep


def _at(file: int, place: int) -> tuple[int, bytes]:
    """Return number and text of the document in one of the two places, `_NOTHING` or `_TORN`."""
    prefix = os.pread(file, _HEAD.size + _CRC.size, place * _PLACE_BYTES)
    if not any(prefix):
        return _NOTHING
    if len(prefix) < _HEAD.size + _CRC.size:
        return _TORN
    head, (crc,) = prefix[: _HEAD.size], _CRC.unpack(prefix[_HEAD.size :])
    number, size_bytes = _HEAD.unpack(head)
    text = os.pread(file, min(size_bytes, _PLACE_BYTES), place * _PLACE_BYTES + len(prefix))
    return (number, text) if zlib.crc32(text, zlib.crc32(head)) == crc and number else _TORN
