"""Datasets and checkpoints between PyTorch and Alibaba Cloud OSS.

The names resolve on first use: importing the package imports neither torch nor the native module, starts no thread
and reads no file or variable.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from osstorchconnector.checkpoint import OssCheckpoint as OssCheckpoint
    from osstorchconnector.client import OssClient as OssClient
    from osstorchconnector.data_object import DataObject as DataObject
    from osstorchconnector.data_object import new_data_object as new_data_object
    from osstorchconnector.dataset import OssIterableDataset as OssIterableDataset
    from osstorchconnector.dataset import OssMapDataset as OssMapDataset
    from osstorchconnector.dcp import OssDCPFileSystem as OssDCPFileSystem
    from osstorchconnector.dcp import OssStorageReader as OssStorageReader
    from osstorchconnector.dcp import OssStorageWriter as OssStorageWriter
    from osstorchconnector.manifest import imagenet_manifest_parser as imagenet_manifest_parser
    from osstorchconnector.safetensors import OssSafetensor as OssSafetensor

    __version__: str

_HOMES = {
    "DataObject": "data_object",
    "OssCheckpoint": "checkpoint",
    "OssClient": "client",
    "OssDCPFileSystem": "dcp",
    "OssIterableDataset": "dataset",
    "OssMapDataset": "dataset",
    "OssSafetensor": "safetensors",
    "OssStorageReader": "dcp",
    "OssStorageWriter": "dcp",
    "imagenet_manifest_parser": "manifest",
    "new_data_object": "data_object",
}
_TO_COME = {
    "generate_tar_archive": "tar archives",
}

# The contract's names that are there. A star import asks for each one, so those still to come join when they come.
__all__ = sorted(_HOMES)  # noqa: PLE0605  (literal names would be a second list to keep)


def stats() -> dict[str, int | float]:
    """Return the counters of this process and of its datasets' workers; names and units are in docs/stats.md."""
    from osstorchconnector.connection import raw_stats
    from osstorchconnector.measures import shown

    return shown(raw_stats())


def __getattr__(name: str) -> Any:
    """Import what a name stands for.

    Raises:
        ImportError: the name comes with a later release, or the library that it needs is not installed.
    """
    if name in _HOMES:
        return _imported(name)
    if name in _TO_COME:
        raise ImportError(f"osstorchconnector.{name} is not in this release: it comes with {_TO_COME[name]}")
    if name == "__version__":
        from importlib.metadata import version

        return version(__name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List what can be had."""
    return sorted([*_HOMES, "__version__", "errors", "stats"])


def _imported(name: str) -> Any:
    try:
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    except ModuleNotFoundError as missing:
        library = (missing.name or "").partition(".")[0]
        if library not in ("numpy", "torch"):
            raise
        extra = "safetensors" if _HOMES[name] == "safetensors" else "torch"
        raise ImportError(
            f"osstorchconnector.{name} needs {library}: pip install 'osstorchconnector[{extra}]'"
        ) from missing
    globals()[name] = value
    return value
