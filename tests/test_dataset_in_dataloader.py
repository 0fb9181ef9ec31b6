"""Datasets in a DataLoader: every start method, each object once, errors as they are, nothing left hanging."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from torch.utils.data import DataLoader

import osstorchconnector
from osstorchconnector import OssIterableDataset, OssMapDataset
from osstorchconnector.errors import NotFoundError

COUNT = 41
KINDS = [OssIterableDataset, OssMapDataset]
START_METHODS = ["fork", "forkserver", "spawn"]


def key_and_data(sample):
    return sample.key, sample.read()


def slow_key(sample):
    time.sleep(0.005)
    return sample.key


def kill_this_worker(sample):
    if sample.key.endswith("00000007"):
        os.kill(os.getpid(), signal.SIGKILL)
    return sample.key


def keys_of(loader):
    return [key for keys, _ in loader for key in keys]


@pytest.fixture
def arguments(site):
    site.oss.fill("bucket", "p/", COUNT, 1000)
    return site.arguments


def expected_keys():
    return [f"/bucket/p/{number:08}" for number in range(COUNT)]


def check_epochs(site, dataset, epochs=2, **options):
    loader = DataLoader(dataset, **options)
    for _ in range(epochs):
        assert sorted(keys_of(loader)) == expected_keys()
    assert len(site.oss.requests("ListObjectsV2")) == 1
    site.assert_read(epochs * COUNT, dataset.stats()["hedges_sent"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_workers", [0, 1, 2, 4, 8])
def test_each_object_comes_once_an_epoch_with_one_listing_in_all(kind, num_workers, site, arguments):
    dataset = kind.from_prefix("oss://bucket/p/", transform=key_and_data, **arguments)
    check_epochs(site, dataset, batch_size=4, num_workers=num_workers)


@pytest.mark.parametrize(("kind", "used_before"), [(OssIterableDataset, True), (OssMapDataset, False)])
@pytest.mark.parametrize("start_method", START_METHODS)
def test_f74_every_start_method_works_before_and_after_use(kind, used_before, start_method, site, arguments):
    dataset = kind.from_prefix("oss://bucket/p/", transform=key_and_data, **arguments)
    if used_before:
        assert [key for key, _ in dataset] == expected_keys()
    loader = DataLoader(dataset, batch_size=4, num_workers=2, multiprocessing_context=start_method)
    assert sorted(keys_of(loader)) == expected_keys()
    assert len(site.oss.requests("ListObjectsV2")) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_delivered_objects_may_cross_from_a_worker(kind, arguments):
    dataset = kind.from_prefix("oss://bucket/p/", **arguments)
    crossed = list(DataLoader(dataset, batch_size=None, num_workers=2))
    assert sorted(sample.key for sample in crossed) == expected_keys()
    assert {(sample.size, len(sample.read())) for sample in crossed} == {(1000, 1000)}


@pytest.mark.parametrize("kind", KINDS)
def test_persistent_workers_and_prefetching_deliver_every_epoch(kind, site, arguments):
    dataset = kind.from_prefix("oss://bucket/p/", transform=key_and_data, **arguments)
    check_epochs(site, dataset, 3, batch_size=3, num_workers=2, persistent_workers=True, prefetch_factor=4)


def test_map_batches_can_be_shuffled_by_a_seed(arguments):
    dataset = OssMapDataset.from_prefix("oss://bucket/p/", transform=key_and_data, **arguments)
    orders = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(7)
        orders.append(
            keys_of(DataLoader(dataset, batch_size=4, num_workers=2, shuffle=True, generator=generator))
        )
    assert orders[0] == orders[1] != expected_keys()
    assert sorted(orders[0]) == expected_keys()


def test_without_batching_each_item_is_a_sample(arguments):
    dataset = OssIterableDataset.from_prefix("oss://bucket/p/", transform=key_and_data, **arguments)
    assert sorted(key for key, _ in DataLoader(dataset, batch_size=None, num_workers=2)) == expected_keys()


@pytest.mark.parametrize("num_workers", [1, 2, 4])
def test_each_worker_delivers_its_share_in_listing_order(num_workers, arguments):
    dataset = OssIterableDataset.from_prefix("oss://bucket/p/", transform=key_and_data, **arguments)
    keys = [key for key, _ in DataLoader(dataset, batch_size=None, num_workers=num_workers)]
    for worker in range(num_workers):
        share = expected_keys()[worker::num_workers]
        assert [key for key in keys if key in share] == share


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("start_method", "num_workers", "persistent"),
    list(itertools.product(START_METHODS, [1, 2, 4, 8], [False, True])),
)
def test_the_full_grid_of_loaders(kind, start_method, num_workers, persistent, site, arguments):
    dataset = kind.from_prefix("oss://bucket/p/", transform=key_and_data, **arguments)
    check_epochs(
        site, dataset, batch_size=4, num_workers=num_workers, persistent_workers=persistent,
        multiprocessing_context=start_method,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "start_method"),
    [(OssIterableDataset, "fork"), (OssMapDataset, "fork"), (OssIterableDataset, "spawn")],
)
def test_f81_an_error_crosses_the_worker_boundary_with_its_fields(kind, start_method, arguments):
    dataset = kind.from_objects(["oss://bucket/gone"], **arguments)
    with pytest.raises(NotFoundError) as missing:
        list(DataLoader(dataset, num_workers=1, multiprocessing_context=start_method, collate_fn=list))
    error = missing.value
    assert (error.status, error.code, error.operation) == (404, "NoSuchKey", "GetObject")
    assert error.uri == "oss://bucket/gone"
    assert error.request_id
    assert "on_missing" in str(error)


@pytest.mark.parametrize("kind", KINDS)
def test_stats_are_summed_over_workers(kind, site, arguments):
    site.oss.shape(first_byte_ms=20)
    dataset = kind.from_prefix("oss://bucket/p/", transform=key_and_data, **arguments)
    loader = DataLoader(dataset, batch_size=4, num_workers=2)
    for epoch in (1, 2):
        keys_of(loader)
        stats = dataset.stats()
        assert stats["dataset_objects"] == epoch * COUNT
        assert stats["dataset_bytes"] == epoch * COUNT * 1000
        assert stats["requests.GetObject.ok"] == epoch * COUNT
        assert stats["dataset_wait_seconds"] > 0
    assert osstorchconnector.stats()["requests.GetObject.ok"] >= 2 * COUNT


@pytest.mark.parametrize(
    ("kind", "start_method"),
    [(OssIterableDataset, "fork"), (OssMapDataset, "fork"), (OssMapDataset, "spawn")],
)
def test_an_early_break_leaves_no_worker(kind, start_method, arguments):
    dataset = kind.from_prefix("oss://bucket/p/", transform=slow_key, **arguments)
    loader = DataLoader(dataset, batch_size=1, num_workers=2, multiprocessing_context=start_method)
    running = iter(loader)
    assert len(next(running)) == 1
    workers = running._workers
    started = time.monotonic()
    del running
    # A spawned worker is still importing torch when it is told to stop.
    assert time.monotonic() - started < 30
    assert not any(worker.is_alive() for worker in workers)


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_worker_is_an_error_and_the_next_epoch_works(kind, arguments):
    dying = kind.from_prefix("oss://bucket/p/", transform=kill_this_worker, **arguments)
    with pytest.raises(RuntimeError, match="exited unexpectedly"):
        list(DataLoader(dying, batch_size=1, num_workers=2))
    whole = kind.from_prefix("oss://bucket/p/", transform=key_and_data, **arguments)
    assert sorted(keys_of(DataLoader(whole, batch_size=4, num_workers=2))) == expected_keys()


INTERRUPTED = """
import os, signal, sys, threading, time
from torch.utils.data import DataLoader
from osstorchconnector import OssIterableDataset
dataset = OssIterableDataset.from_prefix("oss://bucket/p/")
loader = DataLoader(dataset, batch_size=1, num_workers={workers}, collate_fn=list)
running = iter(loader)
next(running)
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    while True:
        for _ in running: time.sleep(0.01)
        running = iter(loader)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.usefixtures("arguments")
def test_f77_ctrl_c_ends_a_loop(workers, site):
    environment = {**os.environ, **site.oss.environ()}
    run = subprocess.run(
        [sys.executable, "-c", INTERRUPTED.format(workers=workers)],
        env=environment, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert run.stdout.strip() == "interrupted", run.stderr
    assert run.returncode == 0, run.stderr


def test_f72_a_fork_after_use_shares_no_connection(site, arguments):
    dataset = OssMapDataset.from_prefix("oss://bucket/p/", transform=key_and_data, **arguments)
    own = dataset[0]
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if dataset.__getitems__(range(COUNT))[0] == own else 2
            os.write(writing, b"done")
        finally:
            os._exit(status)
    assert dataset.__getitems__(range(COUNT))[0] == own
    assert os.waitpid(child, 0)[1] == 0
    assert os.read(reading, 4) == b"done"
    connections = {entry["connection"] for entry in site.oss.requests("GetObject")}
    assert len(connections) >= 2
    assert dataset[COUNT - 1][0] == expected_keys()[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_f94_a_child_that_drops_an_iterator_leaves_its_parents_alone(kind, arguments):
    dataset = kind.from_prefix("oss://bucket/p/", transform=key_and_data, **arguments)
    running = iter(dataset)
    first = next(running)
    for _ in range(3):
        child = os.fork()
        if child == 0:
            try:
                del running
                gc.collect()
            finally:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    assert [key for key, _ in [first, *running]] == expected_keys()
