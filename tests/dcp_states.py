"""What the tests of distributed checkpoints share: small states, and saving and loading them in one process."""

from __future__ import annotations

import warnings

import torch
import torch.distributed.checkpoint as dcp

import osstorchconnector
from torch_versions import need_checkpoints

need_checkpoints()

PATH = "oss://bucket/run/step"


def state(value: float = 1.0):
    """Make a state of every kind of item: large and small, dense, transposed, empty, scalar, objects."""
    return {
        "large": torch.arange(40_000, dtype=torch.float32).reshape(200, 200) + value,
        "half": torch.full((300, 200), value, dtype=torch.bfloat16),
        "complex": torch.full((9000,), value, dtype=torch.complex64),
        "transposed": (torch.arange(40_000, dtype=torch.int64).reshape(100, 400) + int(value)).t(),
        "small": torch.full((3,), value, dtype=torch.float64),
        "scalar": torch.tensor(value),
        "empty": torch.empty(0, 3),
        "flags": torch.tensor([True, False]),
        "object": {"lr": value, "list": [1, "two", {"deep": torch.full((2,), value)}]},
    }


def blank():
    """Make a state of the same shapes to load into."""
    return _cleared(state(0.0))


def _cleared(value):
    if isinstance(value, torch.Tensor):
        return torch.zeros_like(value)
    if isinstance(value, dict):
        return {name: _cleared(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_cleared(part) for part in value]
    return type(value)()


def equal(left, right) -> bool:
    """Compare two states to the last bit."""
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(equal(left[name], right[name]) for name in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(equal, left, right))
    return left == right


def file_system(site) -> osstorchconnector.OssDCPFileSystem:
    """Make the file system of a test, with its bucket."""
    site.oss.put_object("bucket", "other/object", b"not a checkpoint")
    return osstorchconnector.OssDCPFileSystem(**site.arguments)


def save(fs, value=None, path=PATH, **options):
    """Save in this process alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return dcp.save(state(1.0) if value is None else value, storage_writer=fs.writer(path, **options))


def load(fs, into=None, path=PATH, **options):
    """Load in this process alone; return what was loaded."""
    into = blank() if into is None else into
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        dcp.load(into, storage_reader=fs.reader(path, **options))
    return into


def names(fs, path=PATH):
    """Name the objects below a checkpoint's path."""
    base = fs.init_path(path).removeprefix("oss:/") + "/"
    return [key.removeprefix(base) for key, *_ in fs.store().entries(base, None)]


def failure(raised):
    """Return the one error of a CheckpointException, and the rank that had it."""
    ((rank, (error, _)),) = raised.value.failures.items()
    return rank, error
