"""Counters: of this process, and of the DataLoader workers that it feeds.

A worker writes its counters into a small file of its own beside the dataset's index file, whole (`whole_file`), after
each batch or every fraction of a second. So the numbers survive the worker, and nobody waits for a queue. The next
worker of the same number takes the file of one that is gone over, so workers made anew for each epoch leave no more
files than live at once. All numbers here are raw (`measures`): the faces make of them what is shown.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from osstorchconnector import resources, whole_file
from osstorchconnector.measures import Stats, lasting, total

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

# A bar on a terminal looks alive at five updates a second, and what a process takes of its machine is looked at as
# often.
PUBLISH_SECONDS = 0.2

# A file that is taken while one looks was listed under its old name; more often than this, it is another's trouble.
_LOOKS = 8


class Counting(Protocol):
    """What counts, for as long as its owner lives."""

    def counted(self) -> Stats:
        """Return the raw numbers as they are now."""


class Duty:
    """Something to do now and then, by whoever passes by often: no thread waits for it.

    Args:
        seconds: at least so long between two times.
        action: what to do.
        at_once: whether the first time is now.
    """

    def __init__(self, seconds: float, action: Callable[[], None], *, at_once: bool) -> None:
        self._seconds = seconds
        self._action = action
        self._next = 0.0 if at_once else time.monotonic() + seconds

    def if_due(self) -> None:
        """Do it, unless it was done a moment ago."""
        if time.monotonic() >= self._next:
            self.now()

    def now(self) -> None:
        """Do it."""
        self._next = time.monotonic() + self._seconds
        self._action()


@dataclass
class _Own:
    """What Python counted in one process, and what it is.

    Attributes:
        sources: what counts there.
        ended: those of them whose owners are gone, and that are still to be moved to `gone`.
        gone: what those counted that are no longer among them.
        is_summing: numbers are being added up, and the three above stay as they are.
        is_worker: it is a DataLoader worker.
        first: number and counters of the first dataset that published here, and its file, which tells of the process.
        taken: what the process took of its machine when somebody looked last.
        look: looks again; more costly than all else that a worker does after each batch.
    """

    pid: int = field(default_factory=os.getpid)
    stats: Stats = field(default_factory=dict)
    sources: dict[Counting, None] = field(default_factory=dict)
    ended: list[Counting] = field(default_factory=list)
    gone: Stats = field(default_factory=dict)
    is_summing: bool = False
    is_worker: bool = False
    first: tuple[str, int, Stats] | None = None
    taken: Stats = field(default_factory=dict)
    look: Duty = field(init=False)

    def __post_init__(self) -> None:
        self.look = Duty(PUBLISH_SECONDS, self._look, at_once=True)

    def _look(self) -> None:
        self.taken = {**resources.taken()}


_own = [_Own()]


def _here() -> _Own:
    if _own[0].pid != os.getpid():
        # What the parent counted is the parent's.
        _own[0] = _Own()
    return _own[0]


def be_worker() -> None:
    """Say that this process is a DataLoader worker: the files of its siblings are their parent's to count."""
    _here().is_worker = True


def count(name: str, amount: float) -> None:
    """Raise a counter of this process; threads that meet here may lose one."""
    own = _here().stats
    own[name] = own.get(name, 0) + amount


def note(name: str, value: float) -> None:
    """Set a state of this process."""
    _here().stats[name] = value


def of_process() -> Stats:
    """Return what Python counted in this process, and what the process takes of its machine."""
    return {**_here().stats, **resources.taken()}


def register(source: Counting, owner: object) -> None:
    """Let `everything` count a source in this process; what it counted when its owner goes stays counted."""
    sources = _here().sources
    if source not in sources:
        sources[source] = None
        weakref.finalize(owner, _end, source).atexit = False


def everything(process_stats: Stats) -> Stats:
    """Add what all sources of this process count, and counted, to its own counters."""
    with _summing() as own:
        return total([process_stats, own.gone, *(source.counted() for source in tuple(own.sources))])


def _end(source: Counting) -> None:
    """Remember a source whose owner goes, in whichever thread, and amidst whatever, that happens."""
    _here().ended.append(source)
    # Whoever sums up moves it in the end.
    with _summing():
        pass


@contextlib.contextmanager
def _summing() -> Iterator[_Own]:
    """Keep the sources as they are; then move those that ended. Within another sum of the same thread, that one does."""
    with _turn[0]:
        own = _here()
        if own.is_summing:
            yield own
            return
        own.is_summing = True
        try:
            yield own
            while own.ended:
                _move(own, own.ended.pop())
        finally:
            own.is_summing = False


def _move(own: _Own, source: Counting) -> None:
    # A forked child does not know what its parent counted.
    if source in own.sources:
        gone = total([own.gone, lasting(source.counted())])
        del own.sources[source]
        own.gone = gone


class WorkerFiles:
    """The counters that workers in other processes wrote, and that stay counted when the workers are gone.

    Args:
        find: lists the files.
        is_owner: whether this process may remove the files of workers that are gone.
    """

    def __init__(self, find: Callable[[], Iterable[Path]], is_owner: Callable[[], bool]) -> None:
        self._find = find
        self._is_owner = is_owner
        self._gone: dict[int, Stats] = {}

    def read(self) -> dict[int, Stats]:
        """Return the counters by the workers' numbers; none in a worker, to which all of them are siblings."""
        if _here().is_worker:
            return {}
        # Two threads that both move counters from a file into memory would miss a worker, or count one twice.
        with _turn[0]:
            return self._collected()

    def counted(self) -> Stats:
        """Return the counters of all workers as one."""
        return total(self.read().values())

    def _collected(self) -> dict[int, Stats]:
        for _ in range(_LOOKS):
            found, is_whole = self._look()
            if is_whole:
                break
        return found

    def _look(self) -> tuple[dict[int, Stats], bool]:
        """Return what was found, and whether no file went away meanwhile."""
        found: dict[int, Stats] = {}
        is_whole = True
        for file in self._find():
            pid = _pid_of(file)
            if pid == os.getpid():
                continue
            is_gone = not _is_alive(pid)
            if is_gone and self._is_owner():
                # A long job has many workers: what they counted is kept, their files are not.
                is_whole &= self._keep(file)
                continue
            read = _read(file)
            if read is None:
                is_whole = False
                continue
            number, stats = read
            if not stats:
                continue
            found[number] = total([found.get(number, {}), lasting(stats) if is_gone else stats])
        for number, stats in self._gone.items():
            found[number] = total([stats, found.get(number, {})])
        return found, is_whole

    def _keep(self, file: Path) -> bool:
        """Move the counters of a worker that is gone into memory; False if another was quicker."""
        taken = file.with_name(f"{file.name}.taken")
        try:
            # A worker that takes the file over renames it too: one of the two has it, never both.
            file.rename(taken)
        except OSError:
            return False
        number, stats = _read(taken) or (0, {})
        if stats:
            self._gone[number] = total([self._gone.get(number, {}), lasting(stats)])
        taken.unlink(missing_ok=True)
        return True


def take_over(files: Iterable[Path], path: str, worker_id: int) -> Stats:
    """Make the file of a worker of this number that is gone this process's own; return what it counted.

    Nothing is counted twice or lost on the way: it is one rename, which one process alone can do.

    Args:
        files: those of the dataset's workers.
        path: the own one, which is not there yet.
        worker_id: the number of this worker.
    """
    for file in files:
        if _is_alive(_pid_of(file)):
            continue
        number, stats = _read(file) or (None, {})
        if number == worker_id and _renamed(file, path):
            # What the other process took of the machine is not this one's.
            publish(path, worker_id, lasting(stats))
            return lasting(stats)
    return {}


def _renamed(file: Path, path: str) -> bool:
    try:
        file.rename(path)
    except OSError:
        # Another took it: a second dataset's worker, or the owner, who counts it from now on.
        return False
    return True


def _pid_of(file: Path) -> int:
    return int(file.name.rpartition(".stats")[0].rpartition(".")[2].partition("-")[0])


# Whose turn it is to read. A handler of signals may come upon a read of its own thread; a forked child is born without
# the thread that may hold its parent's.
_turn = [threading.RLock()]
os.register_at_fork(after_in_child=lambda: _turn.__setitem__(0, threading.RLock()))


def publish(path: str, worker_id: int, stats: Stats) -> None:
    """Write one worker's counters, whole; a disk that is full costs the numbers, not the data.

    Args:
        path: beside the index file, ending in an `own_suffix()`.
        worker_id: its number in its DataLoader.
        stats: what it counted.
    """
    with contextlib.suppress(OSError):
        whole_file.write(path, {"worker": worker_id, "stats": stats})


def publish_own(path: str, worker_id: int, stats: Stats) -> None:
    """Write what one dataset counted in this process, as `publish` does, and what the process counted besides.

    That is in the file of the first dataset alone, and kept up to date by all of them: a worker that reads several
    datasets is one process.
    """
    own = _here()
    if own.first is None or own.first[0] == path:
        own.first = path, worker_id, stats
    else:
        publish(path, worker_id, stats)
    first, number, counted = own.first
    own.look.if_due()
    publish(first, number, total([counted, own.stats, own.taken]))


def own_suffix() -> str:
    """Name this process's file; process numbers come back, so the moment is part of the name."""
    return f"{os.getpid()}-{time.time_ns():x}.stats"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _read(file: Path) -> tuple[int, Stats] | None:
    """Return a worker's number and counters, nothing of a file that is broken; None if there is no file."""
    try:
        document: Any = whole_file.read(file)
        stats: Stats = document["stats"]
        return int(document["worker"]), stats
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return 0, {}
