"""Throughput against object size, requests in flight, DataLoader workers and latency; and how the level is found."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import raw
from behaviours import FIRST_BYTE_MS, place, row
from contenders import Place
from server import Served, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from run import Site

KIB, MIB = 1024, 1024 * 1024
SIZES = (KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 16 * MIB, 1024 * MIB)
IN_FLIGHT = (8, 16, 32, 64, 128, 256)
WORKERS = (1, 2, 4, 8, 16, 32)
FIRST_BYTES_MS = (0, 1, 3, 10, 30, 100)
# Each size is as many objects as make up about so much in all, but no more than this.
MAX_OBJECTS = 10_000
FIXED = 24
STEP_MS = 20
# What is drawn of a run.
KEPT = ("bytes", "seconds", "cpu_seconds")
Points = list[dict[str, Any]]


def by_size(site: Site, rounds: int, sizes: Sequence[int], total_bytes: int) -> Points:
    """One process, in order, from nginx: objects of each size."""
    points, program = [], site.server.raw_client
    for size in sizes:
        objects = max(1, min(MAX_OBJECTS, total_bytes // size))
        with Server(Served(objects, size, MIB), program) as server:
            there, wanted = Place(server.address, server.served), row("iterable")
            limit = partial(raw.raw, program, server.address, raw.objects(objects, size))
            ours = partial(site.contenders.ours, wanted, there)
            theirs = partial(site.contenders.original, wanted, there)
            points.append({"x": size, **_in_turn(rounds, limit=limit, ours=ours, original=theirs)})
    return points


def by_in_flight(site: Site, rounds: int, counts: Sequence[int]) -> Points:
    """The same with so many requests in flight at most, from nginx; the raw client with as many threads."""
    there = site.place("nginx")
    served, points = there.served, []
    for count in counts:
        target = replace(site.contenders.target(row("iterable"), there), config_path=_at_most(site, count))
        load = raw.Load("objects", (served.objects, served.objects, served.object_bytes, count, "all"))
        limit = partial(raw.raw, site.server.raw_client, there.host_port, load)
        ours = partial(site.contenders.run, "workloads.iterable", target)
        points.append({"x": count, **_in_turn(rounds, limit=limit, ours=ours)})
    return points


def by_workers(site: Site, rounds: int, counts: Sequence[int]) -> Points:
    """Under a DataLoader, from nginx: workers of an iterable and of a map dataset."""
    there, points = site.place("nginx"), []
    served = there.served
    load = raw.objects(served.objects, served.object_bytes)
    for count in counts:
        runs = _in_turn(
            rounds,
            limit=partial(raw.raw, site.server.raw_client, there.host_port, load),
            iterable=partial(site.contenders.ours, row("iterable_loader", count), there),
            map=partial(site.contenders.ours, row("map_loader", count), there),
            original=partial(site.contenders.original, row("iterable_loader", count), there),
        )
        points.append({"x": count, **runs})
    return points


def by_latency(
    site: Site, rounds: int, latencies_ms: Sequence[float], objects: int, by_original: int
) -> Points:
    """Against the emulator with the first byte so late: objects a second, found by itself."""
    points = []
    for latency_ms in latencies_ms:

        def run(who: str, count: int, first_byte_ms: float = latency_ms) -> dict[str, Any] | None:
            there = place(site, count)
            site.emulator.shape(first_byte_ms=first_byte_ms)
            took = site.contenders.let(who, row("iterable"), there)
            return None if took is None else {"objects": count, **took}

        ours, theirs = partial(run, "ours", objects), partial(run, "original", by_original)
        points.append({"x": latency_ms, **_in_turn(rounds, ours=ours, original=theirs)})
    return points


def timeline(site: Site, objects: int) -> dict[str, Any]:
    """Requests in flight as the emulator saw them, 30 ms to the first byte, for each contender, a step apart."""
    found: dict[str, list[int]] = {}
    there = place(site, objects)
    free = site.contenders.target(row("iterable"), there)
    fixed = replace(free, config_path=_at_most(site, FIXED))
    runs: dict[str, Callable[[], dict[str, Any] | None]] = {
        "ours": partial(site.contenders.run, "workloads.iterable", free),
        f"held at {FIXED}": partial(site.contenders.run, "workloads.iterable", fixed),
        "original": partial(site.contenders.original, row("iterable"), there),
    }
    for name, run in runs.items():
        place(site, objects)
        site.emulator.shape(first_byte_ms=FIRST_BYTE_MS)
        if run() is not None:
            found[name] = in_flight(site.emulator.requests("GetObject"))
    return {"objects": objects, "step_seconds": STEP_MS / 1000, "requests": found}


def in_flight(entries: list[dict[str, Any]], step_ms: int = STEP_MS) -> list[int]:
    """Count the requests that were being answered, every few milliseconds from the first one on."""
    changes = [(entry["started_ms"], 1) for entry in entries]
    # One that nobody waited for to the end, a second request that came too late, has no end.
    changes += [(entry["started_ms"] + (entry["elapsed_ms"] or 0), -1) for entry in entries]
    changes.sort()
    began, level, at, levels = changes[0][0], 0, 0, []
    for moment in range(began, changes[-1][0] + step_ms, step_ms):
        while at < len(changes) and changes[at][0] <= moment:
            level += changes[at][1]
            at += 1
        levels.append(level)
    return levels


def _at_most(site: Site, count: int) -> str:
    """Write a config file that holds requests in flight at so many."""
    config = site.contenders.directory / f"config-{count}.json"
    config.write_text(json.dumps({"network": {"maxConcurrency": count}}))
    return str(config)


def _in_turn(
    rounds: int, **contenders: Callable[[], dict[str, Any] | None]
) -> dict[str, list[dict[str, Any]]]:
    """Let each run once a round, every second round the other way; one that cannot is not asked again."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
    able = list(contenders.items())
    for number in range(rounds):
        for name, run in list(able) if number % 2 == 0 else list(reversed(able)):
            took = run()
            if took is None:
                able.remove((name, run))
            else:
                kept = {key: took[key] for key in ("objects", *KEPT) if key in took}
                found[name].append({"round": number, **kept})
    return {name: runs for name, runs in found.items() if runs}
