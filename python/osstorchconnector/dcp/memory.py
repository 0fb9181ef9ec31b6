"""Where tensors lie in this host's memory: their bytes, and which of them lie in one another's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable


def octets(tensor: torch.Tensor) -> memoryview:
    """Return the elements of a contiguous tensor as bytes."""
    elements: Any = tensor.view(-1).view(torch.uint8).numpy()
    return memoryview(elements)


def extent(tensor: torch.Tensor) -> tuple[int, int]:
    """Return the half-open interval of addresses from the first element to the last, gaps of a view included.

    Empty for what has no elements, and for what is not plain memory of this host.
    """
    if type(tensor) is not torch.Tensor or tensor.device.type != "cpu" or tensor.layout != torch.strided:
        return 0, 0
    if not tensor.numel():
        return 0, 0
    steps = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    start = tensor.data_ptr()
    return start, start + (steps + 1) * tensor.element_size()


def tensors(value: Any) -> list[torch.Tensor]:
    """Collect the tensors of nested dicts, lists and tuples."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return []
    return [tensor for part in value for tensor in tensors(part)]


def sharing(extents: Iterable[tuple[tuple[int, int], int]]) -> set[int]:
    """Return the names of the intervals that overlap the interval of another name.

    Args:
        extents: intervals, and a name for each; one name may have several.
    """
    found: set[int] = set()
    furthest, holder = 0, -1
    # In this order an interval that overlaps any before it overlaps the one that reaches furthest.
    for (start, end), name in sorted(extents):
        if start == end:
            continue
        if start < furthest and name != holder:
            found |= {name, holder}
        if end > furthest:
            furthest, holder = end, name
    return found
