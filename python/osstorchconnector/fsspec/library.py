"""What is used of fsspec; without it, one line that names the extra."""

from __future__ import annotations

try:
    from fsspec.callbacks import DEFAULT_CALLBACK, Callback
    from fsspec.compression import compr as compressors
    from fsspec.core import get_compression
    from fsspec.spec import AbstractFileSystem
    from fsspec.utils import isfilelike, other_paths
except ModuleNotFoundError as missing:
    raise ImportError(
        "osstorchconnector.fsspec needs fsspec: pip install 'osstorchconnector[fsspec]'"
    ) from missing

__all__ = [
    "DEFAULT_CALLBACK",
    "AbstractFileSystem",
    "Callback",
    "compressors",
    "get_compression",
    "isfilelike",
    "other_paths",
]
