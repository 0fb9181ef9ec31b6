"""The format's data types: their names, their widths, their order in a file, and torch's names for them. Pure."""

from __future__ import annotations

# Name in a header: (bits of one element, torch's name). In the order of the official library, whose files hold the
# last of these first. Torch has no six-bit types; a version of it may lack some others.
_TABLE: dict[str, tuple[int, str | None]] = {
    "BOOL": (8, "bool"),
    "F4": (4, "float4_e2m1fn_x2"),
    "F6_E2M3": (6, None),
    "F6_E3M2": (6, None),
    "U8": (8, "uint8"),
    "I8": (8, "int8"),
    "F8_E5M2": (8, "float8_e5m2"),
    "F8_E4M3": (8, "float8_e4m3fn"),
    "F8_E8M0": (8, "float8_e8m0fnu"),
    "F8_E4M3FNUZ": (8, "float8_e4m3fnuz"),
    "F8_E5M2FNUZ": (8, "float8_e5m2fnuz"),
    "I16": (16, "int16"),
    "U16": (16, "uint16"),
    "F16": (16, "float16"),
    "BF16": (16, "bfloat16"),
    "I32": (32, "int32"),
    "U32": (32, "uint32"),
    "F32": (32, "float32"),
    "C64": (64, "complex64"),
    "F64": (64, "float64"),
    "I64": (64, "int64"),
    "U64": (64, "uint64"),
}

# Torch keeps two values of this type in one element; a header counts values.
PAIRED = "F4"

BITS = {name: bits for name, (bits, _) in _TABLE.items()}
TORCH_NAMES = {name: torch_name for name, (_, torch_name) in _TABLE.items() if torch_name is not None}
NAMES_BY_TORCH_NAME = {torch_name: name for name, torch_name in TORCH_NAMES.items()}
RANKS = {name: rank for rank, name in enumerate(_TABLE)}
