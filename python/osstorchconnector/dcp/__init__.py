"""Torch's distributed checkpoints on OSS: `dcp.save`, `dcp.load` and `dcp.async_save` over the two engines.

A save draws an id, and every object it writes has that id in its name, so no save touches another's bytes. When all
ranks have written, the coordinator writes a manifest with the checksums, and then `.metadata` with one PutObject:
that is the moment in which the new checkpoint takes the place of the old one. A load reads `.metadata`, looks whether
every object named there is whole, and only then fills tensors. docs/checkpoints.md tells the rest.
"""

from __future__ import annotations

import torch
from torch.torch_version import TorchVersion

# The oldest that was tried. What it lacks stands in `older_torch`.
if TorchVersion(torch.__version__) < "2.4":
    raise ImportError(
        f"osstorchconnector.dcp needs torch 2.4 or newer, this is {torch.__version__}: pip install --upgrade torch"
    )

from osstorchconnector.dcp.filesystem import OssDCPFileSystem
from osstorchconnector.dcp.reader import OssStorageReader
from osstorchconnector.dcp.writer import OssStorageWriter

__all__ = ["OssDCPFileSystem", "OssStorageReader", "OssStorageWriter"]
