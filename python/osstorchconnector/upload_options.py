"""What a new object is to be, checked when its writer is opened: a wrong option must not show after hours of writing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from osstorchconnector.errors import ConfigError

# A name of an HTTP header (RFC 9110 §5.1), and a value that every proxy leaves as it is (§5.5).
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?|")


def checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options as they are.

    Raises:
        ConfigError: a number is negative, or a text cannot be a header.
        TypeError: one is of another type.
    """
    size_hint_bytes = options.get("size_hint_bytes")
    if size_hint_bytes is not None:
        if not hasattr(size_hint_bytes, "__index__"):
            raise TypeError(f"size_hint_bytes must be an int, not {type(size_hint_bytes).__name__}")
        if size_hint_bytes < 0:
            raise ConfigError(f"size_hint_bytes must not be negative, as {size_hint_bytes} is; leave it out")
    for name in ("content_type", "storage_class"):
        _check_text(name, options.get(name))
    metadata = options.get("metadata")
    if metadata is None:
        return dict(options)
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata must be a dict of texts, not {type(metadata).__name__}")
    for name, value in metadata.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"metadata must map str to str, not {name!r} to {value!r}")
        if not _NAME.fullmatch(name):
            raise ConfigError(f"metadata cannot have the name {name!r}; take letters, digits and hyphens")
        _check_text(f"metadata {name!r}", value)
    return {**options, "metadata": dict(metadata)}


def _check_text(name: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if not _VALUE.fullmatch(value):
        raise ConfigError(
            f"{name} cannot be {value!r}: it travels as a header, which has printable ASCII alone; "
            "quote the rest, as urllib.parse.quote does"
        )
