"""A model's state for the workloads that save and load one: the tensors of transformer blocks, large and small."""

from __future__ import annotations

import torch

WIDTH = 2048
# Bytes of one block's tensors: attention, feed-forward of four times the width, norms and biases, in float32.
BLOCK_SHAPES = {
    "attention.qkv.weight": (3 * WIDTH, WIDTH),
    "attention.qkv.bias": (3 * WIDTH,),
    "attention.out.weight": (WIDTH, WIDTH),
    "attention.out.bias": (WIDTH,),
    "norm_1.weight": (WIDTH,),
    "norm_1.bias": (WIDTH,),
    "feed_forward.up.weight": (4 * WIDTH, WIDTH),
    "feed_forward.up.bias": (4 * WIDTH,),
    "feed_forward.down.weight": (WIDTH, 4 * WIDTH),
    "feed_forward.down.bias": (WIDTH,),
    "norm_2.weight": (WIDTH,),
    "norm_2.bias": (WIDTH,),
}


def state(least_bytes: int) -> dict[str, torch.Tensor]:
    """Make as many blocks as `least_bytes` need, each tensor with a storage of its own."""
    tensors: dict[str, torch.Tensor] = {}
    made, block = 0, 0
    while made < least_bytes:
        for name, shape in BLOCK_SHAPES.items():
            tensor = torch.full(shape, float(block % 7))
            tensors[f"blocks.{block}.{name}"] = tensor
            made += tensor.nbytes
        block += 1
    return tensors


def size_bytes(tensors: dict[str, torch.Tensor]) -> int:
    """Sum up the bytes of all tensors."""
    return sum(tensor.nbytes for tensor in tensors.values())
