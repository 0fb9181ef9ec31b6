"""The index of a checkpoint in several files, `model.safetensors.index.json`: which file holds which tensor. Pure."""

from __future__ import annotations

import json
from typing import Any

from osstorchconnector.errors import FormatError

INDEX_NAME = "model.safetensors.index.json"
SINGLE_NAME = "model.safetensors"

# The largest models have indices of about 10 MB.
MAX_INDEX_BYTES = 64 * 1024 * 1024


def parse(text: bytes, uri: str) -> dict[str, str]:
    """Return the name of the file of each tensor, in the order of the index.

    Raises:
        FormatError: it is not such an index, or it names a file elsewhere than beside it.
    """
    try:
        document = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as wrong:
        raise _wrong(uri, f"it is not JSON ({wrong})") from None
    weight_map = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(weight_map, dict):
        raise _wrong(uri, "it has no weight_map")
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or not _is_beside(shard):
            raise _wrong(uri, f"tensor {name!r} is in {shard!r}, which names no file beside it")
    return weight_map


def _is_beside(shard: str) -> bool:
    """Say whether this is a plain relative name."""
    return "://" not in shard and all(part not in ("", ".", "..") for part in shard.split("/"))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice")
    return found


def _wrong(uri: str, what: str) -> FormatError:
    text = (
        f"safe_open {uri}: not an index of safetensors files: {' '.join(what.split())[:1000]}; save it again"
    )
    return FormatError(text, operation="safe_open", uri=uri)
