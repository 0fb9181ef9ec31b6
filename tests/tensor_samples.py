"""Tensors of every kind that the format has, a way to compare them bit by bit, and what travelled for them."""

from __future__ import annotations

import math
import time

import torch

PACKED = "float4_e2m1fn_x2"
DTYPES = [name for name in (
    "bool", "uint8", "int8", "int16", "uint16", "float16", "bfloat16", "int32", "uint32", "float32", "complex64",
    "float64", "int64", "uint64", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz",
    "float8_e8m0fnu", PACKED,
) if hasattr(torch, name)]  # fmt: skip


def sample(dtype, shape, seed=0):
    """Make a contiguous tensor of any bits."""
    kind = getattr(torch, dtype)
    size_bytes = math.prod(shape) * torch.empty((), dtype=kind, device="meta").element_size()
    generator = torch.Generator().manual_seed(seed)
    octets = torch.randint(
        0, 2 if dtype == "bool" else 256, (size_bytes,), dtype=torch.uint8, generator=generator
    )
    return octets.view(kind).view(shape)


def bits(tensor):
    """Dtype, shape and bytes; equal NaNs are equal."""
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return str(tensor.dtype), tuple(tensor.shape), flat.numpy().tobytes()


def same(found, expected):
    """Say whether two dicts have the same tensors in any order."""
    return {name: bits(tensor) for name, tensor in found.items()} == {
        name: bits(tensor) for name, tensor in expected.items()
    }


def received(site, key, wanted_bytes, before=0):
    """Return the bytes of the answers to GETs of `key`, the first `before` left aside.

    A request is in the journal when it comes, and what became of it a moment after its answer was sent: this looks until
    they are as many as wanted, 40 s at most.
    """
    end = time.monotonic() + 40
    while True:
        journal = site.oss.journal()
        answers = [
            entry for entry in journal if entry.get("operation") == "GetObject" and entry["key"] == key
        ]
        found = sum(entry["bytes_out"] for entry in answers[before:])
        if found >= wanted_bytes or time.monotonic() > end:
            return found
        site.oss.wait_for_journal(len(journal) + 1, timeout_seconds=0.05)
