"""One listing for a job: rank 0 lists, every node receives the index once, the ranks of a node share its file.

All of it happens in the ranks' own processes, over the process group of torch, and never in a DataLoader's workers, which
cannot use it. A group of its own over gloo carries the bytes, so that no GPU is touched.
"""

from __future__ import annotations

import logging
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


def share_index(delivery: Delivery) -> None:
    """Give all ranks the index of rank 0; each rank must call this.

    Raises:
        OssError: rank 0 could not list, or a node could not keep the index; raised in every rank.
    """
    group = distributed.new_group(backend="gloo")
    try:
        _share(delivery, group)
    finally:
        distributed.destroy_process_group(group)


def _share(delivery: Delivery, group: Any) -> None:
    rank = distributed.get_rank()
    nodes: list[str] = _gathered(node(), group)
    leader = nodes.index(nodes[rank])
    leaders = sorted({nodes.index(one) for one in nodes})
    listed, failure = (
        _attempt(lambda: _listed(delivery, pack=len(leaders) > 1)) if rank == 0 else (None, None)
    )
    _raise_any(_gathered(failure, group))
    packed = _carried(listed or b"", leaders) if len(leaders) > 1 else b""
    if rank == leader != 0:
        _, failure = _attempt(lambda: delivery.take_packed(packed))
    _raise_any(_gathered(failure, group))
    paths = _gathered(delivery.index_path, group)
    fingerprint, failure = _attempt(lambda: _opened(delivery, None if rank == leader else paths[leader]))
    _raise_any(_gathered(failure, group))
    prints = set(_gathered(fingerprint, group))
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
    """Send the packed index from rank 0 to one rank of each node: once a node, along gloo's tree."""
    few = distributed.new_group(list(leaders), backend="gloo")
    rank = distributed.get_rank()
    if rank not in leaders:
        return b""
    try:
        # On the CPU, whatever the user made the default: gloo carries nothing else.
        size = torch.tensor([len(packed)], device="cpu")
        distributed.broadcast(size, 0, group=few)
        data = (
            torch.frombuffer(bytearray(packed), dtype=torch.uint8)
            if rank == 0
            else torch.empty(int(size.item()), dtype=torch.uint8, device="cpu")
        )
        distributed.broadcast(data, 0, group=few)
        if rank == 0:
            _log.info("sent the index of %d bytes to %d nodes", len(packed), len(leaders) - 1)
        return data.numpy().tobytes()
    finally:
        distributed.destroy_process_group(few)


def _gathered(value: Any, group: Any) -> list[Any]:
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value, group=group)
    return values


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
