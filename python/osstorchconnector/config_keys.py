"""Every key of the config file: its type, what it sets, and the words in which docs/configuration.md tells of it.

The tables of that page are made from this one, so that neither can say what the other does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Option = int | float | str | bool

_MIB = 1 << 20


@dataclass(frozen=True)
class Key:
    """What one key of the file means.

    Attributes:
        kind: the JSON type it must have.
        target: a native option, or a field of `ClientConfig` where `is_field`; "" has no effect.
        does: what it does, for the page; "" where it has no effect.
        default: what holds without it, for the page; "" where the native side has a number for it.
        is_field: whether `target` is a field.
        bounds: what a number outside of them is taken for; None where the native side has them.
        scale: factor from the file's unit to ours.
        original: the original's default where equal values are no choice.
        idle: the value that means nothing; any other is ignored with a warning.
        words: the texts allowed.
        idle_because: why it is accepted without an effect, for one line in the log.
    """

    kind: Literal["count", "number", "switch", "text", "bytes", "level"]
    target: str = ""
    does: str = ""
    default: str = ""
    is_field: bool = False
    bounds: tuple[float, float] | None = None
    scale: float = 1
    original: int | None = None
    idle: Option | None = None
    words: tuple[str, ...] = ()
    idle_because: str = ""


def _field(kind: Literal["switch", "text", "number", "level"], target: str, does: str, default: str) -> Key:
    return Key(kind, target, does, default, is_field=True)


def _timer(target: str, does: str) -> Key:
    return Key("number", target, does)


_FIRST_RANGE = "an object of unknown size is asked for by a plain GET, without a first range"

_OF_THE_ORIGINAL: dict[str, Key] = {
    "logLevel": _field("level", "log_level", "the least level that is logged", "that of Python's `logging`"),
    "logPath": _field(
        "text", "log_path", "a log file, `<path>_<worker>`, besides Python's `logging`", "no file"
    ),
    "auditPath": _field("text", "audit_path", "an audit file, `<path>_<worker>`", "no file"),
    "ioEngineType": Key("count", idle=0),
    "datasetConfig.prefetchConcurrency": Key(
        "count", "dataset_max_concurrency", "most requests in flight of a dataset", "measured", original=24
    ),
    "datasetConfig.prefetchWorker": Key("count"),
    "datasetConfig.prefetchMB": Key(
        "count",
        "max_bytes_in_flight",
        "bytes in flight of a process, as `network.maxBytesInFlight`",
        "64",
        scale=_MIB,
    ),
    "datasetConfig.prefetchUnitMB": Key("count", idle_because=_FIRST_RANGE),
    "datasetConfig.enableFastList": Key(
        "switch",
        "fast_list",
        "accepted, without effect: indexes are listed over many ranges of keys at a time either way, and their order "
        "stays that of the keys",
    ),
    "datasetConfig.listConcurrency": Key(
        "count",
        "list_max_concurrency",
        "most list requests in flight while an index is built; 1 reads one page after the other",
        "16",
        original=16,
    ),
    "datasetConfig.listWorker": Key("count"),
    "datasetConfig.enableBatchGet": Key("switch", idle=False),
    "datasetConfig.batchGetSize": Key("count"),
    "datasetConfig.timeoutMs": Key(
        "count",
        "read_stall_seconds",
        "silence in mid-body, as `network.readStallSeconds`; never a total time",
        "10000",
        scale=0.001,
    ),
    "checkpointConfig.prefetchConcurrency": Key(
        "count", "checkpoint_max_concurrency", "most requests in flight of a reader", "measured", original=24
    ),
    "checkpointConfig.prefetchWorker": Key("count"),
    "checkpointConfig.prefetchIoSizeMB": Key(
        "count",
        "min_range_bytes",
        "least size of a reader's ranges",
        "256 KiB after a jump, 4 MiB in large reads",
        scale=_MIB,
    ),
    "checkpointConfig.uploadConcurrency": Key(
        "count", "upload_max_concurrency", "most parts in flight of one writer", "measured", original=64
    ),
    "checkpointConfig.uploadIoSizeMB": Key(
        "count", "part_size_bytes", "size of the first parts of an upload", "16", scale=_MIB
    ),
    "checkpointConfig.writeIoSizeMB": Key("count"),
    "checkpointConfig.uploadBufferSizeMB": Key(
        "count",
        "upload_buffer_bytes",
        "most memory of one writer",
        "256, or two parts",
        scale=_MIB,
        original=1024,
    ),
}

_OF_OURS: dict[str, Key] = {
    "network.maxConcurrency": Key(
        "count",
        "max_concurrency",
        "most threads of a process that make requests, each one at a time: those of all its datasets, readers, writers "
        "and listings together. A line at level INFO says which bound holds",
    ),
    "network.maxRequestsPerSecond": Key(
        "count",
        "max_requests_per_second",
        "requests a second of the whole job, divided over its processes (rank x worker), and shared by the objects of "
        "one that have the same endpoint. Without it the rate is bounded only by what the service admits: after its "
        "first refusal (503, 429) the requests of all objects of a process with the same endpoint and account go at the "
        "pace it was seen to admit",
        "none",
    ),
    "network.maxBytesInFlight": Key(
        "bytes", "max_bytes_in_flight", "bytes read ahead by a process, all its iterators together"
    ),
    "network.addressing": Key(
        "text",
        "addressing",
        "how buckets are addressed: by the form of the endpoint, as names of hosts, as paths, or the endpoint is a "
        "domain of one bucket",
        '`"auto"`',
        is_field=True,
        words=("auto", "virtual", "path", "cname"),
    ),
    "network.caFile": Key("text", "ca_file", "PEM file of authorities to trust, also by STS", "the system's"),
    "network.requireHttps": Key(
        "switch",
        "require_https",
        "refuses endpoints in clear text. Without it `http://` is taken, with one warning where the way is public",
        "false",
    ),
    "network.proxy": Key(
        "text",
        "proxy",
        '`"http://[user:password@]host:port"`, or `"direct"` for none; without it `https_proxy`, `http_proxy` or '
        "`all_proxy`, in either case, for endpoints that are not on this machine. `NO_PROXY` (names, domains, addresses, "
        "blocks like `10.0.0.0/8`) is honoured for both. Other kinds of proxy are an error. Pickles do not carry a URL "
        "with user information: the file is read again",
        "the environment",
    ),
    "network.verify": Key(
        "text",
        "verify",
        'what becomes of bytes for which the service tells no CRC-64: `"check"` counts them as unchecked, `"require"` makes '
        'them an error. `"off"` compares no checksum at all, with one warning',
        '`"check"`',
        words=("check", "require", "off"),
    ),
    "network.statsLogSeconds": Key(
        "number",
        "stats_log_seconds",
        "logs `stats()` as one line that often, from each millisecond to once a day",
        "off",
        is_field=True,
        bounds=(0.001, 86_400),
    ),
    "network.auditAll": _field(
        "switch", "audit_all", "audits every request, not only slow and failed reads", "false"
    ),
    "compatibility.missing": Key(
        "text",
        "missing",
        '`"skip"` leaves missing objects out',
        '`"error"`',
        is_field=True,
        words=("error", "skip"),
    ),
    "compatibility.emptyPrefix": Key(
        "text",
        "empty_prefix",
        '`"allow"` delivers nothing for a prefix without objects',
        '`"error"`',
        is_field=True,
        words=("error", "allow"),
    ),
}

_TIMERS: dict[str, Key] = {
    "network.deadlineSeconds": _timer("deadline_seconds", "an operation may go without progress"),
    "network.firstContactSeconds": _timer(
        "first_contact_seconds", "no connection can be made to an endpoint that never answered this process"
    ),
    "network.connectSeconds": _timer("connect_seconds", "one attempt to connect"),
    "network.firstByteSeconds": _timer(
        "first_byte_seconds", "from the request to the first byte of its answer"
    ),
    "network.completeSeconds": _timer(
        "complete_seconds", "the same for CompleteMultipartUpload and DeleteMultipleObjects"
    ),
    "network.readStallSeconds": _timer("read_stall_seconds", "no byte of an answer comes"),
    "network.writeStallSeconds": _timer("write_stall_seconds", "no byte of a request is taken"),
    "network.providerSeconds": _timer("provider_seconds", "the answer of a `cred_provider`"),
    "network.idleSeconds": _timer("idle_seconds", "an idle connection is kept"),
    "network.settleSeconds": _timer(
        "settle_seconds", "at least, for looking what became of a publication whose answer was lost"
    ),
    "network.abortSeconds": _timer("abort_seconds", "for giving an upload up"),
    "network.retryBaseSeconds": _timer(
        "retry_base_seconds", "bound of the first pause before a repetition; it doubles"
    ),
    "network.retryCapSeconds": _timer("retry_cap_seconds", "largest bound of a pause"),
    "network.tickSeconds": _timer(
        "tick_seconds",
        "between two looks at the timers by a thread that waits; the others are counted in it",
    ),
}

# By section of the page.
SECTIONS = {"original": _OF_THE_ORIGINAL, "ours": _OF_OURS, "timers": _TIMERS}
KEYS = {name: key for section in SECTIONS.values() for name, key in section.items()}
