"""What the answers say: the clock, the latency and the concurrency it calls for, and the quota."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from osstorchconnector.cli.amounts import size
from osstorchconnector.cli.doctor.findings import Finding

if TYPE_CHECKING:
    from osstorchconnector.cli.doctor.probe import Probe
    from osstorchconnector.config import ClientConfig

NAMES = ("clock", "latency", "quota")

# OSS refuses signatures that are further off; the client learns the difference then.
_REFUSED_SECONDS = 900
_NOTED_SECONDS = 60
# Whole seconds on the wire, and the way there and back.
_EXACT_SECONDS = 2
_WORTH_SAYING_SECONDS = 0.03

# What an account may send in a region by default: oss-protocol, "Limits and prices".
_QUOTA_PER_SECOND = 10_000
_QUOTA_SEQUENTIAL = 2_000
_DEFAULT_CONCURRENCY = 256
_SMALL_BYTES = 1 << 20
_PATIENT = "other jobs may use it up now: network.maxRequestsPerSecond holds each back; OSS raises a quota on request"


def clock(probe: Probe) -> Finding:
    """Compare this machine's clock with that of OSS."""
    learned = probe.store.server_now() - time.time()
    offset = learned if abs(learned) > _EXACT_SECONDS else _offset(probe)
    if not probe.is_answered:
        return Finding("clock", "skipped", "no request was answered")
    if offset is None:
        text = f"less than {_REFUSED_SECONDS // 60} minutes off, as requests were taken; nothing was put to tell closer"
        return Finding("clock", "ok", text)
    facts = {"offset_seconds": round(offset, 1)}
    if abs(offset) <= _EXACT_SECONDS:
        return Finding("clock", "ok", f"that of OSS, within {_EXACT_SECONDS} s", facts=facts)
    text = f"this machine is {abs(offset):.0f} s {'behind' if offset > 0 else 'ahead of'} OSS"
    if abs(offset) < _NOTED_SECONDS:
        return Finding("clock", "ok", text, facts=facts)
    if abs(offset) >= _REFUSED_SECONDS:
        text += "; OSS refused the first signature, and the difference was learned"
    return Finding(
        "clock", "look", text, "set the clock (chronyd or ntpd); other tools are refused at 900 s", facts
    )


def _offset(probe: Probe) -> float | None:
    """Return how far OSS is ahead, as seen from the moment it wrote down: whole seconds, cut off."""
    if probe.clock is None:
        return None
    before, written, after = probe.clock
    if before - 1 <= written <= after:
        return 0.0
    return written + 0.5 - (before + after) / 2


def latency(probe: Probe, config: ClientConfig) -> Finding:
    """Say how many reads at a time the way to OSS calls for."""
    if not probe.get_seconds:
        return Finding("latency", "skipped", "nothing was read")
    # The first read opened the connection.
    seconds = sorted(probe.get_seconds[1:] or probe.get_seconds)
    middle = statistics.median(seconds)
    at_quota = max(1, round(_QUOTA_PER_SECOND * middle))
    most = int(
        config.options.get(
            "dataset_max_concurrency", config.options.get("max_concurrency", _DEFAULT_CONCURRENCY)
        )
    )
    facts = {
        "median_seconds": round(middle, 5),
        "worst_seconds": round(seconds[-1], 5),
        "reads_per_second_of_one": round(1 / middle),
        "in_flight_at_quota": at_quota,
        "in_flight_most": most,
    }
    text = (
        f"{middle * 1000:.1f} ms a small read (worst of {len(seconds)}: {seconds[-1] * 1000:.1f} ms): {1 / middle:.0f} "
        f"objects/s one by one; {at_quota} at a time reach the quota, a process has up to {most}, and finds its level itself"
    )
    given = config.keys.get("dataset_max_concurrency") or config.keys.get("max_concurrency")
    if given and most < at_quota:
        return Finding(
            "latency",
            "look",
            text,
            f"{given} holds a process to {most / middle:.0f} objects/s: leave it out",
            facts,
        )
    return Finding("latency", "ok", text, facts=facts)


def quota(probe: Probe) -> Finding:
    """Say when the account's quota is the limit, by the sizes of the objects that were listed."""
    sizes = [entry[1] for entry in probe.sample if entry[1]]
    throttled = int(probe.store.stats().get("throttled", 0))
    facts: dict[str, float] = {"requests_per_second": _QUOTA_PER_SECOND, "throttled": throttled}
    text = (
        f"an account may send {_QUOTA_PER_SECOND:,} requests/s in a region by default, {_QUOTA_SEQUENTIAL:,} to keys "
        "that rise (dates, counters)"
    )
    remedy = _PATIENT if throttled else ""
    if sizes:
        mean = statistics.fmean(sizes)
        facts["mean_bytes"] = round(mean)
        text += f"; objects here have {size(mean)} on average: {size(mean * _QUOTA_PER_SECOND)}/s at most for all jobs together"
        if mean < _SMALL_BYTES:
            remedy = "larger objects, a few MiB each, take the quota out of the way"
    if throttled:
        return Finding(
            "quota", "look", f"{text}; OSS asked to slow down {throttled} time(s) just now", remedy, facts
        )
    return Finding("quota", "ok", text, remedy, facts)
