"""What an older torch lacks: tests of it are skipped there, and say which torch they need."""

from __future__ import annotations

import inspect

import pytest
import torch

# The oldest that the checkpoints were tried with, and that they ask for; `pyproject.toml` asks for 2.0.
CHECKPOINTS = (2, 4)
# The first with FSDP2 and DTensor under their public names.
SHARDED = (2, 6)

THIS = tuple(int(part) for part in torch.__version__.split(".")[:2])


def need_torch(version, what):
    """Skip the test, or the module that is being imported, under an older torch."""
    if version > THIS:
        reason = f"{what} need torch {version[0]}.{version[1]}, this is {torch.__version__}"
        pytest.skip(reason, allow_module_level=True)


def need_argument(function, name):
    """Skip the test where torch's function has no such argument."""
    if name not in inspect.signature(function).parameters:
        pytest.skip(f"torch {torch.__version__} has no {name}")


def need_checkpoints():
    need_torch(CHECKPOINTS, "distributed checkpoints")
