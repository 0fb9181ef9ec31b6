"""One listing for a job: rank 0 lists, every node receives the index once, the ranks of a node share its file.

All of it happens in the ranks' own processes, over the process group of torch, and never in a DataLoader's workers, which
cannot use it. A group of its own over gloo carries the bytes, so that no GPU is touched.
"""

from __future__ import annotations

import logging
import pickle
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import distributed

from osstorchconnector.errors import ConfigError, OssError
from osstorchconnector.private_files import node

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from osstorchconnector.delivery import Delivery
    from osstorchconnector.ranks import Group

_log = logging.getLogger(__name__)

T = TypeVar("T")


def process_group() -> Group | None:
    """Return rank and world size of torch's process group, which a forked child knows as well."""
    if not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed.get_rank(), distributed.get_world_size()


class _Talk:
    """What ranks tell each other, over a gloo group of their own.

    Tensors that travelled are kept until the group is gone. An older torch frees a group with the GIL held, and waits
    for its threads; one of them that held the last reference to a tensor known to Python would wait for the GIL, for
    ever (seen with 2.0 and 2.4).
    """

    def __init__(self, ranks: Sequence[int] | None = None) -> None:
        self._group: Any = distributed.new_group(ranks, backend="gloo")
        self._kept: list[torch.Tensor] = []

    def gathered(self, value: Any) -> list[Any]:
        """Return what each rank gave."""
        data = pickle.dumps(value)
        sizes = self._gathered(torch.tensor([len(data)], device="cpu"))
        most = max(int(size.item()) for size in sizes)
        own = self._room(most)
        own.numpy()[: len(data)] = memoryview(data)
        return [pickle.loads(other.numpy().tobytes()) for other in self._gathered(own)]  # noqa: S301  (ranks of one job)

    def broadcast(self, data: bytes) -> bytes:
        """Give all ranks the bytes of rank 0, along gloo's tree."""
        is_first = distributed.get_rank() == 0
        # On the CPU, whatever the user made the default: gloo carries nothing else.
        size = torch.tensor([len(data)], device="cpu")
        self._kept.append(size)
        distributed.broadcast(size, 0, group=self._group)
        if is_first:
            carried = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            self._kept.append(carried)
        else:
            carried = self._room(int(size.item()))
        distributed.broadcast(carried, 0, group=self._group)
        return carried.numpy().tobytes()

    def end(self) -> None:
        """End the group and its threads."""
        distributed.destroy_process_group(self._group)
        self._group = None

    def _gathered(self, own: torch.Tensor) -> list[torch.Tensor]:
        others = [torch.empty_like(own, device="cpu") for _ in range(distributed.get_world_size())]
        self._kept += [own, *others]
        distributed.all_gather(others, own, group=self._group)
        return others

    def _room(self, size_bytes: int) -> torch.Tensor:
        self._kept.append(torch.zeros(size_bytes, dtype=torch.uint8, device="cpu"))
        return self._kept[-1]


def share_index(delivery: Delivery) -> None:
    """Give all ranks the index of rank 0; each rank must call this.

    Raises:
        OssError: rank 0 could not list, or a node could not keep the index; raised in every rank.
    """
    talk = _Talk()
    try:
        _share(delivery, talk)
    finally:
        talk.end()


def _share(delivery: Delivery, talk: _Talk) -> None:
    rank = distributed.get_rank()
    nodes: list[str] = talk.gathered(node())
    leader = nodes.index(nodes[rank])
    leaders = sorted({nodes.index(one) for one in nodes})
    listed, failure = (
        _attempt(lambda: _listed(delivery, pack=len(leaders) > 1)) if rank == 0 else (None, None)
    )
    _raise_any(talk.gathered(failure))
    packed = _carried(listed or b"", leaders) if len(leaders) > 1 else b""
    if rank == leader != 0:
        _, failure = _attempt(lambda: delivery.take_packed(packed))
    _raise_any(talk.gathered(failure))
    paths = talk.gathered(delivery.index_path)
    fingerprint, failure = _attempt(lambda: _opened(delivery, None if rank == leader else paths[leader]))
    _raise_any(talk.gathered(failure))
    prints = set(talk.gathered(fingerprint))
    assert len(prints) == 1, "every rank has the index of rank 0"


def _listed(delivery: Delivery, *, pack: bool) -> bytes:
    delivery.count()
    return delivery.packed() if pack else b""


def _opened(delivery: Delivery, path: str | None) -> str:
    """Open the index, the file of another rank if it is named, and return its fingerprint."""
    if path is not None:
        delivery.take_file(path)
    return delivery.fingerprint()


def _carried(packed: bytes, leaders: Sequence[int]) -> bytes:
    """Send the packed index from rank 0 to one rank of each node: once a node."""
    few, rank = _Talk(list(leaders)), distributed.get_rank()
    if rank not in leaders:
        return b""
    try:
        carried = few.broadcast(packed)
    finally:
        few.end()
    if rank == 0:
        _log.info("sent the index of %d bytes to %d nodes", len(packed), len(leaders) - 1)
    return carried


def _attempt(action: Callable[[], T]) -> tuple[T | None, OssError | None]:
    """Return what came of it, or what went wrong in a form that other processes can raise."""
    try:
        return action(), None
    except OssError as failure:
        return None, failure
    except Exception as failure:  # noqa: BLE001  (the other ranks wait: whatever it is, they must hear of it)
        rank = distributed.get_rank()
        text = f"rank {rank} could not prepare the index: {type(failure).__name__}: {failure}"
        return None, ConfigError(text)


def _raise_any(failures: Sequence[OssError | None]) -> None:
    for failure in failures:
        if failure is not None:
            raise failure
