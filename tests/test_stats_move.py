"""Counters that only move when something rare happens: each by exactly that."""

from __future__ import annotations

import gc
import threading
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import pytest
import torch

import osstorchconnector
from osstorchconnector import OssCheckpoint, OssClient, OssIterableDataset
from osstorchconnector.errors import NotFoundError, UploadError
from osstorchconnector.steps import Steps
from torch_versions import need_checkpoints

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Case(NamedTuple):
    """What happens, and by how much the counters of the process move.

    Attributes:
        cause: makes it happen.
        moved: the exact sums; for what has no exact one, the least.
    """

    cause: Callable[..., None]
    moved: dict[str, int]
    least: Mapping[str, float] = MappingProxyType({})


def on(operation, **action):
    """Make a rule for the first request of an operation."""
    return [{"match": {"op": operation, "nth": [1]}, "action": action}]


def refusal(site):
    with OssCheckpoint(**site.arguments).reader("oss://bucket/gone") as reader, pytest.raises(NotFoundError):
        reader.read()


def reset(site):
    site.fill({"a": b"x"})
    site.oss.rules(on("GetObject", reset_after_bytes=0))
    with OssCheckpoint(**site.arguments).reader("oss://bucket/a") as reader:
        assert reader.read() == b"x"


def fresh_key(site):
    site.fill({"a": b"x"})
    keys = iter(["a-key-that-was-deleted", site.oss.access_key_id])

    def provider():
        return {"access_key_id": next(keys), "access_key_secret": site.oss.access_key_secret}

    arguments = {**site.arguments, "cred_path": "", "cred_provider": provider}
    OssClient(**arguments).head_object("bucket", "a")


def missing_object(site):
    uris = [*site.fill({"a": b"x", "b": b"y"}), "oss://bucket/gone"]
    dataset = OssIterableDataset.from_objects(uris, on_missing="skip", **site.arguments)
    assert len(list(dataset)) == 2


def failed_abort(site):
    arguments = site.configured(checkpointConfig={"uploadIoSizeMB": 1}, network={"abortSeconds": 0.2})
    writer = OssCheckpoint(**arguments).writer("oss://bucket/left")
    writer.write(bytes(3 << 20))
    site.oss.rules([{"match": {"op": "AbortMultipartUpload"}, "action": {"status": 500}}])
    with pytest.raises(UploadError, match="stays behind"):
        writer.abort()
    site.oss.rules([])


def work_between_steps(_site):
    for _ in Steps([1, 2, 3]):
        begun = time.perf_counter()
        while time.perf_counter() < begun + 0.01:
            pass


def distributed_checkpoint(site):
    need_checkpoints()
    from torch.distributed import checkpoint as dcp

    files = osstorchconnector.OssDCPFileSystem(**site.arguments)
    state = {"weight": torch.ones(1000)}
    dcp.save(state, storage_writer=files.writer("oss://bucket/c"))
    dcp.load(state, storage_reader=files.reader("oss://bucket/c"))


_STAGES = ("save", "save_serialise", "save_upload", "save_settle", "load", "load_read", "load_place")

CASES = [
    Case(refusal, {"requests_refused": 1, "requests_failed": 0, "connections_discarded": 0}),
    Case(
        reset, {"requests_failed": 1, "requests_refused": 0, "connections_discarded": 1, "retries_broken": 1}
    ),
    Case(fresh_key, {"retries_credentials": 1, "credential_refreshes": 1, "requests_refused": 1}),
    Case(missing_object, {"objects_skipped": 1, "dataset_missing_skipped": 1, "dataset_objects": 2}),
    Case(failed_abort, {"uploads_left_behind": 1}, {"uploads_left_behind_bytes": 1 << 20}),
    Case(work_between_steps, {"steps": 3}, {"step_work_seconds": 0.03}),
    Case(
        distributed_checkpoint,
        {"checkpoint_saves": 1, "checkpoint_loads": 1},
        {f"checkpoint_{stage}_seconds": 1e-9 for stage in _STAGES}
        | {"checkpoint_save_bytes": 4000, "checkpoint_load_bytes": 4000},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case.cause.__name__ for case in CASES])
def test_a_counter_moves_by_what_happened(case, site):
    before = osstorchconnector.stats()
    case.cause(site)
    after = osstorchconnector.stats()
    moved = {name: after.get(name, 0) - before.get(name, 0) for name in [*case.moved, *case.least]}
    assert {name: moved[name] for name in case.moved} == case.moved
    assert all(moved[name] >= least for name, least in case.least.items()), moved


def test_what_a_reader_or_a_writer_counts_after_its_client_went_is_counted(site):
    site.fill({"a": b"whole"})
    before = osstorchconnector.stats()
    writer = OssCheckpoint(**site.arguments).writer("oss://bucket/w")
    reader = OssCheckpoint(**site.arguments).reader("oss://bucket/a")
    gc.collect()
    assert reader.read() == b"whole"
    with writer:
        writer.write(b"saved")
    during = osstorchconnector.stats()
    del reader, writer
    gc.collect()
    after = osstorchconnector.stats()
    for stats in (during, after):
        assert stats["saves"] - before.get("saves", 0) == 1
        assert stats["requests.GetObject.ok"] - before.get("requests.GetObject.ok", 0) == 1


def until(condition):
    """Look until something is so: other threads bring it about."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


def test_what_waits_for_a_thread_is_told_while_it_waits(site):
    site.fill({f"k/{number}": b"x" * 100 for number in range(8)})
    stall = {"stall_after_bytes": 10, "stall_ms": 50_000}
    site.oss.rules([{"match": {"op": "GetObject", "key": "k/1"}, "action": stall}])
    arguments = site.configured(network={"maxConcurrency": 1, "readStallSeconds": 60})
    dataset = OssIterableDataset.from_prefix("oss://bucket/k/", **arguments)
    iterator, second = iter(dataset), iter(dataset)
    next(iterator)
    # The only thread is with an object that does not come, which the second epoch stands behind.
    until(lambda: dataset.stats()["in_flight"] == 1)
    reader = threading.Thread(target=next, args=(second,))
    reader.start()
    until(lambda: dataset.stats()["jobs_waiting"] > 0)
    iterator.close()
    reader.join()
    second.close()
    until(lambda: dataset.stats()["jobs_waiting"] == 0)


def test_parts_that_wait_are_told_while_they_wait(site):
    arguments = site.configured(checkpointConfig={"uploadIoSizeMB": 1, "uploadConcurrency": 1})
    site.oss.rules([{"match": {"op": "UploadPart"}, "action": {"delay_ms": 50_000}}])
    checkpoint = OssCheckpoint(**arguments)
    writer = checkpoint.writer("oss://bucket/w")
    for _ in range(4):
        writer.write(bytes(1 << 20))
    until(lambda: checkpoint.stats()["upload_parts_waiting"] >= 2)
    writer.abort()
    assert checkpoint.stats()["upload_parts_waiting"] == 0
