"""The number of the epoch, a state to go on from, and what happens once in a job, told to DataLoader workers.

A worker that lives over epochs holds a copy of the dataset that its parent no longer reaches. So the parent writes them
into small files of the private directory, and a worker reads these when an iteration begins. A file's name carries the
parent, not the dataset alone: a dataset that was pickled into many ranks has an epoch in each of them. And it carries a
token that each copy draws anew: copies in one process have an epoch each.
"""

from __future__ import annotations

import json
import os
import secrets
import weakref
from pathlib import Path
from typing import Any

from osstorchconnector.private_files import Lease, name_of, new_lease, private_directory

_BYTES = 8


class SharedEpoch:
    """The epoch that the user set in a process, as that process and its DataLoader workers see it."""

    def __init__(self) -> None:
        # Which process this object was unpickled in, and what the files of the one that pickled it begin with.
        self._arrived_in: int | None = None
        self._home = ""
        self._own: tuple[int, int] | None = None
        self._begin()

    def _begin(self) -> None:
        self._token = secrets.token_hex(8)
        self._lease: Lease | None = None
        # Workers write files of this process's name, whether or not it writes one.
        self._owned(self._name_in(os.getpid()))

    def set(self, epoch: int, *, is_worker: bool) -> None:
        """Set the epoch, for this process and its workers; in a worker for itself alone."""
        if is_worker:
            self._own = (os.getpid(), epoch)
            return
        descriptor = os.open(self._file("epoch", is_worker=False), os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(descriptor, epoch.to_bytes(_BYTES, "little"), 0)
        finally:
            os.close(descriptor)

    def get(self, *, is_worker: bool) -> int | None:
        """Return the epoch that was set; None if none was."""
        if is_worker and self._own is not None and self._own[0] == os.getpid():
            return self._own[1]
        try:
            said = Path(self._file("epoch", is_worker=is_worker)).read_bytes()
        except FileNotFoundError:
            return None
        # Between its making and its first epoch the file is empty.
        return int.from_bytes(said, "little") if len(said) == _BYTES else None

    def set_loaded(self, document: Any) -> None:
        """Tell the workers of this process of a state that was loaded, as what JSON knows; None takes it back."""
        file = Path(self._file("loaded", is_worker=False))
        if document is None:
            file.unlink(missing_ok=True)
            return
        # A worker that looks meanwhile finds the one before, or this one.
        new = Path(f"{file}.new")
        new.write_text(json.dumps(document), encoding="ascii")
        new.replace(file)

    def loaded(self) -> Any:
        """Return, in a worker, what its parent was told last; None if there is nothing.

        Raises:
            ValueError: it is damaged.
        """
        try:
            return json.loads(Path(self._file("loaded", is_worker=True)).read_text(encoding="ascii"))
        except FileNotFoundError:
            return None
        except RecursionError as deep:
            raise ValueError("its parts lie too deep") from deep

    def is_first(self, name: str, *, is_worker: bool) -> bool:
        """Say whether nobody asked this before: of a process and its workers, one hears True."""
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            os.close(os.open(self._file(name, is_worker=is_worker), flags, 0o600))
        except FileExistsError:
            return False
        return True

    def was_asked(self, start: str) -> bool:
        """Say whether a worker of this process asked for a name that begins so."""
        path = Path(self._file(start, is_worker=False))
        return any(path.parent.glob(f"{path.name}*"))

    def _file(self, suffix: str, *, is_worker: bool) -> str:
        name = self._parents_name() if is_worker else self._name_in(os.getpid())
        directory = private_directory()
        if not is_worker:
            self._owned(name).directory = directory
        return os.path.join(directory, f"{name}.{suffix}")

    def _parents_name(self) -> str:
        """Name the files of the process that feeds this worker: its parent, or under forkserver who pickled."""
        return self._home if self._arrived_in == os.getpid() else self._name_in(os.getppid())

    def _name_in(self, pid: int) -> str:
        return f"{name_of(pid)}-{self._token}"

    def _owned(self, name: str) -> Lease:
        """Take over the duty to remove this process's files."""
        if self._lease is None or self._lease.owner != os.getpid():
            self._lease = new_lease(name)
            weakref.finalize(self, self._lease.dataset_gone).atexit = False
        return self._lease

    def __getstate__(self) -> dict[str, Any]:
        """Carry who pickled it."""
        return {"_own": self._own, "_home": self._name_in(os.getpid())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Remember where it came to; it may be a copy beside the one that was pickled."""
        self.__dict__.update(state)
        self._arrived_in = os.getpid()
        self._begin()
