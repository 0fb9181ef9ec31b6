"""What `safe_open` gives: tensors by name, out of one object or of the shards of a checkpoint."""

from __future__ import annotations

import difflib
from numbers import Integral
from typing import TYPE_CHECKING, Any

from osstorchconnector.errors import ClosedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    import torch
    from typing_extensions import Self

    from osstorchconnector.safetensors.file import TensorFile

_NEAR_NAMES = 3


class OpenTensors:
    """An open safetensors object, or an open checkpoint of several; use it with `with`. Threads may share it.

    Args:
        files: the objects, one or the shards; closed by `close`.
        homes: the object that holds each tensor, in the order of `keys`.
        device: where tensors are made.
        uri: what was opened, for messages.
    """

    def __init__(
        self, files: Sequence[TensorFile], homes: Mapping[str, TensorFile], device: torch.device, uri: str
    ) -> None:
        self._homes = homes
        self._names: dict[TensorFile, list[str]] = {file: [] for file in files}
        for name, file in homes.items():
            self._names[file].append(name)
        for file, names in self._names.items():
            self._names[file] = file.names_by_offset(names)
        self._device = device
        self._uri = uri
        self._is_closed = False

    def keys(self) -> list[str]:
        """Return the names in the order of the header, or of the checkpoint's index."""
        self._refuse_if_closed("keys")
        return list(self._homes)

    def offset_keys(self) -> list[str]:
        """Return the names in the order of their bytes, one object after the other."""
        self._refuse_if_closed("offset_keys")
        return [name for names in self._names.values() for name in names]

    def metadata(self) -> dict[str, str]:
        """Return the texts that were saved with the tensors; of several objects, the first one's word counts."""
        self._refuse_if_closed("metadata")
        merged: dict[str, str] = {}
        for file in reversed(self._names):
            merged.update(file.header.metadata)
        return merged

    def get_tensor(self, name: str) -> torch.Tensor:
        """Read one tensor; only its bytes are asked for.

        Raises:
            KeyError: there is no such tensor; near names are given.
            FormatError: torch does not have its dtype.
        """
        return self._home(name, "get_tensor").load([name], self._device)[name]

    def get_slice(self, name: str) -> TensorSlice:
        """Return one tensor to be indexed; nothing is read before it is.

        Raises:
            KeyError: there is no such tensor; near names are given.
        """
        return TensorSlice(self._home(name, "get_slice"), name, self._device)

    def get_tensors(self) -> dict[str, torch.Tensor]:
        """Read all tensors, in the order of `offset_keys`; whole objects are verified against OSS's CRC-64.

        Raises:
            FormatError: torch does not have some dtype; nothing was read.
            IntegrityError: bytes were damaged on the way.
        """
        self._refuse_if_closed("get_tensors")
        for name, file in self._homes.items():
            file.form(name)
        return {
            name: tensor
            for file, names in self._names.items()
            for name, tensor in file.load(names, self._device).items()
        }

    def close(self) -> None:
        """Give everything back; a second call does nothing."""
        self._is_closed = True
        for file in self._names:
            file.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close, whatever happened."""
        self.close()

    def __repr__(self) -> str:
        """Name what was opened."""
        return f"<OpenTensors {self._uri}>"

    def _home(self, name: str, operation: str) -> TensorFile:
        self._refuse_if_closed(operation)
        try:
            return self._homes[name]
        except KeyError:
            near = difflib.get_close_matches(str(name), self._homes, _NEAR_NAMES)
            hint = f"near names: {', '.join(map(repr, near))}" if near else "keys() names them all"
            raise KeyError(f"{operation} {self._uri}: no tensor {name!r} in it; {hint}") from None

    def _refuse_if_closed(self, operation: str) -> None:
        if self._is_closed:
            raise ClosedError(
                f"{operation} {self._uri}: it was closed; open it again", operation=operation, uri=self._uri
            )


class TensorSlice:
    """A tensor that is read in part: `tensor_slice[2:4, ..., 0]`.

    An index of integers, slices, `...` and None reads the bytes it selects. Lists, masks and tensors as an index read
    the whole tensor.
    """

    def __init__(self, file: TensorFile, name: str, device: torch.device) -> None:
        self._file = file
        self._name = name
        self._device = device

    def get_shape(self) -> list[int]:
        """Return the shape of the whole tensor, as its header has it."""
        return list(self._file.header.tensors[self._name].shape)

    def get_dtype(self) -> str:
        """Return the dtype's name in the format, such as `BF16`."""
        return self._file.header.tensors[self._name].dtype

    def __repr__(self) -> str:
        """Name the tensor, its object and its shape; nothing is read."""
        return f"<TensorSlice {self._name!r} of {self._file.uri}: {self.get_dtype()} {self.get_shape()}>"

    def __getitem__(self, index: Any) -> torch.Tensor:
        """Read what the index selects, as torch would.

        Raises:
            IndexError, TypeError, ValueError: the index is none for this shape.
        """
        parts = index if isinstance(index, tuple) else (index,)
        for part in parts:
            if isinstance(part, str | bytes):
                raise TypeError(
                    f"get_slice({self._name!r})[{part!r}]: an index is made of integers and slices"
                )
        if all(_is_basic(part) for part in parts):
            return self._file.load_slice(self._name, index, self._device)
        whole: torch.Tensor = self._file.load([self._name], self._device)[self._name]
        return whole[index]


def _is_basic(part: Any) -> bool:
    """Say whether torch makes a view of it: an integer, a slice, `...` or None."""
    if part is None or part is ... or isinstance(part, slice):
        return True
    if isinstance(part, bool):
        return False
    # Arrays and tensors have `__index__` too, and shapes; numpy's integers have shapes as well.
    return isinstance(part, Integral) or (hasattr(part, "__index__") and not hasattr(part, "shape"))
