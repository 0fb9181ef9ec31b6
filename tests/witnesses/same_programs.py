"""Programs that run unchanged with the original wheel and with ours, and what each one starts from.

A program is a function of the package and of where it is; what it returns or raises is its outcome. It uses only what
the original has. The modules `same_*` hold them by theme; importing this one imports no package.
"""

from __future__ import annotations

import importlib
import json
import os
from dataclasses import dataclass, field

BUCKET = "both-bucket"

# What programs read, unless they say otherwise.
FILES = {"data/a": b"first", "data/b": b"second\n\nline", "data/c": b"third"}

_THEMES = (
    "same_arguments",
    "same_clients",
    "same_datasets",
    "same_files",
    "same_saves",
    "same_streams",
    "same_tensors",
)
_programs = {}


@dataclass(frozen=True)
class Program:
    """One program and its surroundings.

    Attributes:
        run: the function of package and place.
        objects: what lies in the bucket.
        rules: how the service misbehaves.
        config: what the config file says beside the timers.
        needs_user_faults: whether the original's prefetching reader is in it.
    """

    run: object
    objects: dict = field(default_factory=dict)
    rules: tuple = ()
    config: dict = field(default_factory=dict)
    needs_user_faults: bool = False


def all_programs():
    """Load every theme; return the programs by their names."""
    for theme in _THEMES:
        importlib.import_module(theme)
    return _programs


def program(*, objects=None, rules=(), config=None, needs_user_faults=False):
    """Make a program of a function; its name is how the page calls it."""

    def add(run):
        assert run.__name__ not in _programs, run.__name__
        there = FILES if objects is None else objects
        _programs[run.__name__] = Program(run, there, tuple(rules), config or {}, needs_user_faults)
        return run

    return add


def short_programs(table, **surroundings):
    """Make a program of each entry of a dictionary of names and functions."""
    for name, run in table.items():
        run.__name__ = name
        program(**surroundings)(run)


@dataclass(frozen=True)
class Place:
    """Where a program is.

    Attributes:
        arguments: endpoint, region, credentials and config file, as users pass them.
        directory: an empty directory of its own.
        closed: an endpoint at which nobody listens.
    """

    arguments: dict
    directory: str
    closed: str

    def uri(self, key):
        return f"oss://{BUCKET}/{key}"

    def changed(self, **arguments):
        return {**self.arguments, **arguments}

    def file(self, name, content):
        path = os.path.join(self.directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content if isinstance(content, bytes) else json.dumps(content).encode())
        return path


_kept = []


def kept(made):
    """Keep a dataset or client until the program's process ends: the original may crash or hang when it frees one."""
    _kept.append(made)
    return made


def described(item):
    """Read a delivered object to its end; an empty description stands for None."""
    if item is None:
        return "None"
    return f"{os.path.basename(item.key)}:{item.read().decode()}"
