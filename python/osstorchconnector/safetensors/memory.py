"""Tensors as memory: what type and shape they have in torch, their bytes in place, and the way to a GPU."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np
import torch

from osstorchconnector.errors import ConfigError, FormatError
from osstorchconnector.safetensors.dtypes import NAMES_BY_TORCH_NAME, PAIRED, TORCH_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from osstorchconnector.safetensors.header import TensorInfo

    # Where bytes come from: (offset in the object, memory to be filled), any number at once.
    Fill = Callable[[list[tuple[int, Any]]], None]

# Pinned memory for the way to a GPU is twice this: one stage is copied while the other is filled. It holds many
# parts of 4 MiB, so that the wire is seldom idle between two stages.
STAGE_BYTES = 64 * 1024 * 1024

_DTYPES: dict[str, torch.dtype] = {
    name: getattr(torch, torch_name)
    for name, torch_name in TORCH_NAMES.items()
    if isinstance(getattr(torch, torch_name, None), torch.dtype)
}


def usable_device(device: str | int | torch.device | None) -> torch.device:
    """Return a device on which tensors with data can be made; None is the CPU.

    Raises:
        ConfigError: torch knows none of that name, or cannot use it here.
    """
    try:
        found = torch.device("cpu" if device is None else device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError) as wrong:
        because = str(wrong).partition("\n")[0]
        raise ConfigError(f"device {device!r} cannot be used: {because}; pass another") from wrong
    if found.type == "meta":
        raise ConfigError(
            'device "meta" has tensors without data; pass another, or read get_slice(name).get_shape()'
        )
    return found


def torch_form(info: TensorInfo, name: str, uri: str) -> tuple[torch.dtype, tuple[int, ...]]:
    """Return dtype and shape of a tensor as torch has them.

    Raises:
        FormatError: torch has no such thing.
    """
    dtype = _DTYPES.get(info.dtype)
    if dtype is None:
        _refuse(uri, f"tensor {name!r} is {info.dtype}, which torch {torch.__version__} does not have")
    if info.dtype != PAIRED:
        return dtype, info.shape
    if info.shape[-1] % 2:
        _refuse(
            uri, f"tensor {name!r} is {PAIRED} of shape {list(info.shape)}; torch keeps its values in pairs"
        )
    return dtype, (*info.shape[:-1], info.shape[-1] // 2)


def header_form(tensor: torch.Tensor) -> tuple[str, tuple[int, ...]] | None:
    """Return dtype and shape of a tensor as a header has them; None if the format has no such dtype."""
    name = NAMES_BY_TORCH_NAME.get(str(tensor.dtype).removeprefix("torch."))
    if name != PAIRED:
        return None if name is None else (name, tuple(tensor.shape))
    return (name, (*tensor.shape[:-1], tensor.shape[-1] * 2)) if tensor.dim() else None


def octets(tensor: torch.Tensor) -> torch.Tensor:
    """Return the bytes of a contiguous tensor, in place, as a flat tensor."""
    return tensor.detach().reshape(-1).view(torch.uint8)


def memory_of(flat: torch.Tensor) -> Any:
    """Return the memory of a flat tensor of bytes on the CPU, to be filled or written."""
    return np.asarray(flat)


def deliver(fill: Fill, landings: Sequence[tuple[int, torch.Tensor]], device: torch.device) -> None:
    """Fill flat tensors of bytes, each from its offset in the object.

    On the CPU all are filled at once and in place; on the way to another device they pass through two stages.
    """
    if device.type == "cpu":
        fill([(offset, memory_of(target)) for offset, target in landings])
    else:
        deliver_staged(fill, landings, device)


def deliver_staged(
    fill: Fill,
    landings: Sequence[tuple[int, torch.Tensor]],
    device: torch.device,
    stage_bytes: int = STAGE_BYTES,
) -> None:
    """Fill flat tensors of bytes on a device through host memory, which is pinned for a GPU.

    While one stage is on its way to a GPU, the next one arrives.
    """
    size_bytes = min(stage_bytes, sum(target.numel() for _, target in landings))
    stages = [_Stage(device, size_bytes) for _ in range(2)]
    for stage, pieces in zip(itertools.cycle(stages), _in_stages(landings, stage_bytes), strict=False):
        stage.wait()
        stage.fill_and_send(fill, pieces)
    for stage in stages:
        stage.wait()


class _Piece(NamedTuple):
    """Bytes of one target: where they are in the object, and where they lie in a stage meanwhile."""

    offset: int
    begin: int
    end: int
    target: torch.Tensor


def _in_stages(landings: Sequence[tuple[int, torch.Tensor]], stage_bytes: int) -> Iterator[list[_Piece]]:
    """Cut and group targets, in their order, so that each group fills a stage."""
    pieces: list[_Piece] = []
    at = 0
    for offset, target in landings:
        done = 0
        while done < target.numel():
            taken = min(stage_bytes - at, target.numel() - done)
            pieces.append(_Piece(offset + done, at, at + taken, target[done : done + taken]))
            at, done = at + taken, done + taken
            if at == stage_bytes:
                yield pieces
                pieces, at = [], 0
    if pieces:
        yield pieces


class _Stage:
    """Host memory between the wire and a device."""

    def __init__(self, device: torch.device, size_bytes: int) -> None:
        self._is_gpu = device.type == "cuda"
        self._device = device
        self._memory = torch.empty(size_bytes, dtype=torch.uint8, device="cpu", pin_memory=self._is_gpu)
        # The copies run on the stream that the tensors are made and used on, so nothing there can overtake them.
        self._sent = torch.cuda.Event() if self._is_gpu else None  # type: ignore[no-untyped-call]

    def wait(self) -> None:
        """Wait until what was sent has left this memory; at once if nothing was."""
        if self._sent is not None:
            self._sent.synchronize()

    def fill_and_send(self, fill: Fill, pieces: Sequence[_Piece]) -> None:
        """Read the pieces, and start their way to the device."""
        memory = memory_of(self._memory)
        fill([(piece.offset, memory[piece.begin : piece.end]) for piece in pieces])
        for piece in pieces:
            piece.target.copy_(self._memory[piece.begin : piece.end], non_blocking=self._is_gpu)
        if self._sent is not None:
            self._sent.record(torch.cuda.current_stream(self._device))


def _refuse(uri: str, what: str) -> NoReturn:
    raise FormatError(
        f"get_tensor {uri}: {what}; load the other tensors by name", operation="get_tensor", uri=uri
    )
