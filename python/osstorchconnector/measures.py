"""What `stats()` counts: every name with its unit and meaning, and how the numbers of several processes become one.

docs/stats.md is this table. A raw name with `#` is one class of a histogram; `shown` makes quantiles of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Stats = dict[str, int | float]

# One account may send so many; more on request. Requests of one bucket in the order of their names get a fifth of it.
ACCOUNT_REQUESTS_PER_SECOND = 10_000

_QUANTILES = {"p50": 0.5, "p99": 0.99, "p999": 0.999}

# Classes of one doubling of a histogram; `stats/histogram.rs` counts in them.
_STEPS = 8


class Measure(NamedTuple):
    """What one name stands for.

    Attributes:
        unit: of its number.
        text: what it counts.
        is_state: it goes down again, and ends with its process; else it counts since the process began.
        merge: what the numbers of several processes are together; `widest` is the one farthest from zero.
    """

    unit: str
    text: str
    is_state: bool = False
    merge: Literal["sum", "max", "min", "widest"] = "sum"


def _state(unit: str, text: str, merge: Literal["sum", "max", "min", "widest"] = "sum") -> Measure:
    return Measure(unit, text, is_state=True, merge=merge)


def _retries(text: str) -> Measure:
    return Measure("repetitions", text)


# What follows the first dot of a name is one of many words: an operation and how it ended, or a source.
FAMILIES = {
    "requests.": ("requests.<Operation>.<outcome>", ("operation", "outcome")),
    "answers.": ("answers.<Operation>.<class>", ("operation", "class")),
    "credentials_source.": ("credentials_source.<source>", ("source",)),
}

_QUANTILES_OF = {
    "first_byte": "from sending a GET to the head of its answer: half of them were quicker, or 99 %, or 99.9 %; "
    "off by a sixteenth at most",
    "whole_object": "from the first request for a whole object to its last byte, checked; repetitions and pauses "
    "included, and the waiting of an object above 8 MiB for its turn",
    "step_wait": "that one step of `Steps` waited for its batch",
}

MEASURES: dict[str, Measure] = {
    "requests": Measure("requests", "sent, repetitions included"),
    "requests_ok": Measure("requests", "whose answer was wanted"),
    "requests_refused": Measure("requests", "whose answer refused"),
    "requests_failed": Measure("requests", "without a usable answer"),
    "requests_cancelled": Measure(
        "requests",
        "cut off by us: whoever asked gave up, or another request for the same object was answered first",
    ),
    "requests.<Operation>.<outcome>": Measure(
        "requests", "the same by OSS operation, such as `requests.GetObject.ok`; only those that happened"
    ),
    "answers_2xx": Measure("answers", "with a status from 200 to 299"),
    "answers_3xx": Measure("answers", "with a status from 300 to 399; none is followed"),
    "answers_4xx": Measure("answers", "with a status from 400 to 499"),
    "answers_5xx": Measure("answers", "with a status from 500 to 599"),
    "answers.<Operation>.<class>": Measure(
        "answers", "the same by OSS operation, such as `answers.GetObject.2xx`; only those that happened"
    ),
    "bytes_received": Measure("bytes", "bodies received"),
    "bytes_sent": Measure("bytes", "everything sent"),
    "request_seconds": Measure(
        "seconds", "that operations took, each from its first request to its end, pauses included; added up"
    ),
    "in_flight": _state("requests", "on their way now"),
    "in_flight_limit": _state(
        "requests",
        "that may be on their way at once, as the read engines have found it; 0 before the first read",
    ),
    "in_flight_limit_before": _state("requests", "that might be, before that limit changed last"),
    "in_flight_limit_age_seconds": _state(
        "seconds", "since that limit changed last; absent until it did", "min"
    ),
    "jobs_waiting": _state("requests", "that wait for a worker thread or for room within that limit"),
    "worker_threads": _state("threads", "that read"),
    "requests_per_second": _state("requests/s", "that succeeded in the last second or so"),
    "requests_per_second_limit": _state(
        "requests/s",
        "that may go now: `network.maxRequestsPerSecond`, or what the service admits once it has refused a request "
        "for its rate; 0 while nothing holds them back",
    ),
    "requests_per_second_limit_age_seconds": _state(
        "seconds", "since a refusal lowered that limit last; absent while the service refuses nothing", "min"
    ),
    "account_quota_share": _state(
        "part",
        f"of the {ACCOUNT_REQUESTS_PER_SECOND:,} requests/s of an account that these processes use now, estimated",
    ),
    "throttled": Measure("answers", "that refused for throttling"),
    "throttle_pause_seconds": Measure(
        "seconds",
        "that requests were held back because the service had refused some, for their rate or by failing; added up over "
        "all requests, without what `network.maxRequestsPerSecond` holds back",
    ),
    "retry_pause_seconds": Measure("seconds", "between other failures and their repetitions, added up"),
    "pause_left_seconds": _state("seconds", "until requests may go again; 0 = now", "max"),
    "slow_mode": _state("clients", "that send two requests a second at most, as their retry budget is empty"),
    "slow_mode_entered": Measure("times", "the retry budget ran out"),
    "retry_tokens": _state(
        "tokens", "left in the retry budgets; a repetition costs five, after a timeout ten"
    ),
    "retry_tokens_limit": _state("tokens", "of full retry budgets"),
    "connections_opened": Measure("connections", "made"),
    "connections_reused": Measure("requests", "that found an open connection"),
    "connections_discarded": Measure("connections", "closed because of a doubt"),
    "connections_retired": Measure(
        "connections", "closed because three answers in a row took four times as long as usual"
    ),
    "connections_in_use": _state("connections", "that carry a request now"),
    "connections_idle": _state("connections", "that are open and carry none"),
    "hedges_sent": Measure(
        "requests",
        "second requests for an object that took twice as long as nine in ten of its size do; at most 5 % of the bytes "
        "delivered and one for an object that holds everything up for a second, and none while the service refuses or "
        "`network.maxRequestsPerSecond` holds requests back",
    ),
    "hedges_won": Measure("requests", "second requests whose answer came first"),
    "retries_connect": _retries("after a connection that could not be made"),
    "retries_stale": _retries(
        "after an idle connection had been closed by the other side; not counted by the policy"
    ),
    "retries_broken": _retries("after a reset, an early end or a short body"),
    "retries_timeout": _retries("after silence, a stall or a rate below the floor"),
    "retries_server": _retries("after a 5xx or another transient refusal"),
    "retries_throttled": _retries("after a refusal for throttling"),
    "retries_protocol": _retries("after an answer that made no sense"),
    "retries_integrity": _retries("after a checksum that differed"),
    "retries_credentials": _retries("with fresh credentials"),
    "retries_clock": _retries("after the clock of OSS was learned"),
    "resumed": Measure("bodies", "taken up again in the middle"),
    "read_ahead_objects": _state("objects or parts", "asked for and not yet delivered"),
    "read_ahead_bytes": _state("bytes", "of these"),
    "read_ahead_limit_bytes": _state(
        "bytes", "that the iterators of a process may keep ahead together, `network.maxBytesInFlight`"
    ),
    "uploads_open": _state("uploads", "in several parts that are under way"),
    "upload_buffer_bytes": _state("bytes", "of memory that these hold"),
    "upload_parts_waiting": _state("parts", "of these that wait to be sent"),
    "uploads_abandoned": Measure("writers", "dropped without close or abort: nothing was saved"),
    "uploads_left_behind": Measure(
        "uploads", "that could not be aborted, so their parts stay and cost storage"
    ),
    "uploads_left_behind_bytes": Measure("bytes", "of their parts"),
    "orphan_uploads": _state(
        "uploads", "that nobody ended, as `abandoned_uploads` found them last; absent before"
    ),
    "orphan_upload_bytes": _state("bytes", "of their parts"),
    "saves": Measure("objects", "that writers published"),
    "save_bytes": Measure("bytes", "of these"),
    "save_serialise_seconds": Measure("seconds", "in which programs made the bytes of saves"),
    "save_upload_seconds": Measure("seconds", "for which saves waited for OSS to take bytes"),
    "save_settle_seconds": Measure("seconds", "in which saves were made visible and verified"),
    "checkpoint_saves": Measure("saves", "of this rank in distributed checkpoints"),
    "checkpoint_save_bytes": Measure("bytes", "of these"),
    "checkpoint_save_seconds": Measure("seconds", "from their first byte to their last"),
    "checkpoint_save_serialise_seconds": Measure("seconds", "of that for making bytes, over all threads"),
    "checkpoint_save_upload_seconds": Measure(
        "seconds", "of that for waiting until OSS took bytes, over all threads"
    ),
    "checkpoint_save_settle_seconds": Measure(
        "seconds", "of that for making objects visible, over all threads"
    ),
    "checkpoint_loads": Measure("loads", "of this rank from distributed checkpoints"),
    "checkpoint_load_bytes": Measure("bytes", "of these"),
    "checkpoint_load_seconds": Measure("seconds", "from their first byte to their last"),
    "checkpoint_load_read_seconds": Measure("seconds", "of that for reading, over all threads"),
    "checkpoint_load_place_seconds": Measure(
        "seconds", "of that for bringing bytes into tensors, over all threads"
    ),
    "objects_changed": Measure("objects", "replaced between listing and reading"),
    "objects_skipped": Measure(
        "objects", "missing, and left out or replaced because the caller asked for that"
    ),
    "crc_checked": Measure("checksums", "compared and equal"),
    "crc_unchecked": Measure("checksums", "that OSS did not have"),
    "crc_mismatched": Measure("checksums", "that differed"),
    "credential_refreshes": Measure("refusals", "of a key, answered by newer credentials"),
    "credentials_source.<source>": _state("clients", "that sign with the keys of this source"),
    "credentials_expire_seconds": _state(
        "seconds", "until the first of the keys in use expires; absent where nobody said when", "min"
    ),
    "clock_offset_seconds": _state(
        "seconds", "that the clock of OSS was found ahead of this machine's", "widest"
    ),
    "index_listed_keys": Measure(
        "objects", "that were listed into indexes, in each process that waited for it"
    ),
    "index_listing_seconds": Measure("seconds", "that these listings took"),
    "index_listing_keys_per_second": _state("objects/s", "the one by the other"),
    "index_age_seconds": _state(
        "seconds", "since the dataset's index was listed or loaded; absent before", "max"
    ),
    "steps": Measure("steps", "of `Steps`"),
    "step_wait_seconds": Measure("seconds", "that these waited for their batches"),
    "step_work_seconds": Measure("seconds", "between getting one batch and asking for the next"),
    "dataset_objects": Measure("objects", "that datasets delivered"),
    "dataset_bytes": Measure("bytes", "of these objects"),
    "dataset_missing_skipped": Measure("objects", 'missing, under `on_missing` "skip" or a function'),
    "dataset_changed_skipped": Measure(
        "objects", 'replaced after they were listed, under `on_changed` "skip" or a function'
    ),
    "dataset_errors_skipped": Measure(
        "objects", 'that could not be read, under `on_error` "skip" or a function'
    ),
    "dataset_wait_seconds": Measure("seconds", "that consumers waited for data, over all workers"),
    "threads": _state("threads", "of the processes, Python's and all others"),
    "descriptors": _state("descriptors", "that the processes have open"),
    "resident_bytes": _state("bytes", "of memory that the processes occupy; what they share counts in each"),
    **{
        f"{base}_{quantile}_seconds": _state("seconds", text, "max")
        for base, text in _QUANTILES_OF.items()
        for quantile in _QUANTILES
    },
}


# Decimal places that are kept of a number which is not whole: of seconds, nanoseconds.
_DIGITS = 9


def base_of(name: str) -> str:
    """Return the name of the table under which a name of `stats()` is described."""
    for start, (base, _) in FAMILIES.items():
        if name.startswith(start):
            return base
    return name


def total(parts: Iterable[Mapping[str, int | float]]) -> Stats:
    """Make one of the raw numbers of several processes or clients, name by name.

    The order in which they come makes no difference, so a sum does not fall when one of them goes among those that are
    gone: seconds are summed up in whole nanoseconds.
    """
    result: Stats = {}
    for part in parts:
        for name, given in part.items():
            value = round(given, _DIGITS) if isinstance(given, float) else given
            result[name] = value if name not in result else _merged(name, result[name], value)
    return result


def _merged(name: str, one: float, other: float) -> int | float:
    measure = MEASURES.get(base_of(name))
    if measure is None or measure.merge == "sum":
        return round(one + other, _DIGITS)
    if measure.merge == "widest":
        return max(one, other, key=abs)
    return max(one, other) if measure.merge == "max" else min(one, other)


def lasting(stats: Mapping[str, int | float]) -> Stats:
    """Keep of a process that is gone what it counted, not its state."""
    return {name: value for name, value in stats.items() if not is_state(name)}


def is_state(name: str) -> bool:
    """Say whether a number goes down again."""
    measure = MEASURES.get(base_of(name))
    return measure is not None and measure.is_state


def shown(raw: Mapping[str, int | float]) -> Stats:
    """Make of raw numbers what `stats()` shows: quantiles, and what follows from others."""
    stats: Stats = {name: value for name, value in raw.items() if "#" not in name}
    for base, classes in _histograms(raw).items():
        for quantile, part in _QUANTILES.items():
            stats[f"{base}_{quantile}_seconds"] = _quantile(classes, part)
    if "requests_per_second" in raw:
        stats["account_quota_share"] = raw["requests_per_second"] / ACCOUNT_REQUESTS_PER_SECOND
    if raw.get("index_listing_seconds"):
        stats["index_listing_keys_per_second"] = raw["index_listed_keys"] / raw["index_listing_seconds"]
    return stats


def class_of(seconds: float) -> int:
    """Number the class of a histogram that a time belongs to."""
    microseconds = int(seconds * 1e6)
    if microseconds < _STEPS:
        return max(microseconds, 0)
    doubling = microseconds.bit_length() - 1
    shift = doubling - _STEPS.bit_length() + 1
    return (shift + 1) * _STEPS + (microseconds >> shift) % _STEPS


def _histograms(raw: Mapping[str, int | float]) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for name, count in raw.items():
        base, mark, number = name.partition("#")
        if mark:
            found.setdefault(base, {})[int(number)] = count
    return found


def _quantile(classes: Mapping[int, float], part: float) -> float:
    wanted, seen = part * sum(classes.values()), 0.0
    for number in sorted(classes):
        seen += classes[number]
        if seen >= wanted:
            break
    return _middle_seconds(number)


def _middle_seconds(number: int) -> float:
    if number < _STEPS:
        return number / 1e6
    shift = number // _STEPS - 1
    return ((_STEPS + number % _STEPS + 0.5) * (1 << shift)) / 1e6
