"""The head that makes a safetensors file of any bytes: the shapes of a language model's layers."""

from __future__ import annotations

import json

HIDDEN = 2048
LAYER = {
    "input_layernorm.weight": [HIDDEN],
    "mlp.down_proj.weight": [HIDDEN, 4 * HIDDEN],
    "mlp.gate_proj.weight": [4 * HIDDEN, HIDDEN],
    "mlp.up_proj.weight": [4 * HIDDEN, HIDDEN],
    "post_attention_layernorm.weight": [HIDDEN],
    "self_attn.k_proj.weight": [HIDDEN // 4, HIDDEN],
    "self_attn.o_proj.weight": [HIDDEN, HIDDEN],
    "self_attn.q_proj.weight": [HIDDEN, HIDDEN],
    "self_attn.v_proj.weight": [HIDDEN // 4, HIDDEN],
}
# The header is filled up with blanks to this, so that its length does not depend on what it says.
HEAD_BYTES = 64 * 1024


def head(file_bytes: int) -> bytes:
    """Return the first bytes of a file of so many: layers in bfloat16, and one more tensor of what is left."""
    left, header, layer = file_bytes - HEAD_BYTES, {}, 0
    offset = 0

    def add(name: str, dtype: str, shape: list[int], size_bytes: int) -> None:
        nonlocal offset
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size_bytes]}
        offset += size_bytes

    while left - offset >= sum(map(_bfloat16_bytes, LAYER.values())):
        for name, shape in LAYER.items():
            add(f"model.layers.{layer}.{name}", "BF16", shape, _bfloat16_bytes(shape))
        layer += 1
    add("rest", "U8", [left - offset], left - offset)
    text = json.dumps(header, separators=(",", ":")).encode().ljust(HEAD_BYTES - 8)
    assert len(text) == HEAD_BYTES - 8, "the header fits"
    return len(text).to_bytes(8, "little") + text


def _bfloat16_bytes(shape: list[int]) -> int:
    count = 2
    for length in shape:
        count *= length
    return count
