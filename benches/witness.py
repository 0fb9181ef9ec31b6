"""Is the raw limit an honest one? Our raw client and wrk, which nobody here wrote, in turn: `make bench-witness`.

Both send one and the same request again and again over a thread for each connection, and make the same system calls:
wrk waits with epoll, takes 8 KiB at a time, and asks after each full piece how much more has arrived (its `sock.c`).
What is left between them is what a client costs by itself, which is what a limit must not pay. Which of two runs comes
first is worth several per cent on a shared machine, so the order changes with every pair.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import programs
import raw
from figures import speed
from server import Served, Server

if TYPE_CHECKING:
    from pathlib import Path

OBJECT_BYTES = 110 * 1024
BIG_BYTES = 512 * 1024 * 1024
# wrk takes at most this much from a socket at a time (its RECVBUF), whatever has arrived.
RECEIVES_BYTES = 8192
# The raw client runs for about as long as wrk: starting threads and connections must not count.
SECONDS = 4
OBJECTS = 120_000
RANGES = 3_000


@dataclass(frozen=True)
class Witnessed:
    """One request, sent again and again, by wrk and by the raw client receiving as wrk does."""

    name: str
    load: raw.Load
    path: str
    headers: tuple[str, ...]
    connections: int
    request_bytes: int


def witnessed() -> tuple[Witnessed, ...]:
    """Name the requests: a whole small object, and a range of a large one."""
    objects = raw.Load("objects", (OBJECTS, 1, OBJECT_BYTES, raw.THREADS, RECEIVES_BYTES))
    total = RANGES * raw.RANGE_BYTES
    ranges = raw.Load("ranges", (total, raw.RANGE_BYTES, raw.RANGE_THREADS, "first", RECEIVES_BYTES))
    header = f"Range: bytes=0-{raw.RANGE_BYTES - 1}"
    return (
        Witnessed("110 KiB objects", objects, "/bucket/train/00000000.bin", (), raw.THREADS, OBJECT_BYTES),
        Witnessed("4 MiB ranges", ranges, "/bucket/big.bin", (header,), raw.RANGE_THREADS, raw.RANGE_BYTES),
    )


def wrk(address: str, what: Witnessed) -> float:
    """Run wrk, a thread for each connection as in the raw client, and return its bytes per second.

    Without a script: wrk lets its first threads run while the scripts of the last are still being loaded, and counts
    what they do in that time.
    """
    count = str(what.connections)
    headers = [word for header in what.headers for word in ("-H", header)]
    command = ["wrk", "-t", count, "-c", count, "-d", f"{SECONDS}s", *headers]
    done = subprocess.run(
        [*command, f"http://{address}{what.path}"], check=True, stdout=subprocess.PIPE, text=True
    )
    took = re.search(r"(\d+) requests in ([\d.]+)s", done.stdout)
    if took is None or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise SystemExit(f"error: wrk failed:\n{done.stdout}")
    return int(took[1]) * what.request_bytes / float(took[2])


def pair(program: Path, address: str, what: Witnessed, *, wrk_first: bool) -> float:
    """Run both, one after the other, and return how fast wrk was, the raw client being 1."""
    if wrk_first:
        theirs = wrk(address, what)
        return theirs / speed(raw.raw(program, address, what.load))
    ours = speed(raw.raw(program, address, what.load))
    return wrk(address, what) / ours


def main() -> None:
    """Measure pairs, and print how far the two clients agree."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=10, help="how many pairs of each request (10)")
    options = parser.parse_args()
    programs.need("nginx", "wrk")
    program = raw.build()
    ratios: dict[str, list[float]] = {what.name: [] for what in witnessed()}
    with Server(Served(2_000, OBJECT_BYTES, BIG_BYTES), program) as server:
        for number in range(options.pairs):
            for what in witnessed():
                ratio = pair(program, server.address, what, wrk_first=number % 2 == 1)
                ratios[what.name].append(ratio)
                print(f"pair {number + 1}, {what.name}: {ratio:.2f}", flush=True)
    for name, found in ratios.items():
        print(f"{name}: wrk at {median(found):.2f} of the raw client ({min(found):.2f}..{max(found):.2f})")


if __name__ == "__main__":
    main()
