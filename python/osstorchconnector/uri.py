"""Locations as users write them: `oss://bucket/key` and `/bucket/key`, checked before anything is sent.

The key is raw text: nothing is decoded, `?` and `#` mean nothing. The native side checks again, more strictly
(bucket alphabet, key length); here is what must fail at once, in the constructor.
"""

from __future__ import annotations

import os

from osstorchconnector.errors import ConfigError

SCHEME = "oss://"


def location_text(location: str | os.PathLike[str], argument: str) -> str:
    """Return the text of a location given as text or as a path object.

    A path object folds `oss://b/k` to `oss:/b/k`; exactly that is unfolded again.

    Args:
        argument: its name, for the error.

    Raises:
        ConfigError: it is empty.
        TypeError: it is neither text nor a path object.
    """
    if isinstance(location, str):
        text = location
    elif isinstance(location, os.PathLike):
        text = _unfolded(os.fspath(location))
    else:
        raise TypeError(f"{argument} must be a str or os.PathLike, not {type(location).__name__}")
    if not text:
        raise ConfigError(f"{argument} is empty; write oss://bucket/key")
    return text


def split(text: str, argument: str = "oss_uri") -> tuple[str, str]:
    """Split a location into bucket and key; the key is "" for a whole bucket.

    Raises:
        ConfigError: another scheme, a relative text, or no bucket.
    """
    if text.startswith(SCHEME):
        rest = text[len(SCHEME) :]
    elif text.startswith("/"):
        rest = text[1:]
    else:
        # Of another scheme what follows a `?` is a query, which may hold a signature.
        raise ConfigError(
            f"{argument} {text.partition('?')[0]!r} is not an OSS location; write oss://bucket/key or /bucket/key"
        )
    bucket, _, key = rest.partition("/")
    if not bucket:
        raise ConfigError(f"{argument} {text!r} names no bucket; write oss://bucket/key")
    return bucket, key


def object_path(text: str, argument: str = "oss_uri") -> str:
    """Return `/bucket/key` for the location of one object.

    Raises:
        ConfigError: as `split`, and when the key is missing.
    """
    bucket, key = split(text, argument)
    if not key:
        raise ConfigError(f"{argument} {text!r} names a bucket, an object is needed; write oss://bucket/key")
    return f"/{bucket}/{key}"


def prefix_path(text: str, argument: str = "oss_uri") -> str:
    """Return `/bucket/prefix` for a prefix; the prefix may be empty.

    Raises:
        ConfigError: as `split`.
    """
    bucket, key = split(text, argument)
    return f"/{bucket}/{key}"


def as_uri(path: str) -> str:
    """Write `/bucket/key` as `oss://bucket/key`; other texts stay as they are."""
    return f"oss:/{path}" if path.startswith("/") else path


def shown_endpoint(endpoint: str | None) -> str | None:
    """Return what may be shown of an endpoint: nothing before an `@` or behind a `?`, which is refused once it is used."""
    if endpoint is None:
        return None
    scheme = next((text for text in ("https://", "http://") if endpoint.startswith(text)), "")
    return scheme + endpoint[len(scheme) :].rpartition("@")[2].partition("?")[0]


def _unfolded(text: str) -> str:
    if text.startswith("oss:/") and not text.startswith(SCHEME):
        return SCHEME + text[len("oss:/") :]
    return text
