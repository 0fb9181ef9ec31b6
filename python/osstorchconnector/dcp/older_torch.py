"""What an older torch lacks, in one place.

Extensions of streams before 2.7, safe looks at a pickle before 2.6, and settings that hold on one thread.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import io
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.torch_version import TorchVersion

from osstorchconnector.errors import ConfigError, FormatError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from _typeshed import ReadableBuffer

# The first in which `torch.load(weights_only=True)` runs no code of a stranger's.
_SAFE = "2.6"
_UPGRADE = f"pip install --upgrade 'torch>={_SAFE}'"
# How what `torch.save` writes begins.
_ZIP = b"PK\x03\x04"


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


def without_crc32() -> AbstractContextManager[object]:
    """Let `torch.save` compute no CRC-32 on this thread.

    It takes half of the thread's time, and torch compares it with nothing; what we store has a CRC-64. Where settings
    hold on all threads it is computed: other savings must not go without because of ours.
    """
    if not _settings_hold_on_one_thread():
        return contextlib.nullcontext()
    return _without_crc32()


def _without_crc32() -> AbstractContextManager[object]:
    from torch.utils.serialization import config

    settings: Any = config
    patched: AbstractContextManager[object] = settings.patch("save.compute_crc32", False)
    return patched


@functools.cache
def _settings_hold_on_one_thread() -> bool:
    asked = getattr(torch.serialization, "get_crc32_options", None)
    if asked is None:
        return False
    try:
        with _without_crc32():
            # Torch keeps them in a context, of which each thread has its own.
            return bool(contextvars.Context().run(asked))
    except (ImportError, AttributeError):
        return False


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
    """Let `torch.load(weights_only=True)` make these classes within the block."""
    if not classes:
        return contextlib.nullcontext()
    allowed: AbstractContextManager[Any] = torch.serialization.safe_globals(list(classes))
    return allowed


def is_fooled() -> bool:
    """Say whether this torch may run a stranger's code in spite of `weights_only=True` (CVE-2025-32434)."""
    return TorchVersion(torch.__version__) < _SAFE


def refuse_weights_only() -> None:
    """Make sure that `weights_only=True` keeps its word.

    Raises:
        ConfigError: in this torch it does not.
    """
    if is_fooled():
        raise ConfigError(
            f"weights_only=True protects from torch {_SAFE} on, this is {torch.__version__} (CVE-2025-32434): "
            f"{_UPGRADE}, or pass weights_only=False if you trust whoever wrote the checkpoint"
        )


def refuse_older_format(stream: Any, uri: str) -> None:
    """Make sure that a tensor's bytes do not lead a torch that can be fooled where it can: to its formats before 1.6.

    Raises:
        FormatError: they do.
    """
    if is_fooled():
        at = stream.tell()
        begins = stream.read(len(_ZIP))
        stream.seek(at)
        if begins != _ZIP:
            raise FormatError(
                f"load {uri}: a tensor is stored as torch before 1.6 did, and torch {torch.__version__} may run code "
                f"that hides there (CVE-2025-32434): {_UPGRADE}",
                operation="load",
                uri=uri,
            )
