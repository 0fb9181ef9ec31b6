"""Bytes that tests can check, and the checksums that libraries of others give them."""

from __future__ import annotations

import base64
import hashlib
import random

from oss2.utils import Crc64

BUCKET = "witness-bucket"

# Any host name will do; tests let it resolve to loopback.
HOST_NAME = "oss-cn-local.test"

MINIMUM_PART_BYTES = 100 * 1024

# Every control character that XML and URLs dislike, except NUL, which OSS keys cannot hold.
CONTROL_CHARACTERS = bytes(range(1, 32)).decode()

ODD_KEYS = [
    "plain",
    "with space",
    "percent-%41-%zz",
    "plus+and&amp;<xml>\"'",
    "url-%123-/?#:key",
    "deep//empty//levels/",
    "中文/ключ/😀",
    "control-" + CONTROL_CHARACTERS,
]


def body(size_bytes: int, seed: int = 0) -> bytes:
    """Make bytes in which no two places look alike."""
    return random.Random(f"{seed}/{size_bytes}").randbytes(size_bytes)


def crc64(data: bytes) -> str:
    """Return CRC-64/XZ in decimal, as OSS's header has it."""
    register = Crc64()
    register.update(data)
    return str(register.crc)


def etag(data: bytes) -> str:
    """Return the ETag of an object put in one piece."""
    return f'"{hashlib.md5(data).hexdigest().upper()}"'


def content_md5(data: bytes) -> str:
    """Return the Content-MD5 header of a body."""
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def pieces(data: bytes, size_bytes: int) -> list[bytes]:
    """Cut data into parts of one size; the last may be shorter."""
    return [data[start : start + size_bytes] for start in range(0, len(data), size_bytes)]
