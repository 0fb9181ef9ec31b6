"""What the counters say of what happened."""

from __future__ import annotations

import datetime as dt
import gc
import json
import subprocess
import sys

import pytest
import torch
from torch.distributed import checkpoint as dcp
from torch.utils.data import ChainDataset, DataLoader, IterableDataset, get_worker_info

import osstorchconnector
from osstorchconnector import OssCheckpoint, OssClient, OssIterableDataset, OssMapDataset, counters
from osstorchconnector.errors import NotFoundError
from osstorchconnector.steps import Steps
from torch_versions import need_checkpoints


@pytest.fixture
def client(site):
    return OssClient(**site.arguments)


def added(after, before, *names):
    return [after.get(name, 0) - before.get(name, 0) for name in names]


def test_answers_are_counted_by_operation_and_class(site, client):
    site.fill({"a": b"data"})
    client.head_object("bucket", "a")
    with pytest.raises(NotFoundError):
        client.get_object("bucket", "gone").read()
    site.oss.rules([{"match": {"op": "HeadObject", "nth": [1]}, "action": {"status": 503}}])
    client.head_object("bucket", "a")
    stats = client.stats()
    assert stats["answers.HeadObject.2xx"] >= 2
    assert stats["answers.HeadObject.5xx"] == stats["answers_5xx"] == 1
    assert stats["answers_4xx"] >= 1
    assert stats["requests"] == stats["answers_2xx"] + stats["answers_4xx"] + stats["answers_5xx"]
    assert stats["retries_server"] == 1
    assert 0 <= stats["retry_pause_seconds"] <= 0.1
    assert stats["request_seconds"] > 0


def test_first_byte_and_whole_object_quantiles_follow_what_was_slow(site):
    uris = site.fill({f"{number:02}": b"x" * 1000 for number in range(40)})
    site.oss.rules([{"match": {"op": "GetObject", "key": "07"}, "action": {"delay_ms": 300}}])
    dataset = OssMapDataset.from_objects(uris, **site.arguments)
    for number in range(40):
        dataset[number]
    stats = dataset.stats()
    assert stats["first_byte_p50_seconds"] < 0.25 < stats["first_byte_p99_seconds"]
    assert stats["first_byte_p99_seconds"] == stats["first_byte_p999_seconds"]
    assert stats["whole_object_p50_seconds"] < 0.25 < stats["whole_object_p999_seconds"]
    assert stats["whole_object_p999_seconds"] >= 0.3 * 15 / 16


def test_a_large_object_that_comes_in_parts_is_one_whole_object(site):
    site.fill({"large": bytes(40 << 20)})
    dataset = OssMapDataset.from_prefix("oss://bucket/", **site.arguments)
    assert len(dataset[0].read()) == 40 << 20
    stats = dataset.stats()
    assert stats["requests.GetObject.ok"] > 1
    assert stats["whole_object_p50_seconds"] >= stats["first_byte_p50_seconds"]


def test_throttling_is_counted_with_its_pauses_and_the_last_cut(site):
    site.fill({f"k/{number:04}": b"x" for number in range(300)})
    dataset = OssIterableDataset.from_prefix("oss://bucket/k/", **site.of_own_account())
    dataset.prepare()
    site.oss.shape(admit_rps={"rps": 300, "burst": 20})
    assert len(list(dataset)) == 300
    stats = dataset.stats()
    assert stats["throttled"] == stats["retries_throttled"] > 0
    assert stats["throttle_pause_seconds"] > 0
    assert 0 <= stats["requests_per_second_limit_age_seconds"] < 60
    assert stats["requests_per_second_limit"] > 0
    assert 0 < stats["account_quota_share"] < 1
    assert stats["in_flight_limit"] > 0
    assert stats["in_flight_limit_before"] > 0
    assert stats["in_flight_limit"] != stats["in_flight_limit_before"]
    assert 0 <= stats["in_flight_limit_age_seconds"] < 60


def test_the_users_own_bound_is_no_throttling(site):
    site.fill({f"k/{number:03}": b"x" for number in range(60)})
    arguments = site.configured(network={"maxRequestsPerSecond": 200})
    dataset = OssIterableDataset.from_prefix("oss://bucket/k/", **arguments)
    assert len(list(dataset)) == 60
    stats = dataset.stats()
    assert (stats["throttled"], stats["throttle_pause_seconds"]) == (0, 0)


def test_connections_identity_and_clock_are_told(site, client):
    site.oss.clock(3600)
    site.fill({"a": b"data"})
    client.head_object("bucket", "a")
    stats = client.stats()
    assert 3590 <= stats["clock_offset_seconds"] <= 3610
    assert stats["connections_in_use"] == 0
    assert stats["connections_idle"] >= 1
    (source,) = [name for name in stats if name.startswith("credentials_source.")]
    assert site.arguments["cred_path"] in source
    assert site.oss.access_key_id not in source
    assert 0 < stats["retry_tokens"] <= stats["retry_tokens_limit"]
    site.oss.clock(0)


def test_seconds_until_the_keys_expire(site, tmp_path):
    expiry = dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=5000)
    path = tmp_path / "keys.json"
    path.write_text(
        json.dumps(
            {
                "AccessKeyId": site.oss.access_key_id,
                "AccessKeySecret": site.oss.access_key_secret,
                "Expiration": expiry.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        )
    )
    site.fill({"a": b"data"})
    client = OssClient(**{**site.arguments, "cred_path": str(path)})
    client.head_object("bucket", "a")
    assert 4900 <= client.stats()["credentials_expire_seconds"] <= 5000


def test_a_save_counts_its_stages_and_an_open_upload_its_memory(site):
    checkpoint = OssCheckpoint(**site.arguments)
    with checkpoint.writer("oss://bucket/w") as writer:
        writer.write(bytes(40 << 20))
        stats = checkpoint.stats()
        assert stats["uploads_open"] == 1
        assert stats["upload_buffer_bytes"] >= 16 << 20
    stats = checkpoint.stats()
    assert (stats["saves"], stats["save_bytes"], stats["uploads_open"]) == (1, 40 << 20, 0)
    stages = [stats[f"save_{stage}_seconds"] for stage in ("serialise", "upload", "settle")]
    assert stages == pytest.approx(list(writer.timings), abs=1e-5)


def test_a_distributed_checkpoint_counts_its_stages(site):
    need_checkpoints()
    files = osstorchconnector.OssDCPFileSystem(**site.arguments)
    before = osstorchconnector.stats()
    state = {"weight": torch.ones(1000)}
    dcp.save(state, storage_writer=files.writer("oss://bucket/c"))
    dcp.load(state, storage_reader=files.reader("oss://bucket/c"))
    after = osstorchconnector.stats()
    assert added(after, before, "checkpoint_saves", "checkpoint_loads") == [1, 1]
    names = ("checkpoint_save_bytes", "checkpoint_save_upload_seconds", "checkpoint_load_read_seconds")
    assert min(added(after, before, *names)) > 0


def test_orphans_are_told_as_they_were_found_last(site, client):
    writer = OssCheckpoint(**site.arguments).writer("oss://bucket/orphan")
    writer.write(bytes(20 << 20))
    (found,) = client.abandoned_uploads("oss://bucket/")
    stats = osstorchconnector.stats()
    assert (stats["orphan_uploads"], stats["orphan_upload_bytes"]) == (1, found.size_bytes)
    writer.abort()
    assert client.abandoned_uploads("oss://bucket/") == []
    assert osstorchconnector.stats()["orphan_uploads"] == 0


def test_listing_is_counted_and_the_index_ages(site):
    site.fill({f"k/{number:04}": b"x" for number in range(50)})
    dataset = OssIterableDataset.from_prefix("oss://bucket/k/", **site.arguments)
    before = osstorchconnector.stats()
    assert "index_age_seconds" not in dataset.stats()
    dataset.prepare()
    keys, seconds = added(osstorchconnector.stats(), before, "index_listed_keys", "index_listing_seconds")
    assert keys == 50
    assert seconds > 0
    assert osstorchconnector.stats()["index_listing_keys_per_second"] > 0
    assert 0 <= dataset.stats()["index_age_seconds"] < 30


def test_what_is_read_ahead_is_told_with_its_limit(site):
    site.fill({f"k/{number:04}": b"x" * 1000 for number in range(64)})
    dataset = OssIterableDataset.from_prefix("oss://bucket/k/", **site.arguments)
    iterator = iter(dataset)
    next(iterator)
    stats = dataset.stats()
    assert stats["read_ahead_bytes"] == 1000 * stats["read_ahead_objects"] > 0
    assert stats["read_ahead_limit_bytes"] == 64 << 20
    iterator.close()
    gc.collect()
    assert dataset.stats()["read_ahead_bytes"] == 0


MACHINE = """
import os, threading, osstorchconnector
release = threading.Event()
thread = threading.Thread(target=release.wait)
before = osstorchconnector.stats()
thread.start()
with open(os.devnull, "rb"):
    after = osstorchconnector.stats()
release.set()
assert [after[name] - before[name] for name in ("threads", "descriptors")] == [1, 1], (before, after)
assert after["resident_bytes"] > 5 << 20, after
"""


def test_a_process_tells_what_it_takes_of_its_machine():
    # In one of its own: here, what earlier tests left to the collector may be closed meanwhile.
    subprocess.run([sys.executable, "-c", MACHINE], check=True, timeout=50)


def size_of(sample):
    return len(sample.read())


def test_workers_are_told_apart_and_summed(site):
    site.fill({f"k/{number:04}": b"x" * 10 for number in range(60)})
    dataset = OssIterableDataset.from_prefix("oss://bucket/k/", transform=size_of, **site.arguments)
    loader = DataLoader(dataset, num_workers=3, batch_size=5)
    assert sum(len(batch) for batch in loader) == 60
    by_worker = dataset.stats_by_worker()
    assert sorted(by_worker) == [0, 1, 2]
    assert [stats["dataset_objects"] for stats in by_worker.values()] == [20, 20, 20]
    assert dataset.stats()["dataset_objects"] == 60
    assert all(stats["first_byte_p50_seconds"] > 0 for stats in by_worker.values())
    # They are gone: what they counted stays, their threads and connections do not.
    assert "connections_idle" not in by_worker[0]
    assert sum(len(batch) for batch in loader) == 60
    assert dataset.stats_by_worker()[1]["dataset_objects"] == 40


def test_steps_measure_how_long_each_waits(site):
    site.fill({f"k/{number:04}": b"x" for number in range(8)})
    site.oss.rules([{"match": {"op": "GetObject", "key": "k/0000"}, "action": {"delay_ms": 200}}])
    dataset = OssIterableDataset.from_prefix("oss://bucket/k/", transform=size_of, **site.arguments)
    before = osstorchconnector.stats()
    steps = Steps(dataset)
    waits = [steps.last_wait_seconds for _ in steps]
    assert len(waits) == 8
    assert waits[0] >= 0.2
    after = osstorchconnector.stats()
    assert added(after, before, "steps") == [8]
    assert added(after, before, "step_wait_seconds") == [pytest.approx(sum(waits))]
    assert after["step_wait_p999_seconds"] >= 0.2 * 15 / 16


def test_counters_of_a_client_that_is_gone_stay_and_its_state_goes(site):
    site.fill({"a": b"data"})
    gc.collect()
    before = osstorchconnector.stats()
    client = OssClient(**site.arguments)
    client.head_object("bucket", "a")
    during = osstorchconnector.stats()
    del client
    gc.collect()
    after = osstorchconnector.stats()
    assert added(during, before, "requests") == added(after, before, "requests")
    assert added(during, before, "retry_tokens_limit")[0] > 0
    assert added(after, before, "retry_tokens_limit") == [0]


class Telling(IterableDataset):
    """Yields with each sample which worker it is, and how many objects this process's and the dataset's stats tell."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __iter__(self):
        for _ in self.dataset:
            told = osstorchconnector.stats()["dataset_objects"], self.dataset.stats()["dataset_objects"]
            yield get_worker_info().id, *told, len(self.dataset.stats_by_worker())


def test_a_worker_tells_of_itself_and_not_of_its_siblings(site):
    uris = site.fill({f"{number:02}": b"x" for number in range(12)})
    dataset = OssIterableDataset.from_objects(uris, **site.arguments)
    loader = DataLoader(Telling(dataset), batch_size=None, num_workers=2, persistent_workers=True)
    for epoch in range(2):
        told = list(loader)
        for worker in range(2):
            numbers = range(6 * epoch + 1, 6 * epoch + 7)
            assert [row for row in told if row[0] == worker] == [[worker, n, n, 0] for n in numbers]
    assert dataset.stats()["dataset_objects"] == 24


def one_step(_):
    counters.count("steps", 1)
    return 1


def test_a_worker_of_two_datasets_is_one_process(site):
    uris = site.fill({f"{number:02}": b"x" for number in range(12)})
    datasets = [OssIterableDataset.from_objects(uris, transform=one_step, **site.arguments) for _ in range(2)]
    before = osstorchconnector.stats()
    loader = DataLoader(ChainDataset(datasets), batch_size=None, num_workers=2, persistent_workers=True)
    for epoch in (1, 2):
        assert len(list(loader)) == 24
        after = osstorchconnector.stats()
        assert added(after, before, "steps", "dataset_objects") == [24 * epoch, 24 * epoch]
    assert ["resident_bytes" in stats for stats in datasets[0].stats_by_worker().values()] == [True, True]
    assert ["resident_bytes" in stats for stats in datasets[1].stats_by_worker().values()] == [False, False]
    del loader
    gc.collect()
    assert added(osstorchconnector.stats(), before, "steps", "dataset_objects") == [48, 48]
