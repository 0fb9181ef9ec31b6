"""The line at the end of an epoch that waited for the request quota."""

from __future__ import annotations

import logging

import pytest
from torch.utils.data import DataLoader

from osstorchconnector import OssIterableDataset, quota

# A minute at 2,000 requests/s, held back nearly all the time.
COUNTED = {
    "dataset_objects": 120_000,
    "dataset_bytes": 120_000 * 100_000,
    "dataset_wait_seconds": 48.0,
    "throttled": 12_000,
    "throttle_pause_seconds": 800.0,
    "request_seconds": 1000.0,
    "requests_ok": 120_000,
}


def part(seconds=60.0, **changes):
    return quota.Part({**COUNTED, **changes}, 1000.0, 1000.0 + seconds)


def test_an_epoch_held_back_by_the_service_says_so_and_what_larger_objects_would_bring():
    line = quota.line("oss://b/p/", [part()])
    assert line == (
        "epoch of oss://b/p/: the request quota of the account was the limit, not this client: OSS admitted 2,000 "
        "requests/s and refused 12,000; the consumer waited 48.0 of 60.0 s. 120,000 objects of 100 kB on average came "
        "at 200 MB/s; at this rate of requests objects of 1.05 MB would bring 2.1 GB/s and 8.39 MB would bring "
        "16.8 GB/s, as far as the network goes: pack samples, or ask for more"
    )


def test_large_objects_leave_only_a_higher_quota():
    line = quota.line("x", [part(dataset_bytes=120_000 * 50_000_000)])
    assert line.endswith("; ask for a higher quota")


def test_the_workers_of_an_epoch_are_one():
    # One of them was not refused, and ended early.
    line = quota.line("oss://b/p/", [part(), part(30.0, throttled=0, dataset_wait_seconds=24.0)])
    assert line.startswith(
        "epoch of oss://b/p/ in 2 workers: the request quota of the account was the limit, not this client: OSS admitted "
        "4,000 requests/s and refused 12,000; each worker waited 36.0 of 60.0 s on average. 240,000 objects of 100 kB on "
        "average came at 400 MB/s; "
    )


def test_only_what_an_epoch_added_counts(caplog):
    with quota.Epoch("x", lambda: COUNTED):
        pass
    assert told(caplog) == []


def test_other_limits_are_not_blamed_on_the_quota():
    for change in (
        {"throttled": 0},
        {"dataset_wait_seconds": 5.0},
        {"throttle_pause_seconds": 400.0},
        {"dataset_objects": 0},
    ):
        assert quota.line("x", [part(**change)]) is None, change


def test_the_last_worker_to_end_finds_what_all_have_done(tmp_path):
    path = str(tmp_path / "meeting")
    parts = [part(seconds) for seconds in (1.0, 2.0, 3.0)]
    workers = [quota.Meeting(path, number, 3) for number in range(3)]
    assert workers[2].leave(parts[2]) is None
    assert workers[0].leave(parts[0]) is None
    assert workers[1].leave(parts[1]) == parts
    assert list(tmp_path.iterdir()) == []
    assert quota.Meeting(str(tmp_path / "gone" / "meeting"), 0, 1).leave(parts[0]) is None


def told(caplog):
    return [record for record in caplog.records if "request quota" in record.message]


def test_a_throttled_epoch_ends_with_the_line_and_a_free_one_without(site, caplog):
    caplog.set_level(logging.INFO, "osstorchconnector")
    site.fill({f"k/{number:04}": b"x" for number in range(600)})
    dataset = OssIterableDataset.from_prefix("oss://bucket/k/", **site.of_own_account())
    assert len(list(dataset)) == 600
    assert told(caplog) == []
    site.oss.shape(admit_rps={"rps": 300, "burst": 20})
    assert len(list(dataset)) == 600
    (record,) = told(caplog)
    assert record.levelname == "WARNING"
    assert "oss://bucket/k/" in record.message
    assert "larger" not in record.message
    assert "1.05 MB would bring" in record.message


class LogFile:
    """Lets each worker write what it logs into a file of its own."""

    def __init__(self, directory):
        self.directory = directory

    def __call__(self, worker_id):
        handler = logging.FileHandler(self.directory / f"worker-{worker_id}")
        logging.getLogger("osstorchconnector.quota").addHandler(handler)


@pytest.mark.parametrize("persistent", [False, True])
def test_the_workers_tell_of_an_epoch_once(site, tmp_path, persistent):
    site.fill({f"k/{number:04}": b"x" for number in range(600)})
    dataset = OssIterableDataset.from_prefix("oss://bucket/k/", **site.of_own_account())
    dataset.prepare()
    site.oss.shape(admit_rps={"rps": 200, "burst": 10})
    loader = DataLoader(
        dataset,
        batch_size=None,
        num_workers=2,
        worker_init_fn=LogFile(tmp_path),
        persistent_workers=persistent,
    )
    for _ in range(2):
        assert len(list(loader)) == 600
    del loader
    lines = [line for worker in range(2) for line in (tmp_path / f"worker-{worker}").read_text().splitlines()]
    assert len(lines) == 2
    for line in lines:
        assert line.startswith("epoch of oss://bucket/k/ in 2 workers: the request quota ")
        assert " 600 objects of 1 bytes on average " in line
