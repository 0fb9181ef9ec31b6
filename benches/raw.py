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

HERE = Path(__file__).parent
THREADS = 24
RANGE_BYTES = 4 * 1024 * 1024
RANGE_THREADS = 8

WRK_OBJECTS = """
local number = 0
local requests = {{}}
init = function()
    for i = 0, {count} - 1 do
        requests[i] = wrk.format("GET", string.format("/bucket/train/%08d.bin", i))
    end
    number = math.floor(os.clock() * 1e6) % {count}
end
request = function()
    number = (number + 1) % {count}
    return requests[number]
end
"""

WRK_RANGES = """
local number = 0
local requests = {{}}
init = function()
    for i = 0, {count} - 1 do
        local range = string.format("bytes=%d-%d", i * {size}, i * {size} + {size} - 1)
        requests[i] = wrk.format("GET", "/bucket/big.bin", {{ ["Range"] = range }})
    end
end
request = function()
    number = (number + 1) % {count}
    return requests[number]
end
"""


def build() -> Path:
    """Compile the raw client, and return the path of the program."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", HERE / "raw-client" / "target"))
    manifest = HERE / "raw-client" / "Cargo.toml"
    command = ["cargo", "build", "--release", "--locked", "--quiet", "--manifest-path", str(manifest)]
    subprocess.run([*command, "--target-dir", str(target)], check=True)
    return target / "release" / "raw-client"


@dataclass(frozen=True)
class Load:
    """A way to load the server: the raw client's arguments after the address, and wrk's script."""

    kind: str
    arguments: tuple[int | str, ...]
    script: str
    connections: int
    request_bytes: int


def objects(count: int, size_bytes: int) -> Load:
    """Get every small object once."""
    script = WRK_OBJECTS.format(count=count)
    return Load("objects", (count, size_bytes, THREADS), script, THREADS, size_bytes)


def ranges(size_bytes: int, memory: str = "each") -> Load:
    """Get the large object once by ranges; `memory` is fresh for `each` range, or one for the `whole`."""
    script = WRK_RANGES.format(count=size_bytes // RANGE_BYTES, size=RANGE_BYTES)
    arguments = (size_bytes, RANGE_BYTES, RANGE_THREADS, memory)
    return Load("ranges", arguments, script, RANGE_THREADS, RANGE_BYTES)


def raw(program: Path, address: str, load: Load) -> dict[str, Any]:
    """Run the raw client once."""
    command = [str(program), load.kind, address, *map(str, load.arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def wrk(address: str, load: Load, directory: Path, seconds: int) -> dict[str, Any] | None:
    """Run wrk for `seconds`, or return None where it is not installed."""
    if shutil.which("wrk") is None:
        return None
    script = directory / f"{load.kind}.lua"
    script.write_text(load.script)
    command = [
        "wrk",
        "-t2",
        f"-c{load.connections}",
        f"-d{seconds}s",
        "-s",
        str(script),
        f"http://{address}/",
    ]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    took = re.search(r"(\d+) requests in ([\d.]+)s", done.stdout)
    if took is None or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise SystemExit(f"error: wrk failed:\n{done.stdout}")
    requests = int(took[1])
    return {"requests": requests, "bytes": requests * load.request_bytes, "seconds": float(took[2])}
