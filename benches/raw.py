"""The limits that are measured against: our raw client, which asks for no signature and checks nothing."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server import PART_BYTES

HERE = Path(__file__).parent
THREADS = 24
RANGE_BYTES = 4 * 1024 * 1024
RANGE_THREADS = 8
PART_THREADS = 16


def build() -> Path:
    """Compile the raw client, and return the path of the program."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", HERE / "raw-client" / "target"))
    manifest = HERE / "raw-client" / "Cargo.toml"
    command = ["cargo", "build", "--release", "--locked", "--quiet", "--manifest-path", str(manifest)]
    subprocess.run([*command, "--target-dir", str(target)], check=True)
    return target / "release" / "raw-client"


@dataclass(frozen=True)
class Load:
    """A way to load the server: the raw client's arguments before and after the server's address."""

    kind: str
    arguments: tuple[int | str, ...]


def objects(count: int, size_bytes: int) -> Load:
    """Get every small object once."""
    return Load("objects", (count, count, size_bytes, THREADS, "all"))


def ranges(size_bytes: int, memory: str = "each") -> Load:
    """Get the large object once by ranges; `memory` is fresh for `each` range, or one for the `whole`."""
    return Load("ranges", (size_bytes, RANGE_BYTES, RANGE_THREADS, memory, "all"))


def parts(size_bytes: int) -> Load:
    """Put so many bytes in parts of the size that ours have, as many at a time."""
    return Load("parts", (size_bytes, PART_BYTES, PART_THREADS))


def raw(program: Path, address: str, load: Load) -> dict[str, Any]:
    """Run the raw client once."""
    command = [str(program), load.kind, address, *map(str, load.arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result
