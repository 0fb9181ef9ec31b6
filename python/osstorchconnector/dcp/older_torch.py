"""What torch's checkpoints lack before torch 2.7, in one place: extensions of streams, which then are never used."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.checkpoint.filesystem import _StorageInfo

from osstorchconnector.errors import ConfigError, FormatError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from _typeshed import ReadableBuffer


class PlainStreams:
    """Stands for torch's extensions of streams where there are none."""

    def transform_save_stream(self, _item: Any, stream: io.RawIOBase) -> tuple[io.IOBase, list[str]]:
        """Return the stream as it is, but for its `close`, and no descriptors."""
        return _KeptOpen(stream), []

    def transform_load_stream(self, read: Any, descriptors: Sequence[str], stream: io.BytesIO) -> io.BytesIO:
        """Return the stream as it is.

        Raises:
            FormatError: it was saved through extensions.
        """
        if descriptors:
            raise FormatError(
                f"load {read.storage_index.fqn!r}: it was saved through the stream extensions {list(descriptors)}, "
                f"which torch {torch.__version__} does not have; load it with torch 2.7 or newer"
            )
        return stream


class _KeptOpen(io.RawIOBase):
    """An item's way into a stream that goes on with the next item."""

    def __init__(self, stream: io.RawIOBase) -> None:
        super().__init__()
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int | None:
        return self._stream.write(data)


def transforms(of: Any) -> Any:
    """Return the extensions of streams that a writer or reader was made with."""
    return getattr(of, "transforms", None) or PlainStreams()


def descriptors(info: _StorageInfo) -> Sequence[str]:
    """Return the extensions that an item was saved through."""
    return getattr(info, "transform_descriptors", None) or ()


def storage_info(name: str, offset: int, size_bytes: int, extensions: list[str]) -> _StorageInfo:
    """Say where an item lies, in torch's words."""
    told = {"transform_descriptors": extensions} if extensions else {}
    return _StorageInfo(name, offset, size_bytes, **told)


def refuse_other_formats(writer: Any) -> None:
    """Make sure that a writer writes what `torch.save` does.

    Raises:
        ConfigError: it was made with another `serialization_format`.
    """
    wanted = getattr(writer, "serialization_format", None)
    if wanted is not None and wanted.name != "TORCH_SAVE":
        raise ConfigError(
            "serialization_format must be TORCH_SAVE; OssSafetensor.save_file writes safetensors"
        )


def allowing(classes: Sequence[type]) -> AbstractContextManager[Any]:
    """Let `torch.load(weights_only=True)` make these classes within the block.

    Raises:
        ConfigError: torch cannot, before 2.5.
    """
    if not classes:
        return contextlib.nullcontext()
    safe_globals = getattr(torch.serialization, "safe_globals", None)
    if safe_globals is None:
        raise ConfigError(
            f"allow_classes with weights_only=True needs torch 2.5 or newer, this is {torch.__version__}; "
            "upgrade torch, or pass weights_only=False"
        )
    allowed: AbstractContextManager[Any] = safe_globals(list(classes))
    return allowed
