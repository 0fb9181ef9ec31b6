"""Measure the package against the limit of this machine: `make bench`, or `make bench-quick`.

One server (nginx over memory-backed files), several contenders in turn, several rounds, medians. The limit is a raw
client without signing or checks; `make bench-witness` says whether that limit is honest. Every workload lists, signs, pins the version
and checks CRC-64, in one Python process.
"""

from __future__ import annotations

import argparse
import contextlib
import os
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

import programs
import raw
import report
from contenders import REGION, Contenders, Place
from osstorchconnector.emulator import Emulator
from rows import ROWS, SLOW_PEERS, PlaceName, Row, beside, limits, original, seeds
from server import Served, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from figures import Rounds

# Beyond this load something else was already running.
QUIET_LOAD = 0.5
MIB = 1024 * 1024
LIMITS = limits()


@dataclass(frozen=True)
class Size:
    """How much is served."""

    served: Served
    tiny: Served
    fewer: Served

    @property
    def total_bytes(self) -> int:
        """Bytes of all objects."""
        return sum(one.small_bytes + one.big_bytes for one in (self.served, self.tiny, self.fewer))

    def describe(self) -> str:
        """Say it in one line."""
        served, tiny, fewer = self.served, self.tiny, self.fewer
        return (
            f"{served.objects:,} objects of {served.object_bytes:,} bytes, one of {served.big_bytes >> 20} MiB, "
            f"{tiny.objects:,} of {tiny.object_bytes:,} bytes; "
            f"for {' and '.join(SLOW_PEERS)} {fewer.objects:,} and {fewer.big_bytes >> 20} MiB"
        )


FULL = Size(
    Served(20_000, 110 * 1024, 2048 * MIB), Served(20_000, 1024, MIB), Served(4_000, 110 * 1024, 512 * MIB)
)
QUICK = Size(
    Served(4_000, 110 * 1024, 512 * MIB), Served(8_000, 1024, MIB), Served(2_000, 110 * 1024, 128 * MIB)
)


Step: TypeAlias = "tuple[str, Callable[[], dict[str, Any] | None]]"


@dataclass(frozen=True)
class Site:
    """All servers that a round needs, and who runs against them."""

    server: Server
    tiny: Server
    fewer: Server
    emulator: Emulator
    contenders: Contenders

    def place(self, name: PlaceName) -> Place:
        """Find the server of that name."""
        served = self.server.served
        if name == "nginx, 1 KB":
            return Place(self.tiny.address, self.tiny.served)
        if name == "nginx, fewer":
            return Place(self.fewer.address, self.fewer.served)
        if name == "nginx over TLS":
            return Place(f"127.0.0.1:{self.server.tls_port}", served, self.server.ca_file)
        if name == "emulator":
            return Place(urlsplit(self.emulator.endpoint).netloc, served)
        return Place(self.server.address, served)

    def limits(self) -> dict[str, Callable[[], dict[str, Any]]]:
        """Return the raw limits."""
        served, tiny = self.server.served, self.tiny.served
        run = partial(raw.raw, self.server.raw_client)
        objects = raw.objects(served.objects, served.object_bytes)
        return {
            "raw objects": partial(run, self.server.address, objects),
            "raw 1 KB objects": partial(run, self.tiny.address, raw.objects(tiny.objects, tiny.object_bytes)),
            "raw objects, https": partial(run, self.server.tls_address, objects),
            "raw ranges": partial(run, self.server.address, raw.ranges(served.big_bytes)),
            "raw ranges, fresh memory": partial(
                run, self.server.address, raw.ranges(served.big_bytes, "whole")
            ),
            "raw parts": partial(run, self.server.address, raw.parts(served.big_bytes)),
        }


def steps(site: Site, rows: Sequence[Row], *, with_peers: bool) -> list[Step]:
    """Say what one round runs, in the order of the table: each row's limit right before the row.

    A round takes minutes, and a shared machine drifts meanwhile. Both configurations run where there is a goal.
    """
    limits, found = site.limits(), list[Step]()
    for row in rows:
        place, contenders = site.place(row.place), site.contenders
        if row.limit in limits:
            found.append((beside(row), limits[row.limit]))
        found.append((row.name, partial(contenders.ours, row, place)))
        if row.goal is not None:
            found.append((seeds(row), partial(contenders.ours, row, place, seeds=True)))
        found.append((original(row), partial(contenders.original, row, place)))
        for peer in row.peers if with_peers else ():
            theirs = site.place("nginx, fewer") if peer in SLOW_PEERS else place
            found.append((f"{peer} {row.name}", partial(contenders.peer, peer, row, theirs)))
    return found


@contextlib.contextmanager
def opened(size: Size, *, with_original: bool) -> Iterator[Site]:
    """Start all servers; stop them at the end."""
    programs.need("nginx", "openssl")
    program = raw.build()
    print(f"bench: filling {size.total_bytes / 1e9:.1f} GB of memory", flush=True)
    own = Emulator(buckets=["bucket"], arguments=["--region", REGION])
    with (
        Server(size.served, program) as server,
        Server(size.tiny, program) as tiny,
        Server(size.fewer, program) as fewer,
        own as emulator,
    ):
        keys = (emulator.access_key_id, emulator.access_key_secret)
        contenders = Contenders(server.directory, keys, with_original=with_original)
        yield Site(server, tiny, fewer, emulator, contenders)


def load_before() -> float:
    """Return the load average, and warn if something else is running."""
    load_average = os.getloadavg()[0]
    if load_average > QUIET_LOAD:
        print(
            f"bench: WARNING: other work is running (load {load_average:.1f}); figures will be rough",
            flush=True,
        )
    return load_average


def measured(site: Site, rows: Sequence[Row], count: int, *, with_peers: bool) -> Rounds:
    """Run so many rounds of everything."""
    rounds: Rounds = {}
    for number in range(count):
        print(f"bench: round {number + 1} of {count}", flush=True)
        one_round(number, steps(site, rows, with_peers=with_peers), rounds)
    return rounds


def one_round(number: int, found: list[Step], rounds: Rounds) -> None:
    """Let every contender run once and append what it took; every second round goes the other way.

    Who runs later finds the machine warmer or more worn out: several per cent on some.
    """
    for name, run in found if number % 2 == 0 else reversed(found):
        result = run()
        if result is not None:
            rounds.setdefault(name, []).append({"round": number, **result})


def main() -> None:
    """Parse the arguments, measure, print the table and save the JSON."""
    known = [row.name for row in ROWS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="smaller objects, fewer rounds")
    parser.add_argument("--rounds", type=int, default=None, help="how many rounds (5, or 3 with --quick)")
    parser.add_argument("--rows", nargs="*", default=known, choices=[*known, []], help="which of ours to run")
    parser.add_argument("--no-original", action="store_true", help="leave the vendor's package out")
    parser.add_argument("--peers", action="store_true", help="let other packages run too")
    options = parser.parse_args()
    count = options.rounds or (3 if options.quick else 5)
    size = QUICK if options.quick else FULL
    load_average = load_before()
    with opened(size, with_original=not options.no_original) as site:
        rows = [row for row in ROWS if row.name in options.rows]
        rounds = measured(site, rows, count, with_peers=options.peers)
    machine = report.machine()
    print(f"\n{size.describe()}; {machine}")
    print(
        "Medians of interleaved rounds. Peak: above a process with torch imported and the destination made.\n"
    )
    print(report.table(rounds, LIMITS))
    for line in report.stage_lines(rounds):
        print(line)
    content = {
        "machine": machine,
        "load_average_before": load_average,
        "served": asdict(size.served),
        "rounds": rounds,
    }
    print(f"\nsaved: {report.save('quick' if options.quick else 'full', content)}")


if __name__ == "__main__":
    main()
