"""Counters of workers reach the main process without a queue."""

from __future__ import annotations

import multiprocessing
import os

import pytest

from osstorchconnector import counters


class Dataset:
    def __init__(self, stats):
        self._stats = stats

    def worker_stats(self):
        return self._stats


def publish(directory, requests):
    counters.publish(f"{directory}/name.{counters.own_suffix()}", {"requests": requests})


def test_totals_add_name_by_name():
    assert counters.total([{"a": 1}, {"a": 2, "b": 0.5}, {}]) == {"a": 3, "b": 0.5}


def files_of(directory, *, owner):
    return counters.WorkerFiles(lambda: sorted(directory.glob("name.*.stats")), lambda: owner)


def test_files_of_other_processes_are_added_and_outlive_them_in_the_owner(tmp_path):
    context = multiprocessing.get_context("fork")
    guest, owner = files_of(tmp_path, owner=False), files_of(tmp_path, owner=True)
    for expected in (7, 14):
        workers = [context.Process(target=publish, args=(tmp_path, number)) for number in (3, 4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        publish(tmp_path, 100)
        assert guest.read() == {"requests": 7}
        assert owner.read() == owner.read() == {"requests": expected}
        assert len(list(tmp_path.glob("name.*.stats"))) == expected // 7


def test_a_living_workers_file_stays(tmp_path):
    (tmp_path / f"name.{os.getppid()}-1.stats").write_text('{"requests": 2}')
    assert files_of(tmp_path, owner=True).read() == {"requests": 2}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_broken_file_counts_nothing(tmp_path):
    (tmp_path / "name.1-1.stats").write_text("{")
    assert files_of(tmp_path, owner=False).read() == {}


@pytest.mark.parametrize(("at_once", "expected"), [(True, [100.0, 100.3]), (False, [100.3])])
def test_a_duty_is_done_not_too_often(monkeypatch, at_once, expected):
    now = [100.0]
    monkeypatch.setattr(counters.time, "monotonic", lambda: now[0])
    calls = []
    duty = counters.Duty(0.2, lambda: calls.append(now[0]), at_once=at_once)
    for now[0] in (100.0, 100.1, 100.15, 100.3):
        duty.if_due()
    assert calls == expected


def test_a_place_that_is_gone_costs_the_numbers_only(tmp_path):
    publish(tmp_path / "nowhere", 1)


def test_everything_is_this_process_and_the_workers_of_living_datasets():
    dataset = Dataset({"requests": 5})
    counters.register(dataset)
    assert counters.everything({"requests": 1})["requests"] == 6
    del dataset
    assert counters.everything({"requests": 1})["requests"] == 1
