"""Bare `oss://` paths for every library that opens files through fsspec; see docs/bare-paths.md."""

from __future__ import annotations

from osstorchconnector.fsspec.files import ReadFile, WriteFile
from osstorchconnector.fsspec.filesystem import OssFileSystem

__all__ = ["OssFileSystem", "ReadFile", "WriteFile"]
