"""Measure the package against the limit of this machine: `make bench`, or `make bench-quick`.

One server (nginx over memory-backed files), several contenders in turn, several rounds, medians. The limit is a raw
client without signing or checks; `make bench-witness` says whether that limit is honest. Every workload lists, signs, pins the version
and checks CRC-64, in one Python process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

import original
import programs
import raw
import report
from measure import Target
from osstorchconnector.emulator import Emulator
from server import Served, Server

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
REGION = "cn-hangzhou"
# Beyond this load something else was already running.
QUIET_LOAD = 0.5
MIB = 1024 * 1024
SIZES = {False: Served(20_000, 110 * 1024, 2048 * MIB), True: Served(4_000, 110 * 1024, 512 * MIB)}
# What each contender is compared with, in the same round.
LIMITS = {
    "iterable": "raw objects",
    "iterable, seed's config": "raw objects",
    "raw ranges, fresh memory": "raw ranges",
    "checkpoint_pieces": "raw ranges",
    "checkpoint_whole": "raw ranges",
    "checkpoint_read": "raw ranges, fresh memory",
    "checkpoint_write": "raw parts",
    "safetensors_load": "raw ranges, fresh memory",
}
# The original runs these too, and is compared with the same limits.
ORIGINALS: tuple[str, ...] = (
    "iterable",
    "checkpoint_pieces",
    "checkpoint_whole",
    "checkpoint_read",
    "checkpoint_write",
    "safetensors_load",
)
# Against the emulator, which keeps what is written and its true checksums; no raw client speaks to it.
MODELS = ("model_save", "model_load")
# What the original does without its prefetching readers.
WITHOUT_READERS = ("iterable", "checkpoint_write", "model_save")
LIMITS |= {f"original {name}": LIMITS[name] for name in ORIGINALS}
LIMITS |= {name: f"original {name}" for name in MODELS}
ORIGINALS += MODELS


class Contenders:
    """Ours, and the original where it can run; each workload in a fresh process."""

    def __init__(self, server: Server, emulator: Emulator, *, with_original: bool) -> None:
        self.server = server
        self.emulator = emulator
        self.credentials = server.directory / "credentials.json"
        keys = {"AccessKeyId": emulator.access_key_id, "AccessKeySecret": emulator.access_key_secret}
        self.credentials.write_text(json.dumps(keys))
        self.seeds_config = str(original.seeds_config(server.directory))
        prefix = original.command_prefix(server.directory) if with_original else "it was not asked for"
        self._prefix = prefix
        if isinstance(prefix, str):
            print(f"bench: the original is not measured: {prefix}", flush=True)
        elif not original.has_user_faults():
            print(
                "bench: only the original's datasets are measured: its readers need userfaultfd", flush=True
            )

    def ours(self, workload: str, config_path: str = "") -> dict[str, Any]:
        """Run a workload with our package."""
        return self._measure([], workload, "127.0.0.1", config_path, dict(os.environ))

    def originals(self, workload: str) -> dict[str, Any] | None:
        """Run a workload with the original, or return None where that cannot be."""
        if isinstance(self._prefix, str) or workload not in ORIGINALS:
            return None
        if workload not in WITHOUT_READERS and not original.has_user_faults():
            return None
        return self._measure(self._prefix, workload, original.HOST, self.seeds_config, original.environment())

    def _measure(
        self, prefix: list[str], workload: str, host: str, config_path: str, environment: dict[str, str]
    ) -> dict[str, Any]:
        served = self.server.served
        is_model = workload in MODELS
        port = urlsplit(self.emulator.endpoint).port if is_model else self.server.port
        expected = served.small_bytes if workload == "iterable" else served.big_bytes
        target = Target(
            f"http://{host}:{port}",
            REGION,
            str(self.credentials),
            config_path,
            served.big_bytes,
            expected,
            is_model,
        )
        command = [*prefix, sys.executable, str(HERE / "measure.py"), workload, json.dumps(asdict(target))]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
        # The original says on its standard output what it sets up.
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result


Step: TypeAlias = "tuple[str, Callable[[], dict[str, Any] | None]]"


def steps(server: Server, contenders: Contenders, wanted: list[str]) -> list[Step]:
    """Say what one round runs, in the order of the table."""
    served, program, address = server.served, server.raw_client, server.address

    def limit(name: str, load: raw.Load) -> Step:
        return name, partial(raw.raw, program, address, load)

    def race(workload: str) -> list[Step]:
        ours: Step = (workload, partial(contenders.ours, workload))
        return [ours, (f"original {workload}", partial(contenders.originals, workload))]

    found = [
        limit("raw objects", raw.objects(served.objects, served.object_bytes)),
    ]
    if "iterable" in wanted:
        found += race("iterable")
        found.append(
            ("iterable, seed's config", partial(contenders.ours, "iterable", contenders.seeds_config))
        )
    found += [
        limit("raw ranges", raw.ranges(served.big_bytes)),
        limit("raw ranges, fresh memory", raw.ranges(served.big_bytes, "whole")),
    ]
    for workload in [name for name in wanted if name not in ("iterable", "checkpoint_write", *MODELS)]:
        found += race(workload)
    if "checkpoint_write" in wanted:
        found.append(limit("raw parts", raw.parts(served.big_bytes)))
        found += race("checkpoint_write")
    for workload in [name for name in MODELS if name in wanted]:
        found += race(workload)
    return found


def one_round(number: int, found: list[Step], rounds: report.Rounds) -> None:
    """Let every contender run once and append what it took; every second round goes the other way.

    Who runs later finds the machine warmer or more worn out: several per cent on some.
    """
    for name, run in found if number % 2 == 0 else reversed(found):
        result = run()
        if result is not None:
            rounds.setdefault(name, []).append(result)


def main() -> None:
    """Parse the arguments, measure, print the table and save the JSON."""
    known = sorted(path.stem for path in (HERE / "workloads").glob("*.py"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="smaller objects, fewer rounds")
    parser.add_argument("--rounds", type=int, default=None, help="how many rounds (5, or 3 with --quick)")
    parser.add_argument(
        "--workloads", nargs="*", default=known, choices=[*known, []], help="which of ours to run"
    )
    parser.add_argument("--no-original", action="store_true", help="leave the vendor's package out")
    options = parser.parse_args()
    count = options.rounds or (3 if options.quick else 5)
    programs.need("nginx")
    program = raw.build()
    served = SIZES[options.quick]
    print(f"bench: filling {(served.small_bytes + served.big_bytes) / 1e9:.1f} GB of memory", flush=True)
    load_average = os.getloadavg()[0]
    if load_average > QUIET_LOAD:
        print(
            f"bench: WARNING: other work is running (load {load_average:.1f}); figures will be rough",
            flush=True,
        )
    own = Emulator(buckets=["bucket"], arguments=["--region", REGION])
    with Server(served, program) as server, own as emulator:
        contenders = Contenders(server, emulator, with_original=not options.no_original)
        found = steps(server, contenders, options.workloads)
        rounds: report.Rounds = {}
        for number in range(count):
            print(f"bench: round {number + 1} of {count}", flush=True)
            one_round(number, found, rounds)
    machine = report.machine()
    print(
        f"\n{served.objects} objects of {served.object_bytes} bytes; one of {served.big_bytes >> 20} MiB; {machine}"
    )
    print(
        "Medians of interleaved rounds. Peak: above a process with torch imported and the destination made.\n"
    )
    print(report.table(rounds, LIMITS))
    for line in report.stages(rounds):
        print(line)
    content = {
        "machine": machine,
        "load_average_before": load_average,
        "served": asdict(served),
        "rounds": rounds,
    }
    print(f"\nsaved: {report.save('quick' if options.quick else 'full', content)}")


if __name__ == "__main__":
    main()
