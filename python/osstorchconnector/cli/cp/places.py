"""Where things are copied from and to, as they were written on the command line.

`oss://bucket/key` is an object, anything else a local path; `-` is stdin or stdout. A key of a listing becomes a local
path only if it stays below the directory that was named.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from osstorchconnector.cli.failing import misuse
from osstorchconnector.errors import ConfigError
from osstorchconnector.uri import SCHEME, as_uri, object_path, prefix_path, split

STREAM = "-"


@dataclass(frozen=True)
class Place:
    """One place.

    Attributes:
        text: a local path, `/bucket/key` of an object, or `-`.
        is_oss: whether it is on OSS.
    """

    text: str
    is_oss: bool

    @property
    def is_stream(self) -> bool:
        """Whether it is stdin or stdout."""
        return not self.is_oss and self.text == STREAM

    @property
    def name(self) -> str:
        """Its last component; "" for what ends in a slash, and for a bucket."""
        return split(self.text)[1].rpartition("/")[2] if self.is_oss else os.path.basename(self.text)

    @property
    def is_directory(self) -> bool:
        """Whether things are copied into it, by its form or because it is one."""
        if self.is_oss:
            return not self.name
        return self.text.endswith("/") or os.path.isdir(self.text)

    def below(self, relative: str) -> Place:
        """Name what lies below it.

        Args:
            relative: names between slashes.

        Raises:
            ConfigError: a local path would lead out of it, or is none.
        """
        if self.is_oss:
            return Place(f"{self.text.rstrip('/')}/{relative}", is_oss=True)
        names = relative.split("/")
        if any(name in ("", ".", "..") or "\0" in name for name in names):
            raise ConfigError(
                f"the key {relative!r} cannot be a path below {self.text}; copy it by itself, to a name of your own"
            )
        return Place(os.path.join(self.text, *names), is_oss=False)

    def __str__(self) -> str:
        """Write it as users do."""
        return as_uri(self.text) if self.is_oss else self.text


def place(text: str) -> Place:
    """Read one place.

    Raises:
        UsageError: it is another scheme.
        ConfigError: there is no bucket in it.
    """
    if text.startswith(SCHEME):
        return Place(prefix_path(text, "place"), is_oss=True)
    if "://" in text or text.lower().startswith("oss:"):
        raise misuse(f"{text!r} is neither oss://bucket/key nor a path (a file of that name is ./{text})")
    return Place(text, is_oss=False)


def of_object(where: Place) -> Place:
    """Demand that it names an object.

    Raises:
        ConfigError: it names a bucket.
    """
    object_path(where.text, "object")
    return where


def directory(where: Place) -> Place:
    """Name it as that which things lie below."""
    if where.is_oss and not where.is_directory:
        return Place(f"{where.text}/", is_oss=True)
    return where
