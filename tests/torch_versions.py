"""What an older torch lacks: tests of it are skipped there, and say which torch they need."""

from __future__ import annotations

import pytest
import torch

# The first with the storage interface that the checkpoints build on; `pyproject.toml` asks for 2.0.
CHECKPOINTS = (2, 3)
# The first with FSDP2 and DTensor under their public names.
SHARDED = (2, 6)

THIS = tuple(int(part) for part in torch.__version__.split(".")[:2])


def need_torch(version, what):
    """Skip the test, or the module that is being imported, under an older torch."""
    if version > THIS:
        reason = f"{what} need torch {version[0]}.{version[1]}, this is {torch.__version__}"
        pytest.skip(reason, allow_module_level=True)


def need_checkpoints():
    need_torch(CHECKPOINTS, "distributed checkpoints")
