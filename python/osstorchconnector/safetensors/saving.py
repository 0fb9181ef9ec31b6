"""What is written for a dict of tensors, and everything that forbids it: decided before anything is sent."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import torch

from osstorchconnector.errors import ConfigError
from osstorchconnector.safetensors import header
from osstorchconnector.safetensors.memory import header_form, memory_of, octets

if TYPE_CHECKING:
    from collections.abc import Iterator


class Plan:
    """A file to be: its header, and its tensors in the order of their bytes.

    Args:
        tensors: by name; dense, contiguous, and none sharing memory with another.
        metadata: texts for the header.

    Raises:
        ConfigError: the format cannot hold them.
        TypeError: a name, or metadata, is not text.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None) -> None:
        _check_metadata(metadata)
        if not isinstance(tensors, Mapping):
            _refuse(f"tensors must be a dict of names and tensors, not {type(tensors).__name__}")
        entries = [_Entry(name, *_form(name, tensor), tensor) for name, tensor in tensors.items()]
        _refuse_sharing(entries)
        entries.sort(key=lambda entry: header.sort_key(entry.name, entry.dtype))
        self._tensors = [entry.tensor for entry in entries if entry.tensor.numel()]
        self._header = header.render([(entry.name, entry.dtype, entry.shape) for entry in entries], metadata)
        self.size_bytes = len(self._header) + sum(
            header.size_bytes(entry.dtype, entry.shape) for entry in entries
        )

    def pieces(self) -> Iterator[Any]:
        """Yield the file's bytes; those of a tensor on a GPU are copied to the host when their turn comes."""
        yield self._header
        for tensor in self._tensors:
            # Conjugated and negated views are a flag on another's bytes; here they become bytes.
            yield memory_of(octets(tensor.detach().cpu().resolve_conj().resolve_neg()))


class _Entry(NamedTuple):
    name: str
    dtype: str
    shape: tuple[int, ...]
    tensor: torch.Tensor


def _form(name: Any, tensor: Any) -> tuple[str, tuple[int, ...]]:
    """Check one tensor, and return dtype and shape for the header."""
    if not isinstance(name, str):
        raise TypeError(f"save_file: the name of a tensor must be a str, not {type(name).__name__}")
    if not _is_utf8(name) or name == header.METADATA_KEY:
        _refuse(f"a tensor cannot be named {name!r}; rename it")
    if not isinstance(tensor, torch.Tensor):
        _refuse(f"{name!r} must be a torch.Tensor, not {type(tensor).__name__}")
    if tensor.is_nested:
        _refuse(f"tensor {name!r} is nested; save each of its .unbind()")
    if type(tensor).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__:
        _refuse(
            f"tensor {name!r} is a {type(tensor).__name__}, which has no memory of its own; make a plain tensor of it (a DTensor: .full_tensor())"
        )
    if tensor.layout != torch.strided:
        _refuse(f"tensor {name!r} is sparse ({tensor.layout}); make it dense by .to_dense()")
    if tensor.device.type == "meta":
        _refuse(f'tensor {name!r} is on device "meta" and has no data; load it first')
    if not tensor.is_contiguous():
        _refuse(f"tensor {name!r} is not contiguous; pack it by .contiguous()")
    form = header_form(tensor)
    if form is None:
        _refuse(f"tensor {name!r} is {tensor.dtype}, which the format does not have; convert it")
    return form


def _check_metadata(metadata: Any) -> None:
    if metadata is None:
        return
    if not isinstance(metadata, Mapping):
        raise TypeError(f"save_file: metadata must be a dict of texts, not {type(metadata).__name__}")
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"save_file: metadata must map str to str, not {key!r} to {value!r}")
        if not _is_utf8(key) or not _is_utf8(value):
            _refuse(f"metadata {key!r} is no text: half a surrogate pair is in it")


def _refuse_sharing(entries: list[_Entry]) -> None:
    """Refuse tensors that overlap in memory: loaded again they would be apart, and twice as large."""
    storages: dict[tuple[torch.device, int, int], list[tuple[int, int, str]]] = {}
    for entry in entries:
        storage, begin = entry.tensor.untyped_storage(), entry.tensor.data_ptr()
        place = (entry.tensor.device, storage.data_ptr(), storage.nbytes())
        if storage.data_ptr() and storage.nbytes():
            end = begin + entry.tensor.numel() * entry.tensor.element_size()
            storages.setdefault(place, []).append((begin, end, entry.name))
    for areas in storages.values():
        areas.sort()
        for (_, end, before), (begin, _, name) in itertools.pairwise(areas):
            if begin < end:
                _refuse(f"tensors {before!r} and {name!r} share memory; save one of them, or a .clone()")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse(what: str) -> NoReturn:
    raise ConfigError(f"save_file: {what}. Nothing was sent")
