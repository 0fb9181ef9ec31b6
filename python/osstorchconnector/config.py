"""The JSON config file of the original and our own keys in it, read into one frozen value.

This module maps names and units; defaults and bounds of the client live once, on the native side. Rules for values:
a wrong type or a negative number is an error that names the key, 0 means the default, an unknown key is a warning that
names the nearest known one, if one is near. A value equal to the original's default is in every published sample: it is no choice of
the user's and binds nothing.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import logging
import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from osstorchconnector.config_keys import KEYS, Key, Option
from osstorchconnector.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

DEFAULT_PATH = "/etc/oss-connector/config.json"

# More than any bound of the native side, which takes numbers of 64 bits and clamps them.
_LARGEST = (1 << 63) - 1
_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)
_LEVEL_NAMES = {"DEBUG": 0, "INFO": 1, "WARN": 2, "WARNING": 2, "ERROR": 3}


@dataclass(frozen=True)
class ClientConfig:
    """What a config file says. Without a file everything is absent and the defaults hold.

    Attributes:
        options: flat names and values for the native client, only those that were given.
        keys: the file's key for each of these names.
        addressing: how buckets are addressed, None if the file does not say.
        log_level: a level of `logging`, None if the file does not say.
        log_path: log files are `<log_path>_<worker>`; None for no file.
        audit_path: the same for the audit file.
        audit_all: whether every request is audited.
        missing: what a dataset does about missing objects when its caller says nothing.
        empty_prefix: the same for a prefix without objects.
        stats_log_seconds: how often `stats()` is logged, None for never.
        source: the file, "" without one.
    """

    # Not shown: the URL of a proxy may hold a password.
    options: dict[str, Option] = field(default_factory=dict, repr=False)
    keys: dict[str, str] = field(default_factory=dict)
    addressing: str | None = None
    log_level: int | None = None
    log_path: str | None = None
    audit_path: str | None = None
    audit_all: bool = False
    missing: Literal["error", "skip"] = "error"
    empty_prefix: Literal["error", "allow"] = "error"
    stats_log_seconds: float | None = None
    source: str = ""

    def in_the_files_words(self, text: str) -> str:
        """Name the file and its key where the native side names an option."""

        def key_of(option: re.Match[str]) -> str:
            key = self.keys.get(option[1])
            return option[0] if key is None else f"{key} in {self.source} ({option[0]})"

        return re.sub(r"\boption (\w+)", key_of, text)

    def __getstate__(self) -> dict[str, Any]:
        """Carry values; of a proxy with a password only that the file names one."""
        options = dict(self.options)
        if "@" in str(options.get("proxy", "")):
            options["proxy"] = _IN_THE_FILE
        return {**self.__dict__, "options": options}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over what `__getstate__` gave, past the frozen door; a proxy with a password is read again.

        Raises:
            ConfigError: the file is not there, or names no proxy now.
        """
        self.__dict__.update(state)
        if self.options.get("proxy") == _IN_THE_FILE:
            self.options["proxy"] = _proxy_of(self.source)


_OBJECTS = frozenset(name.partition(".")[0] for name in KEYS if "." in name)
# Stands in pickles for a proxy whose URL holds a password.
_IN_THE_FILE = "(in the config file)"

# One warning per process and file: (file, what it is about).
_said: set[tuple[str, str]] = set()


def load(
    config_path: str | os.PathLike[str] | None = None, set_up: Callable[[ClientConfig], None] | None = None
) -> ClientConfig:
    """Read a config file; without a path the default one if it exists, else nothing.

    Args:
        set_up: called before anything is logged about the file, so that the log it names can have it.

    Raises:
        ConfigError: the named file is missing or unreadable, is not a JSON object, or a value is wrong.
    """
    path = os.fspath(config_path) if config_path else ""
    if not path:
        if not os.path.exists(DEFAULT_PATH):
            return ClientConfig()
        path = DEFAULT_PATH
    return parse(_read(path), path, set_up)


def parse(text: str, source: str, set_up: Callable[[ClientConfig], None] | None = None) -> ClientConfig:
    """Read the text of a config file.

    Args:
        source: the file's name, for errors and warnings.
        set_up: as `load`.

    Raises:
        ConfigError: as `load`.
    """
    try:
        document = json.loads(text)
    except json.JSONDecodeError as wrong:
        raise ConfigError(
            f"config file {source} is not JSON at line {wrong.lineno} column {wrong.colno}: {wrong.msg}; correct it"
        ) from None
    except (ValueError, RecursionError):
        # Python's own bounds: digits of a number, depth.
        raise ConfigError(
            f"config file {source} has a number of thousands of digits, or is nested a thousand deep; correct it"
        ) from None
    if not isinstance(document, dict):
        raise ConfigError(f"config file {source} must hold one JSON object, not {_json_type(document)}")
    options: dict[str, Option] = {}
    fields: dict[str, Any] = {}
    keys: dict[str, str] = {}
    remarks = _Remarks(source)
    for name, value in _flat(document, source):
        key = KEYS.get(name)
        if key is None:
            remarks.unknown(name)
            continue
        converted = _converted(source, name, key, value, remarks)
        if converted is None:
            continue
        (fields if key.is_field else options)[key.target] = converted
        keys[key.target] = name
        if key.original is not None:
            remarks.inform(name, f"={value}", "is an upper bound; without it the level is found by measuring")
    read = ClientConfig(options=options, keys=keys, source=source, **fields)
    if set_up is not None:
        set_up(read)
    remarks.log()
    return read


def is_known(name: str) -> bool:
    """Say whether the file may have this key, written with the object that holds it."""
    return name in KEYS


class _Remarks:
    """What is to be logged about a file: once per process, and after the log was set up."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._lines: list[tuple[int, str, str]] = []

    def inform(self, name: str, value: str, text: str) -> None:
        self._lines.append((logging.INFO, name, f"{name}{value} in {self._source} {text}"))

    def warn(self, name: str, text: str) -> None:
        self._lines.append((logging.WARNING, name, f"{name} in {self._source} {text}"))

    def unknown(self, name: str) -> None:
        nearest = _nearest(name)
        advice = (
            "is the file for another version?" if nearest is None else f"the nearest known one is {nearest}"
        )
        text = f"unknown key {name} in {self._source}; {advice}"
        self._lines.append((logging.WARNING, name, text))

    def log(self) -> None:
        for level, name, text in self._lines:
            if (self._source, name) not in _said:
                _said.add((self._source, name))
                _log.log(level, text)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as wrong:
        reason = getattr(wrong, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(
            f"config file {path} cannot be read: {reason}; correct config_path or the file"
        ) from wrong


def _flat(document: dict[str, Any], source: str) -> list[tuple[str, Any]]:
    """Name every value by its dotted path, the objects that hold them resolved."""
    named: list[tuple[str, Any]] = []
    for name, value in document.items():
        if name not in _OBJECTS:
            named.append((name, value))
        elif isinstance(value, dict):
            named.extend((f"{name}.{inner}", inner_value) for inner, inner_value in value.items())
        else:
            raise ConfigError(f"{name} in {source} must be a JSON object, not {_json_type(value)}")
    # `network` wins over the original's keys that set the same option.
    return sorted(named, key=lambda item: item[0].startswith("network."))


def _converted(source: str, name: str, key: Key, value: Any, remarks: _Remarks) -> Option | None:
    """Check one value and turn it into our unit; None when it has no effect."""
    checked = _checked(source, name, key, value)
    if key.idle is not None:
        if checked != key.idle:
            remarks.warn(name, "has no effect here")
        return None
    if key.idle_because and checked:
        remarks.inform(name, f"={value}", f"has no effect here: {key.idle_because}")
    if not key.target or (key.kind == "text" and checked == ""):
        return None
    if isinstance(checked, str | bool) or key.kind == "level":
        return checked
    if checked == 0:
        remarks.warn(name, "is 0: the default is used")
        return None
    if key.original is not None and checked == key.original:
        return None
    return _within(name, key, checked, remarks) if key.bounds else _scaled(key, checked)


def _within(name: str, key: Key, number: float, remarks: _Remarks) -> float:
    assert key.bounds is not None, "only a number with bounds"
    within = min(max(number, key.bounds[0]), key.bounds[1])
    if within != number:
        remarks.warn(name, f"is {number}, outside of its bounds: {within} is used")
    return within


def _scaled(key: Key, number: float) -> float:
    if isinstance(number, int):
        number = min(number, _LARGEST)
    scaled = number * key.scale
    return min(int(scaled), _LARGEST) if isinstance(number, int) and key.scale >= 1 else scaled


def _checked(source: str, name: str, key: Key, value: Any) -> Option:
    """Demand the JSON type of the key and a number that is finite and not negative."""
    if key.kind == "level":
        return _level(source, name, value)
    if key.kind == "switch":
        if not isinstance(value, bool):
            _wrong(source, name, "true or false", value)
        return value
    if key.kind == "text":
        if not isinstance(value, str):
            _wrong(source, name, "a string", value)
        if key.words and value not in key.words:
            raise ConfigError(f"{name} in {source} must be one of {', '.join(key.words)}, not {value!r}")
        return value
    number = value
    if key.kind == "bytes" and isinstance(value, str) and value.isascii() and value.isdecimal():
        # Python refuses thousands of digits; so does `_wrong`, then.
        with contextlib.suppress(ValueError):
            number = int(value)
    allowed = (int, float) if key.kind == "number" else (int,)
    if isinstance(number, bool) or not isinstance(number, allowed):
        _wrong(source, name, "a number" if key.kind == "number" else "a whole number", value)
    if number < 0 or (isinstance(number, float) and not math.isfinite(number)):
        raise ConfigError(f"{name} in {source} must not be negative, got {value}")
    return number


def _proxy_of(source: str) -> Option:
    """Read again which proxy a file names."""
    found = load(source).options.get("proxy")
    if found is None:
        raise ConfigError(
            f"config file {source} names no network.proxy any more, but did when this object was made"
        )
    return found


def _level(source: str, name: str, value: Any) -> int:
    if isinstance(value, str) and value.upper() in _LEVEL_NAMES:
        return _LEVELS[_LEVEL_NAMES[value.upper()]]
    if isinstance(value, bool) or not isinstance(value, int):
        _wrong(source, name, "0, 1, 2, 3 or a level's name", value)
    if value < 0:
        raise ConfigError(f"{name} in {source} must not be negative, got {value}")
    return _LEVELS[min(value, len(_LEVELS) - 1)]


def _wrong(source: str, name: str, wanted: str, value: Any) -> NoReturn:
    raise ConfigError(f"{name} in {source} must be {wanted}, not {_json_type(value)}")


def _json_type(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _nearest(name: str) -> str | None:
    """Find the known key, or the object of keys, that looks like `name`, with or without its object."""
    known = {inner: name for name in reversed(KEYS) for inner in (name.rpartition(".")[2], name)}
    known.update({name: name for name in _OBJECTS})
    return next((known[like] for like in difflib.get_close_matches(name, known, n=1)), None)
