"""Throughput against object size, requests in flight, DataLoader workers and latency; and how the level is found."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import raw
import report
from behaviours import FIRST_BYTE_MS, place, row
from contenders import Place
from server import Served, Server

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from run import Site

KIB, MIB = 1024, 1024 * 1024
SIZES = (KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 8 * MIB, 64 * MIB, 1024 * MIB)
IN_FLIGHT = (8, 16, 32, 64, 128, 256)
WORKERS = (1, 2, 4, 8, 16, 32)
FIRST_BYTES_MS = (0, 1, 3, 10, 30, 100)
# Each size is as many objects as make up about this much, within bounds.
BYTES_PER_SIZE = 512 * MIB
MAX_OBJECTS = 10_000
FIXED = 24
Points = list[dict[str, Any]]


def by_size(site: Site, program: Path, sizes: Sequence[int], total_bytes: int) -> Points:
    """One process, in order, from nginx: objects of each size."""
    points = []
    for size in sizes:
        objects = max(1, min(MAX_OBJECTS, total_bytes // size))
        with Server(Served(objects, size, MIB), program) as server:
            there, wanted = Place(server.address, server.served), row("iterable")
            limit = raw.raw(program, server.address, raw.objects(objects, size))
            ours = site.contenders.ours(wanted, there)
            theirs = site.contenders.original(wanted, there)
        points.append({"x": size, **_speeds(limit=limit, ours=ours, original=theirs)})
    return points


def by_in_flight(site: Site, counts: Sequence[int]) -> Points:
    """The same with so many requests in flight at most, from nginx; the raw client with as many threads."""
    there = site.place("nginx")
    served, points = there.served, []
    for count in counts:
        config = site.contenders.directory / f"config-{count}.json"
        config.write_text(json.dumps({"network": {"maxConcurrency": count}}))
        target = replace(site.contenders.target(row("iterable"), there), config_path=str(config))
        load = raw.Load("objects", (served.objects, served.objects, served.object_bytes, count, "all"))
        limit = raw.raw(site.server.raw_client, there.host_port, load)
        ours = site.contenders.run("workloads.iterable", target)
        points.append({"x": count, **_speeds(limit=limit, ours=ours)})
    return points


def by_workers(site: Site, counts: Sequence[int]) -> Points:
    """Under a DataLoader, from nginx: workers of an iterable and of a map dataset."""
    there, points = site.place("nginx"), []
    for count in counts:
        speeds = _speeds(
            iterable=site.contenders.ours(row("iterable_loader", count), there),
            map=site.contenders.ours(row("map_loader", count), there),
            original=site.contenders.original(row("iterable_loader", count), there),
        )
        points.append({"x": count, **speeds})
    return points


def by_latency(site: Site, latencies_ms: Sequence[float], objects: int) -> Points:
    """Against the emulator with the first byte so late, free to find its level and held at 24; objects a second."""
    points = []
    for latency_ms in latencies_ms:
        speeds: dict[str, float | None] = {}
        for name, target in _free_and_fixed(site, objects).items():
            site.emulator.shape(first_byte_ms=latency_ms)
            took = site.contenders.run("workloads.iterable", target)
            speeds[name] = objects / float(took["seconds"])
        points.append({"x": latency_ms, **speeds})
    return points


def timeline(site: Site, objects: int) -> dict[str, list[list[float]]]:
    """Requests in flight as the emulator saw them, 30 ms to the first byte: (seconds, requests) for each contender."""
    found = {}
    for name, target in _free_and_fixed(site, objects).items():
        there = place(site, objects)
        site.emulator.shape(first_byte_ms=FIRST_BYTE_MS)
        site.contenders.run("workloads.iterable", target)
        found[name] = in_flight(site.emulator.requests("GetObject"))
    there = place(site, objects)
    site.emulator.shape(first_byte_ms=FIRST_BYTE_MS)
    if site.contenders.original(row("iterable"), there) is not None:
        found["original"] = in_flight(site.emulator.requests("GetObject"))
    return found


def in_flight(entries: list[dict[str, Any]], step_ms: int = 20) -> list[list[float]]:
    """Count the requests that were being answered, every few milliseconds from the first one on."""
    changes = [(entry["started_ms"], 1) for entry in entries]
    # One that nobody waited for to the end, a second request that came too late, has no end.
    changes += [(entry["started_ms"] + (entry["elapsed_ms"] or 0), -1) for entry in entries]
    changes.sort()
    began, level, at, points = changes[0][0], 0, 0, []
    for moment in range(began, changes[-1][0] + step_ms, step_ms):
        while at < len(changes) and changes[at][0] <= moment:
            level += changes[at][1]
            at += 1
        points.append([(moment - began) / 1000, float(level)])
    return points


def _free_and_fixed(site: Site, objects: int) -> dict[str, Any]:
    there = place(site, objects)
    free = site.contenders.target(row("iterable"), there)
    config = site.contenders.directory / "config-fixed.json"
    config.write_text(json.dumps({"network": {"maxConcurrency": FIXED}}))
    return {"ours": free, "held at 24": replace(free, config_path=str(config))}


def _speeds(**results: dict[str, Any] | None) -> dict[str, float]:
    return {name: report.speed(result) / 1e9 for name, result in results.items() if result is not None}
