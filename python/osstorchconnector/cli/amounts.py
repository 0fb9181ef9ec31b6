"""Amounts as people write and read them: ages such as `30m`, sizes such as `1.5 GiB`."""

from __future__ import annotations

import re

import click

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGE = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_SIZES = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def age_seconds(text: str) -> float:
    """Read an age such as `30m`.

    Raises:
        ValueError: it is none.
    """
    match = _AGE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an age; write 90s, 30m, 12h, 1d or 2w")
    return float(match[1]) * _UNIT_SECONDS[match[2]]


def read_age(_ctx: click.Context, _param: click.Parameter, text: str | None) -> float | None:
    """Read the text of an option as seconds.

    Raises:
        BadParameter: it is no age.
    """
    try:
        return None if text is None else age_seconds(text)
    except ValueError as wrong:
        raise click.BadParameter(str(wrong)) from None


def age(seconds: float) -> str:
    """Write an age in its largest unit up to days."""
    for unit in ("d", "h", "m"):
        if seconds >= _UNIT_SECONDS[unit]:
            return f"{seconds / _UNIT_SECONDS[unit]:.1f}{unit}"
    return f"{int(seconds)}s"


def size(size_bytes: float) -> str:
    """Write a size in its largest unit."""
    for unit_bytes, unit in _SIZES:
        if size_bytes >= unit_bytes:
            return f"{size_bytes / unit_bytes:.1f} {unit}"
    return f"{int(size_bytes)} B"
