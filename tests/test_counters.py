"""Counters of workers reach the main process without a queue."""

from __future__ import annotations

import multiprocessing
import os
import threading

import pytest

from osstorchconnector import counters, whole_file


class Source:
    def __init__(self, stats):
        self.stats = stats

    def counted(self):
        return self.stats


class Owner:
    """A dataset, as far as counters go."""


def publish(directory, requests):
    stats = {"requests": requests, "in_flight": 5}
    counters.publish(f"{directory}/name.{counters.own_suffix()}", requests % 2, stats)


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
        assert guest.read() == {0: {"requests": 4}, 1: {"requests": 3}}
        assert (
            owner.read()
            == owner.read()
            == {0: {"requests": 4 * expected // 7}, 1: {"requests": 3 * expected // 7}}
        )
        assert len(list(tmp_path.glob("name.*.stats"))) == expected // 7


def test_threads_that_read_together_lose_no_worker(tmp_path):
    counters.publish(f"{tmp_path}/name.1234567-1.stats", 1, {"requests": 3})
    seen, others = [], []

    def find():
        if not others:
            others.append(threading.Thread(target=lambda: seen.append(files.read())))
            others[0].start()
            others[0].join(0.1)  # it would have taken the file away by then
        return sorted(tmp_path.glob("name.*.stats"))

    files = counters.WorkerFiles(find, lambda: True)
    assert files.read() == {1: {"requests": 3}}
    others[0].join()
    assert seen == [{1: {"requests": 3}}]


def test_a_living_workers_file_stays(tmp_path):
    counters.publish(f"{tmp_path}/name.{os.getppid()}-1.stats", 3, {"requests": 2, "threads": 4})
    assert files_of(tmp_path, owner=True).read() == {3: {"requests": 2, "threads": 4}}
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("document", [[], {"stats": {}}, {"worker": 1}, None])
def test_a_file_that_is_not_ours_counts_nothing(tmp_path, document):
    whole_file.write(f"{tmp_path}/name.1-1.stats", document)
    assert files_of(tmp_path, owner=False).read() == {}


@pytest.mark.parametrize("text", ["{", '{"worker": 1, "stats": {}}', "", "x" * 100])
def test_a_broken_file_counts_nothing(tmp_path, text):
    (tmp_path / "name.1-1.stats").write_text(text)
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


def test_a_forked_child_counts_from_nothing():
    counters.count("steps", 2)
    counters.count("steps", 1)
    counters.note("orphan_uploads", 7)
    mine = counters.of_process()
    assert mine["steps"] >= 3
    assert mine["orphan_uploads"] == 7
    child = os.fork()
    if child == 0:
        counters.count("steps", 1)
        inner = counters.of_process()
        os._exit(0 if inner["steps"] == 1 and "orphan_uploads" not in inner and inner["threads"] >= 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture
def _own_ledger(monkeypatch):
    monkeypatch.setattr(counters, "_own", [counters._Own()])


@pytest.mark.usefixtures("_own_ledger")
def test_everything_is_this_process_and_what_counts_there_or_did():
    owner, source = Owner(), Source({"requests": 5, "in_flight": 2})
    for _ in range(2):
        counters.register(source, owner)
    assert counters.everything({"requests": 1}) == {"requests": 6, "in_flight": 2}
    source.stats = {"requests": 7, "in_flight": 2}
    del owner
    assert counters.everything({"requests": 1}) == {"requests": 8}
    source.stats = {"requests": 1000}
    assert counters.everything({"requests": 1}) == {"requests": 8}


@pytest.mark.usefixtures("_own_ledger")
def test_an_owner_that_goes_while_numbers_are_added_up_is_counted_once():
    owners = [Owner(), Owner()]

    class Ending(Source):
        def counted(self):
            owners.clear()
            return self.stats

    for source, owner in zip((Ending({"requests": 5}), Source({"requests": 6})), owners, strict=True):
        counters.register(source, owner)
    del owner
    for _ in range(3):
        assert counters.everything({}) == {"requests": 11}
    assert owners == []


@pytest.mark.usefixtures("_own_ledger")
def test_a_forked_child_does_not_count_what_its_parent_had():
    owner = Owner()
    counters.register(Source({"requests": 5}), owner)
    child = os.fork()
    if child == 0:
        del owner
        os._exit(0 if counters.everything({"requests": 1}) == {"requests": 1} else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def left_by_one_that_is_gone(directory, number, requests):
    child = os.fork()
    if child == 0:
        stats = {"requests": requests, "in_flight": 5}
        counters.publish(f"{directory}/name.{counters.own_suffix()}", number, stats)
        os._exit(0)
    os.waitpid(child, 0)


def test_a_worker_takes_the_file_of_one_of_its_number_that_is_gone_over(tmp_path):
    for number, requests in ((0, 1), (1, 10), (1, 100)):
        left_by_one_that_is_gone(tmp_path, number, requests)
    files = sorted(tmp_path.iterdir(), key=lambda file: file.stat().st_mtime_ns)
    own = f"{tmp_path}/name.{os.getppid()}-2.stats"
    before = counters.take_over(files, own, 1)
    assert before == {"requests": 10}
    # Before it publishes anything, what it took over is counted, without the other's state.
    assert files_of(tmp_path, owner=False).read() == {0: {"requests": 1}, 1: {"requests": 110}}
    assert len(list(tmp_path.iterdir())) == 3
    assert counters.take_over(files, f"{tmp_path}/name.{os.getppid()}-3.stats", 2) == {}
    assert files_of(tmp_path, owner=True).read() == {0: {"requests": 1}, 1: {"requests": 110}}
    assert [file.name for file in tmp_path.iterdir()] == [f"name.{os.getppid()}-2.stats"]


@pytest.mark.parametrize("owner", [False, True])
def test_a_file_taken_over_under_a_readers_eyes_is_counted_once(tmp_path, owner):
    left_by_one_that_is_gone(tmp_path, 1, 10)
    own = f"{tmp_path}/name.{os.getppid()}-2.stats"
    looks = []

    def find():
        listed = sorted(tmp_path.glob("name.*.stats"))
        if not looks:
            assert counters.take_over(listed, own, 1) == {"requests": 10}
        looks.append(listed)
        return listed

    files = counters.WorkerFiles(find, lambda: owner)
    assert files.read() == {1: {"requests": 10}}
    assert len(looks) == 2


def test_what_the_owner_moved_into_memory_is_not_taken_over(tmp_path):
    left_by_one_that_is_gone(tmp_path, 1, 10)
    listed = list(tmp_path.iterdir())
    files = files_of(tmp_path, owner=True)
    assert files.read() == {1: {"requests": 10}}
    assert counters.take_over(listed, f"{tmp_path}/name.1-1.stats", 1) == {}
    assert files.read() == {1: {"requests": 10}}
    assert list(tmp_path.iterdir()) == []
