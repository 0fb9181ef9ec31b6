"""The object index of a dataset: which objects, in which order; one file per dataset and node.

The file is written once, by whichever process comes first (the native side locks and renames), and mapped by all the
others. It lies in a private directory, `<temporary directory>/osstorchconnector-<uid>`. Its name carries the machine,
the process and a random token drawn when the dataset is made; pickles carry the name. The process that made the
dataset removes the file: when the dataset goes, or at exit if the dataset was ever pickled. What a killed process
left is removed by the next one that builds an index.
"""

from __future__ import annotations

import functools
import hashlib
import os
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osstorchconnector.errors import ConfigError
from osstorchconnector.private_files import Lease, new_lease, own_name, private_directory, remove_stale

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from osstorchconnector.store import Row, RowIndex

# After this long, building an index is worth a line in the log.
_LONG_SECONDS = 5


class MemoryIndex:
    """Rows in memory, for local-directory mode."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = list(rows)

    def __len__(self) -> int:
        """Count the rows."""
        return len(self._rows)

    def row(self, position: int) -> Row:
        """Return one row."""
        return self._rows[position]

    def names(self, position: int) -> tuple[str, str]:
        """Return path and label of one row."""
        path, _, _, label = self._rows[position]
        return path, label

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash all rows in their order."""
        digest = hashlib.blake2b(digest_size=8)
        for row in self._rows:
            digest.update(repr(row).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def pack(self) -> bytes:
        """Refuse: files of a directory are listed faster than they are sent.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "local-directory mode has no index file to save or share; list the directory instead"
        )


class IndexFile:
    """The name of one dataset's index file, and who removes it."""

    def __init__(self) -> None:
        self.name = own_name()
        self._directory: str | None = None
        self._lease: Lease | None = new_lease(self.name)
        weakref.finalize(self, self._lease.dataset_gone).atexit = False

    @property
    def directory(self) -> str:
        """The private directory; made on first use."""
        if self._directory is None or not os.path.isdir(self._directory):
            self._directory = private_directory()
            remove_stale(self._directory)
        if self._lease is not None:
            self._lease.directory = self._directory
        return self._directory

    @property
    def path(self) -> str:
        """The index file, which may not be there yet."""
        return os.path.join(self.directory, f"{self.name}.index")

    @property
    def is_built(self) -> bool:
        """Whether the file is there."""
        return os.path.exists(self.path)

    def age_seconds(self) -> float | None:
        """Say how long ago the file was made; None if it is not there."""
        try:
            return max(0.0, time.time() - os.path.getmtime(self.path))
        except FileNotFoundError:
            return None

    def take(self, other: str) -> None:
        """Take another process's index file of this machine as one's own: one file on disk, and in memory."""
        Path(self.path).unlink(missing_ok=True)
        os.link(other, self.path)

    def beside(self, suffix: str) -> str:
        """Name a file that goes when the index file goes."""
        return os.path.join(self.directory, f"{self.name}.{suffix}")

    def stats_files(self) -> list[Path]:
        """Find the files in which workers count."""
        return sorted(Path(self.directory).glob(f"{self.name}.*.stats"))

    def is_owned(self) -> bool:
        """Whether this process removes the files."""
        return self._lease is not None and self._lease.owner == os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        """Carry the name, and keep the file until this process exits: the pickle may come back any time."""
        if self._lease is not None:
            self._lease.until_exit = True
        return {"name": self.name, "_directory": self._directory, "_lease": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over the name; the owner stays who it is."""
        self.__dict__.update(state)


def build_announced(name: str, build: Callable[[], RowIndex], announce: Callable[[str], None]) -> RowIndex:
    """Build or open an index, and say so when it took long."""
    started = time.monotonic()
    index = build()
    took = time.monotonic() - started
    if took > _LONG_SECONDS:
        announce(
            f"the index of {name} has {len(index)} objects and took {took:.1f} s; later epochs re-use it"
        )
    return index
