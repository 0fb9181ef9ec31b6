"""Bytes of objects as `memoryview`s, those of torch storages included, which have no buffer protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import ReadableBuffer
    from typing_extensions import TypeIs


# Bytes of a strided buffer that are copied at once: little beside the window of a writer.
_COPIED_BYTES = 4 << 20


class HostStorage(Protocol):
    """What is asked of a storage: `torch.UntypedStorage`, and whatever is made like it."""

    @property
    def device(self) -> Any:
        """Where it is."""

    def data_ptr(self) -> int:
        """Return the address of its first byte."""

    def nbytes(self) -> int:
        """Return its size in bytes."""


def viewed(data: ReadableBuffer | HostStorage) -> memoryview:
    """Return a view of the memory of `data`; whoever asks keeps `data` alive as long as the view.

    Raises:
        TypeError: `data` has neither a buffer nor is it a storage.
        ValueError: it is the storage of another device.
    """
    if not _is_storage(data):
        return _buffer_of(data)
    device, size_bytes = str(data.device), data.nbytes()
    if device != "cpu":
        raise ValueError(f"a storage on {device} cannot be written; move it to the CPU first")
    if size_bytes == 0:
        return memoryview(b"")
    import ctypes

    octets = (ctypes.c_ubyte * size_bytes).from_address(data.data_ptr())
    return memoryview(octets).cast("B").toreadonly()


def copied(view: memoryview) -> Iterator[bytes]:
    """Copy a buffer that is not contiguous, in C order: some megabytes at a time, a row of its first dimension at least."""
    rows = len(view)
    step = max(1, _COPIED_BYTES * rows // view.nbytes)
    for first in range(0, rows, step):
        with view[first : first + step] as piece:
            yield piece.tobytes()


def _buffer_of(data: ReadableBuffer) -> memoryview:
    try:
        view = memoryview(data)
    except TypeError as refused:
        raise TypeError(
            f"bytes or another buffer are needed, not {type(data).__name__}{_instead_of(data)}"
        ) from refused
    if "O" in view.format:
        view.release()
        raise TypeError(f"this {type(data).__name__} holds Python objects, not bytes; pickle it")
    return view


def _instead_of(data: object) -> str:
    """Say what to write instead."""
    if isinstance(data, str):
        return "; encode it, or wrap the writer in io.TextIOWrapper"
    if callable(getattr(data, "untyped_storage", None)):
        return "; write its .untyped_storage(), or use torch.save"
    return ""


def _is_storage(data: ReadableBuffer | HostStorage) -> TypeIs[HostStorage]:
    return callable(getattr(data, "nbytes", None)) and callable(getattr(data, "data_ptr", None))
