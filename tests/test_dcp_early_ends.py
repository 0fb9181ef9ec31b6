"""A load or save that ends early: what other threads still read or write is given up, not waited for."""

from __future__ import annotations

import threading

import pytest

from torch_versions import need_checkpoints

need_checkpoints()

from torch.distributed.checkpoint.filesystem import _StorageInfo

from osstorchconnector.dcp.fetching import Fetcher, Wanted
from osstorchconnector.dcp.progress import Progress
from osstorchconnector.dcp.shards import PlannedShard, ShardWriter
from osstorchconnector.errors import ClosedError, PermissionDeniedError


class Reader:
    """A reader whose ranges arrive when it is closed, or not at all."""

    def __init__(self, begun, failure):
        self.begun, self.failure = begun, failure
        self.closed = threading.Event()

    def readinto_ranges(self, ranges):
        if self.failure is not None:
            assert self.begun.wait(30)
            raise self.failure
        self.begun.set()
        assert self.closed.wait(30), "it was waited for"
        raise ClosedError("read oss://bucket/run/a: the stream is closed; open it again")

    def close(self):
        self.closed.set()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Store:
    def __init__(self, failure):
        begun = threading.Event()
        self.readers = {"/bucket/run/a": Reader(begun, None), "/bucket/run/b": Reader(begun, failure)}

    def open_reader(self, path, size_bytes=None):
        return self.readers[path]


@pytest.mark.parametrize("failure", [PermissionDeniedError("GetObject oss://bucket/run/b: refused")])
def test_a_load_that_fails_gives_up_what_it_still_reads(failure):
    store = Store(failure)
    wanted = [Wanted(_StorageInfo(name, 0, 8), None, [], None) for name in ("a", "b")]
    with Progress("load", "oss://bucket/run", 0, 16, 2) as progress:
        fetcher = Fetcher(store, "/bucket/run", {}, None, None, None, progress)
        with pytest.raises(type(failure)) as raised:
            fetcher.fetch(wanted)
    assert raised.value is failure


class Stream:
    """A writer whose item, or the end that publishes it, goes on until it is aborted, or fails."""

    def __init__(self, begun, failure, publishes=False):
        self.begun, self.failure, self.publishes = begun, failure, publishes
        self.aborted = threading.Event()

    def write_on(self):
        if self.failure is not None:
            assert self.begun.wait(30)
            raise self.failure
        if not self.publishes:
            self.go_on()

    def go_on(self):
        self.begun.set()
        assert self.aborted.wait(30), "it was waited for"
        raise ClosedError("write oss://bucket/run/a: the stream is closed; open it again")

    def abort(self):
        self.aborted.set()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.publishes:
            self.go_on()


class Shards(ShardWriter):
    def write(self, shard):
        with self._opened(shard) as stream:
            stream.write_on()


@pytest.mark.parametrize("publishes", [False, True], ids=["writing", "publishing"])
def test_a_save_that_fails_gives_up_what_other_threads_still_write(publishes):
    begun = threading.Event()
    failure = PermissionDeniedError("PutObject oss://bucket/run/b: refused")
    streams = {"a": Stream(begun, None, publishes), "b": Stream(begun, failure)}
    shards = Shards(lambda name, _: streams[name], None, None, 0, None, "/bucket/run", None)
    with pytest.raises(PermissionDeniedError) as raised:
        shards.write_all([PlannedShard(name, []) for name in "ab"], 2)
    assert raised.value is failure
