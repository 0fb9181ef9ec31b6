"""One safetensors object: its header, and bytes of its tensors on request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from osstorchconnector.errors import ClosedError
from osstorchconnector.safetensors import header, memory
from osstorchconnector.safetensors.runs import RunQueue, runs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from osstorchconnector.safetensors.header import TensorInfo
    from osstorchconnector.safetensors.runs import Run
    from osstorchconnector.streams import ObjectReader

# What is read at first: the headers of most models fit, and small files altogether.
HEAD_BYTES = 128 * 1024
# Ranges handed over at once, and bytes with holes held at once, when a slice is gathered.
_RANGES_AT_ONCE = 16 * 1024
_HELD_BYTES = 64 * 1024 * 1024


class TensorFile:
    """Reads one version of one object; threads may share it.

    Args:
        reader: it is closed by `close`, also when the header is refused.

    Raises:
        FormatError: the header is not true.
    """

    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader
        self.uri = reader.uri
        try:
            size_bytes = reader.size
            self._head = bytearray(min(HEAD_BYTES, size_bytes))
            self._reader.readinto_ranges([(0, self._head)])
            self.header = header.parse(self._header_bytes(size_bytes), size_bytes, self.uri)
        except BaseException:
            reader.close()
            raise

    def names_by_offset(self, names: Iterable[str]) -> list[str]:
        """Sort names of tensors by where their bytes are."""
        tensors = self.header.tensors
        return sorted(names, key=lambda name: (tensors[name].begin, tensors[name].end))

    def form(self, name: str) -> tuple[torch.dtype, tuple[int, ...]]:
        """Return dtype and shape in torch."""
        return memory.torch_form(self.header.tensors[name], name, self.uri)

    def load(self, names: Sequence[str], device: torch.device) -> dict[str, torch.Tensor]:
        """Read whole tensors, in this order."""
        forms = [self.form(name) for name in names]
        made = [torch.empty(shape, dtype=dtype, device=device) for dtype, shape in forms]
        landings = [
            (self.header.tensors[name].begin, memory.octets(tensor))
            for name, tensor in zip(names, made, strict=True)
            if tensor.numel()
        ]
        if landings:
            memory.deliver(self.fill, landings, device)
        return dict(zip(names, made, strict=True))

    def load_slice(self, name: str, index: Any, device: torch.device) -> torch.Tensor:
        """Read what an index of integers, slices, `...` and None selects of a tensor, and no more.

        Raises:
            IndexError, ValueError, TypeError: those of torch, for an index that the shape does not have.
        """
        dtype, shape = self.form(name)
        # A tensor without data: torch itself says which elements the index means.
        view = torch.empty(shape, dtype=dtype, device="meta")[index]
        part = torch.empty(view.shape, dtype=dtype, device=device)
        if part.numel():
            info = self.header.tensors[name]
            wanted = RunQueue(
                runs(int(view.storage_offset()), view.shape, view.stride(), view.element_size())
            )

            def fill(ranges: list[tuple[int, Any]]) -> None:
                # The bytes of one tensor are asked for in their order, whatever they pass through.
                for _, target in ranges:
                    self._gather(info, wanted.take(target.nbytes), torch.from_numpy(target))

            memory.deliver(fill, [(0, memory.octets(part))], device)
        return part

    def fill(self, ranges: list[tuple[int, Any]]) -> None:
        """Fill memory from offsets of the object; what came with the header is not asked for again.

        Raises:
            ClosedError: it was closed.
        """
        if self._reader.closed:
            raise ClosedError(
                f"get_tensor {self.uri}: it was closed; open it again", operation="get_tensor", uri=self.uri
            )
        wanted = []
        for offset, target in ranges:
            view = memoryview(target)
            known = min(max(len(self._head) - offset, 0), view.nbytes)
            if known:
                view[:known] = self._head[offset : offset + known]
            if known < view.nbytes:
                wanted.append((offset + known, view[known:]))
        if wanted:
            self._reader.readinto_ranges(wanted)

    def close(self) -> None:
        """Give everything back; a second call does nothing."""
        self._reader.close()

    def _header_bytes(self, size_bytes: int) -> bytes:
        begin = header.LENGTH_BYTES
        count = header.header_size(bytes(self._head[:begin]), size_bytes, self.uri)
        rest = bytearray(max(begin + count - len(self._head), 0))
        if rest:
            self._reader.readinto_ranges([(len(self._head), rest)])
        return bytes(self._head[begin : begin + count]) + rest

    def _gather(self, info: TensorInfo, wanted: Iterable[Run], target: torch.Tensor) -> None:
        """Read runs one behind the other into `target`."""
        bytes_of_target = memory.memory_of(target)
        ranges: list[tuple[int, Any]] = []
        holed: list[tuple[torch.Tensor, torch.Tensor]] = []
        at = held = 0
        for run in wanted:
            end = at + run.wanted_bytes
            if run.blocks == 1:
                ranges.append((info.begin + run.offset, bytes_of_target[at:end]))
            else:
                # As many blocks as pitches, so that it can be seen as rows; the last hole stays unread.
                stretch = torch.empty(run.blocks, run.pitch_bytes, dtype=torch.uint8, device="cpu")
                ranges.append((info.begin + run.offset, memory.memory_of(stretch.view(-1)[: run.span_bytes])))
                holed.append((target[at:end].view(run.blocks, -1), stretch[:, : run.block_bytes]))
                held += run.span_bytes
            at = end
            if len(ranges) >= _RANGES_AT_ONCE or held >= _HELD_BYTES:
                self._fill_and_pick(ranges, holed)
                ranges, holed, held = [], [], 0
        self._fill_and_pick(ranges, holed)

    def _fill_and_pick(
        self, ranges: list[tuple[int, Any]], holed: list[tuple[torch.Tensor, torch.Tensor]]
    ) -> None:
        self.fill(ranges)
        for target, source in holed:
            target.copy_(source)
