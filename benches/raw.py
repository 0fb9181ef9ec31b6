"""The limits that are measured against: our raw client, and wrk, which nobody here wrote."""

from __future__ import annotations

import json
import os
import re
import shutil
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

# wrk takes at most this much from a socket at a time (its RECVBUF), whatever has arrived.
WRK_RECEIVES_BYTES = 8192


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


@dataclass(frozen=True)
class Witnessed:
    """One request, sent again and again, by wrk and by the raw client receiving as wrk does."""

    load: Load
    path: str
    headers: tuple[str, ...]
    connections: int
    request_bytes: int


def one_object(count: int, size_bytes: int) -> Witnessed:
    """Get the first small object `count` times."""
    load = Load("objects", (count, 1, size_bytes, THREADS, WRK_RECEIVES_BYTES))
    return Witnessed(load, "/bucket/train/00000000.bin", (), THREADS, size_bytes)


def one_range(size_bytes: int) -> Witnessed:
    """Get the first range of the large object, until it was as many bytes as that has."""
    load = Load("ranges", (size_bytes, RANGE_BYTES, RANGE_THREADS, "first", WRK_RECEIVES_BYTES))
    header = f"Range: bytes=0-{RANGE_BYTES - 1}"
    return Witnessed(load, "/bucket/big.bin", (header,), RANGE_THREADS, RANGE_BYTES)


def raw(program: Path, address: str, load: Load) -> dict[str, Any]:
    """Run the raw client once."""
    command = [str(program), load.kind, address, *map(str, load.arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def wrk(address: str, witnessed: Witnessed, seconds: int) -> dict[str, Any] | None:
    """Run wrk for `seconds`, a thread for each connection as in the raw client; None where it is not installed.

    Without a script: wrk lets its first threads run while the scripts of the last are still being loaded, and counts
    what they do in that time.
    """
    if shutil.which("wrk") is None:
        return None
    count = str(witnessed.connections)
    headers = [word for header in witnessed.headers for word in ("-H", header)]
    command = ["wrk", "-t", count, "-c", count, "-d", f"{seconds}s", *headers]
    done = subprocess.run(
        [*command, f"http://{address}{witnessed.path}"], check=True, stdout=subprocess.PIPE, text=True
    )
    took = re.search(r"(\d+) requests in ([\d.]+)s", done.stdout)
    if took is None or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise SystemExit(f"error: wrk failed:\n{done.stdout}")
    requests = int(took[1])
    return {"requests": requests, "bytes": requests * witnessed.request_bytes, "seconds": float(took[2])}
