"""Fail when the engine has become clearly slower: ours against the raw client, in turn, in one run: `make guard`.

Two ratios, medians of several short rounds. That of CPU time hardly feels other work on the machine, and finds what costs
cycles; that of time finds what waits. Both bounds are far beyond what noise reaches, so this tells a regression, not a
figure: docs/performance.md has those.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

import programs
import raw
from measure import Target, cpu_seconds
from server import Served, Server
from workloads import iterable

ROUNDS = 7
SERVED = Served(4_000, 110 * 1024, 1024 * 1024)
# Measured with fourteen other programs on two cores: 1.5 to 2.3 and 0.27 to 1.2; on a quiet machine 1.6 and 0.7.
MOST_CPU = 2.6
LEAST_SPEED = 0.25


def ratios(server: Server, target: Target) -> tuple[float, float]:
    """Let the raw client and ours read all objects; return ours against raw in CPU time, and in speed."""
    load = raw.objects(SERVED.objects, SERVED.object_bytes)
    limit = raw.raw(server.raw_client, server.address, load)
    before, began = cpu_seconds(), time.perf_counter()
    delivered = iterable.Workload(target).run()
    seconds, cpu = time.perf_counter() - began, cpu_seconds() - before
    assert delivered == SERVED.small_bytes, "every object came whole"
    return cpu / limit["cpu_seconds"], limit["seconds"] / seconds


def main() -> None:
    """Measure, and compare with the bounds."""
    try:
        programs.need("nginx", "openssl")
    except SystemExit as missing:
        print(f"guard: speed is not measured: {missing}")
        return
    with tempfile.TemporaryDirectory() as directory, Server(SERVED, raw.build()) as server:
        keys = Path(directory) / "credentials.json"
        keys.write_text('{"AccessKeyId": "id", "AccessKeySecret": "secret"}')
        target = Target(
            endpoint=f"http://{server.address}",
            region="cn-hangzhou",
            cred_path=str(keys),
            config_path="",
            directory=directory,
            objects=SERVED.objects,
            big_bytes=SERVED.big_bytes,
            expected_bytes=SERVED.small_bytes,
        )
        ratios(server, target)  # threads and connections are made here
        found = [ratios(server, target) for _ in range(ROUNDS)]
    cpu, speed = (median(side) for side in zip(*found, strict=True))
    print(f"guard: {cpu:.2f} times the CPU time of the raw client (at most {MOST_CPU} may be)")
    print(f"guard: {speed:.2f} of its speed (at least {LEAST_SPEED} must be)")
    if cpu > MOST_CPU or speed < LEAST_SPEED:
        raise SystemExit("error: reading has become slower; `make bench-quick` and a profile tell where")


if __name__ == "__main__":
    main()
