"""The ways in which users read a whole object, the timers at a scale that tests can wait for, and odd-sized content."""

from __future__ import annotations

import random

from osstorchconnector import OssCheckpoint, OssIterableDataset, OssMapDataset

MIB = 1 << 20

# The policy at 1/60: a deadline of 180 s becomes 3 s, pauses of 0.1 to 10 s become 1.7 to 167 ms. Silence is not
# scaled as far, so that a busy machine is not taken for a silent server.
QUICK = {
    "deadlineSeconds": 3,
    "firstContactSeconds": 1.5,
    "firstByteSeconds": 1,
    "completeSeconds": 1,
    "readStallSeconds": 0.5,
    "writeStallSeconds": 0.5,
    "settleSeconds": 3,
    "tickSeconds": 0.05,
    "retryBaseSeconds": 0.0017,
    "retryCapSeconds": 0.167,
}

# For what never gets better: the same at 1/90.
SHORT = {"deadlineSeconds": 2, "retryBaseSeconds": 0.0011, "retryCapSeconds": 0.111}

# The bound on requests of one stuck stream within one deadline.
MOST_REQUESTS = 40


def quick(site, **network):
    """Return the arguments with quick timers; `network` overrides some."""
    return site.configured(network={**QUICK, **network})


def by_stream(uri, arguments):
    """Read in order, a little at a time."""
    with OssCheckpoint(**arguments).reader(uri) as reader:
        return drained(reader, 70_001)


def drained(reader, size):
    """Read on until the end, `size` bytes at a time."""
    return b"".join(iter(lambda: reader.read(size), b""))


def by_readinto(uri, arguments):
    """Read all at once into memory of one's own."""
    with OssCheckpoint(**arguments).reader(uri) as reader:
        buffer = bytearray(reader.size)
        assert reader.readinto(buffer) == len(buffer)
        return bytes(buffer)


def by_map(uri, arguments):
    """Read by position."""
    return OssMapDataset.from_objects([uri], **arguments)[0].read()


def by_iterable(uri, arguments):
    """Read what is delivered."""
    [sample] = OssIterableDataset.from_objects([uri], **arguments)
    return sample.read()


WAYS = [by_stream, by_readinto, by_map, by_iterable]


def content(size, seed=7):
    """Return bytes in which no stretch repeats."""
    return random.Random(seed).randbytes(size)


def gets(site):
    """Return the reads of the journal."""
    return site.oss.requests("GetObject")


def always(action, **match):
    """Return the one rule that acts on every read, or on what `match` says."""
    return [{"match": {"op": "GetObject", **match}, "action": action}]


def once(action, **match):
    """Return the one rule that acts on the first read, or on the first that fits `match`."""
    return [{"match": {"op": "GetObject", **match}, "action": action, "times": 1}]
