"""CRC-64/XZ, the checksum that OSS keeps of every object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from osstorchconnector import _native

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def crc64(data: ReadableBuffer, value: int = 0) -> int:
    """Compute the CRC-64 of `data`, going on behind bytes whose CRC-64 is `value`."""
    return _native.crc64(data, value)


def crc64_combine(first: int, second: int, second_bytes: int) -> int:
    """Compute the CRC-64 of two neighbouring pieces from that of each and the size of the second."""
    return _native.crc64_combine(first, second, second_bytes)
