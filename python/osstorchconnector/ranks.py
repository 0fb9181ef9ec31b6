"""Which rank of how many this process is: from arguments, from a process group, or from the environment."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from osstorchconnector.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Group = tuple[int, int]

# In which variables schedulers number the processes they start, and count them: Slurm, Open MPI, and what uses PMI.
_SCHEDULERS = (
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
)


@dataclass(frozen=True)
class Ranks:
    """One rank of a job."""

    rank: int = 0
    world_size: int = 1


class RankSource:
    """Finds out the rank when it is needed; a picklable value.

    A process group is known where it was initialised and in what was forked there, but not in a process that was
    spawned: there the pickle tells. A rank that came from the environment is not carried, as a child has the same
    environment, or one that was set for it.

    Args:
        rank: the user's argument; with `world_size`, or neither.
        world_size: the user's argument.
        group: asks the process group of this process for (rank, world size); None without one.

    Raises:
        ConfigError: one was given without the other, or they make no sense.
    """

    def __init__(
        self,
        rank: int | None,
        world_size: int | None,
        group: Callable[[], Group | None],
    ) -> None:
        self._given: Ranks | None = None
        if (rank is None) != (world_size is None):
            lone, other = ("rank", "world_size") if world_size is None else ("world_size", "rank")
            raise ConfigError(f"{lone} is given without {other}; pass both, or neither to have them found")
        if rank is not None and world_size is not None:
            self._given = _checked(rank, world_size, "rank and world_size")
        self._group = group
        self._carried: Ranks | None = None

    @property
    def is_given(self) -> bool:
        """Whether the user's arguments tell it."""
        return self._given is not None

    def ranks(self, environ: Mapping[str, str]) -> Ranks:
        """Return rank and world size; 0 of 1 where nothing tells them.

        Raises:
            ConfigError: the environment has one of `WORLD_SIZE` and `RANK` alone, or those of a scheduler instead, or
            they make no sense.
        """
        if self._given is not None:
            return self._given
        group = self._group()
        if group is not None:
            return Ranks(*group)
        return self._carried or _of_environment(environ)

    def __getstate__(self) -> dict[str, object]:
        """Carry what a spawned process could not find out."""
        group = self._group()
        carried = Ranks(*group) if group is not None else self._carried
        return {**self.__dict__, "_carried": carried}


def job_size(environ: Mapping[str, str]) -> int:
    """Count the ranks of the job: of torch's process group, of the environment, or of a scheduler; 1 where none tells.

    torch is not imported for it: where it was not, there is no group.
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_world_size())
    counts = [count for process, count in _SCHEDULERS if process in environ]
    told = next((environ[name] for name in ["WORLD_SIZE", *counts] if name in environ), "1")
    try:
        return max(1, int(told))
    except ValueError:
        return 1


def _of_environment(environ: Mapping[str, str]) -> Ranks:
    rank, world_size = environ.get("RANK"), environ.get("WORLD_SIZE")
    if world_size is None:
        _refuse_half_told(rank, environ)
    if world_size is None or world_size == "1":
        return Ranks()
    if rank is None:
        raise ConfigError(
            f"the environment has WORLD_SIZE={world_size} and no RANK; set it, or pass rank= and world_size="
        )
    try:
        return _checked(int(rank), int(world_size), "RANK and WORLD_SIZE")
    except ValueError as wrong:
        if isinstance(wrong, ConfigError):
            raise
        raise ConfigError(
            f"RANK={rank} and WORLD_SIZE={world_size} of the environment are no numbers; correct them"
        ) from None


def _refuse_half_told(rank: str | None, environ: Mapping[str, str]) -> None:
    """Refuse to take one of many processes for the only one: it would read what all of them should share."""
    if rank is not None:
        raise ConfigError(
            f"the environment has RANK={rank} and no WORLD_SIZE; set it, or pass rank= and world_size="
        )
    for process, count in _SCHEDULERS:
        if process in environ and environ.get(count, "1") != "1":
            raise ConfigError(
                f"this is process {environ[process]} of {environ[count]} ({process}, {count}), and neither "
                "torch.distributed nor RANK and WORLD_SIZE tell its rank; call init_process_group first, or pass rank= "
                "and world_size="
            )


def _checked(rank: int, world_size: int, where: str) -> Ranks:
    if not 0 <= rank < world_size:
        raise ConfigError(f"{where} say rank {rank} of {world_size}; ranks count from 0")
    return Ranks(rank, world_size)
