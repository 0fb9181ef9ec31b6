"""The first objects are read while the listing goes on; the epoch is what it would be without that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from torch.utils.data import DataLoader, get_worker_info

from osstorchconnector import OssIterableDataset
from osstorchconnector.errors import NotFoundError, ObjectChangedError, PermissionDeniedError
from osstorchconnector.growing import GrowingIndex

PAGES = 3
COUNT = PAGES * 1000 - 7
KEYS = [f"{number:08}.bin" for number in range(COUNT)]


def key_of(sample):
    return sample.key.rpartition("/")[2]


def listings(site):
    return len(site.oss.requests("ListObjectsV2"))


def late_pages(site, *others, first=2, milliseconds=600):
    """Let all pages but the first ones take long."""
    pages = {"op": "ListObjectsV2", "nth": list(range(first, 2 * PAGES))}
    site.oss.rules([*others, {"match": pages, "action": {"delay_ms": milliseconds}}])


@pytest.fixture
def arguments(site):
    site.oss.fill("bucket", "p/", COUNT, 8, suffix=".bin", synthetic=True)
    # One page after the other, so that a test can say which one is late.
    return {**site.configured(datasetConfig={"listConcurrency": 1}), "transform": key_of}


def made(arguments, **options):
    return OssIterableDataset.from_prefix("oss://bucket/p/", **{**arguments, **options})


def lister():
    return [thread for thread in threading.enumerate() if thread.name == "oss-index"]


@pytest.mark.parametrize("ordered", [True, False])
def test_the_first_objects_come_while_the_listing_goes_on(ordered, site, arguments):
    late_pages(site)
    dataset = made(arguments, ordered=ordered)
    running = iter(dataset)
    first = next(running)
    assert listings(site) < PAGES
    with pytest.raises(TypeError, match="not known"):
        len(dataset)
    keys = [first, *running]
    assert (keys if ordered else sorted(keys)) == KEYS
    assert listings(site) == PAGES
    site.assert_read(COUNT, dataset.stats()["hedges_sent"])
    assert (len(dataset), lister()) == (COUNT, [])
    assert list(dataset) == KEYS if ordered else True
    assert listings(site) == PAGES


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("options", [{}, {"shard": "rank", "rank": 1, "world_size": 8, "uneven": "pad"}])
def test_the_wire_does_not_run_dry_where_a_piece_ends(options, ordered, site, arguments):
    late_pages(site, milliseconds=300)
    dataset = made(arguments, ordered=ordered, **options)
    running = iter(dataset)
    keys, ahead = [next(running)], []
    lister()[0].join(30)
    for key in running:
        keys.append(key)
        ahead.append(dataset.stats()["read_ahead_objects"])
    later = made(arguments, **options)
    later.prepare()
    assert (keys if ordered else sorted(keys)) == (list(later) if ordered else sorted(later))
    assert ahead[-1] == 0
    assert all(ahead[:-1])


class Arrival:
    """Tells of each sample the worker, and how many pages were asked for by then."""

    def __init__(self, oss):
        self.control = oss

    def __call__(self, sample):
        info = get_worker_info()
        number = key_of(sample)
        asked = len(self.control.requests("ListObjectsV2")) if int(number[:8]) < 8 else -1
        return number, info.id, asked


@pytest.mark.timeout(180)
@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_all_workers_of_a_node_read_along_with_the_one_that_lists(start_method, site, arguments):
    late_pages(site, milliseconds=2000)
    oss = site.oss if start_method == "fork" else None
    dataset = made({**arguments, "transform": Arrival(oss) if oss else key_of})
    loader = DataLoader(
        dataset, batch_size=2, num_workers=2, multiprocessing_context=start_method, collate_fn=list
    )
    samples = [sample for batch in loader for sample in batch]
    if oss:
        early = [sample for sample in samples if sample[2] >= 0]
        assert {worker for _, worker, _ in early} == {0, 1}
        assert all(asked < PAGES for _, _, asked in early)
        samples = [key for key, _, _ in samples]
    assert sorted(samples) == KEYS
    assert listings(site) == PAGES
    site.assert_read(COUNT, dataset.stats()["hedges_sent"])


@pytest.mark.parametrize("uneven", ["drop", "pad", "allow"])
def test_ranks_get_the_shares_they_would_get_later(uneven, site, arguments):
    # 2993 objects are one more than whole rounds of 8 ranks.
    late_pages(site, milliseconds=300)
    for rank in (0, 7):
        options = {"shard": "rank", "rank": rank, "world_size": 8, "uneven": uneven, "batch_size": 3}
        early, later = made(arguments, **options), made(arguments, **options)
        later.prepare()
        assert list(early) == list(later)
        assert len(early) == len(later)
        assert early.state_dict() == later.state_dict()


def test_a_state_that_is_taken_early_knows_what_is_listed(site, arguments):
    late_pages(site)
    dataset = made(arguments)
    running = iter(dataset)
    first = [next(running) for _ in range(5)]
    assert listings(site) < PAGES
    state = dataset.state_dict()
    assert listings(site) == PAGES
    assert first + list(running) == KEYS
    resumed = made(arguments)
    resumed.load_state_dict(state)
    assert first + list(resumed) == KEYS


@pytest.mark.parametrize("workers", [0, 2])
def test_a_listing_that_fails_on_its_way_ends_the_epoch_with_its_error(workers, site, arguments):
    refused = {
        "match": {"op": "ListObjectsV2", "nth": list(range(3, 99))},
        "action": {"status": 403, "code": "AccessDenied"},
    }
    late_pages(site, refused)
    loader = DataLoader(made(arguments), batch_size=None, num_workers=workers)
    keys = []
    with pytest.raises(PermissionDeniedError, match="oss://bucket/p/"):
        keys.extend(loader)
    assert sorted(keys) == KEYS[: len(keys)]
    assert lister() == []
    site.oss.rules([])
    assert sorted(loader) == KEYS


def test_an_early_break_gives_the_listing_up(site, arguments, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    late_pages(site, milliseconds=3000)
    dataset = made(arguments)
    running = iter(dataset)
    next(running)
    started = time.monotonic()
    running.close()
    assert time.monotonic() - started < 2
    assert lister() == []
    assert [
        file for file in Path(dataset._delivery.index_path).parent.iterdir() if file.suffix == ".building"
    ] == []
    site.oss.rules([])
    assert list(dataset) == KEYS


def test_an_iterator_that_was_never_started_gives_the_listing_up(site, arguments):
    late_pages(site, milliseconds=3000)
    dataset = made(arguments)
    running = iter(dataset)
    (thread,) = lister()
    del running
    thread.join(30)
    assert not thread.is_alive()
    assert listings(site) < PAGES
    site.oss.rules([])
    assert list(dataset) == KEYS


def test_two_iterations_at_once_list_once(site, arguments):
    late_pages(site)
    dataset = made(arguments)
    pairs = list(zip(dataset, dataset, strict=True))
    assert pairs == [(key, key) for key in KEYS]
    assert listings(site) == PAGES


def test_the_budget_of_what_is_left_out_is_of_all_objects(site, arguments):
    gone = [
        {"match": {"op": "GetObject", "key": f"p/{key}"}, "action": {"status": 404, "code": "NoSuchKey"}}
        for key in KEYS[:60]
    ]
    late_pages(site, *gone)
    # 60 of the first 200 are more than a tenth, 60 of all are not.
    assert list(made(arguments, on_missing="skip")) == KEYS[60:]
    with pytest.raises(NotFoundError, match=f"of {COUNT} could not"):
        list(made(arguments, on_missing="skip", error_budget=0.01))


@pytest.mark.parametrize("options", [{"shuffle": True}, {"index": "saved"}])
def test_what_needs_the_whole_listing_waits_for_it(options, site, arguments, tmp_path):
    if "index" in options:
        made(arguments).save_index(tmp_path / "saved")
        options = {"index": tmp_path / "saved"}
    before = listings(site)
    late_pages(site, milliseconds=300)
    running = iter(made(arguments, **options))
    next(running)
    assert listings(site) - before == (0 if "index" in options else PAGES)


EXIT = """
import sys
from osstorchconnector import OssIterableDataset
running = iter(OssIterableDataset.from_prefix("oss://bucket/p/", config_path=sys.argv[1], shuffle=sys.argv[2] == "all"))
next(running)
sys.exit(5)
"""


@pytest.mark.timeout(180)
@pytest.mark.parametrize("listed", ["some", "all"])
def test_f78_an_exit_with_an_iteration_open_is_quick_and_quiet(listed, site, arguments):
    if listed == "some":
        late_pages(site, milliseconds=4000)
    run = [sys.executable, "-c", EXIT, arguments["config_path"], listed]
    environment = {**os.environ, **site.oss.environ()}
    done = subprocess.run(run, env=environment, stderr=subprocess.PIPE, text=True, timeout=150, check=False)
    assert (done.returncode, done.stderr) == (5, "")
    assert listings(site) == (2 if listed == "some" else PAGES)


class Rows:
    """A tail of one piece, of an index whose rows are others in the end."""

    end = 3

    def __init__(self):
        self.pieces = [self]

    def next_piece(self):
        return self.pieces.pop() if self.pieces else None

    def is_beginning_of(self, index):
        return index == "the same"


def test_rows_of_a_broken_listing_are_not_taken_for_those_of_the_next():
    ended = threading.Event()
    growing = GrowingIndex("oss://bucket/p/", lambda _: ended.wait(30), Rows, prefetch=None)
    assert growing.has_begun()
    ended.set()
    assert [piece.end for piece in growing.pieces()] == [3]
    growing.finish()
    growing.demand_beginning_of("the same")
    with pytest.raises(ObjectChangedError, match=r"oss://bucket/p/.*begin the epoch again"):
        growing.demand_beginning_of("another")
    growing.close()


def kill_who_lists(sample):
    if lister() and get_worker_info().id == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return key_of(sample)


@pytest.mark.parametrize("workers", [1, 2])
def test_f75_a_worker_that_is_killed_while_it_lists_is_an_error_at_once(workers, site, arguments):
    late_pages(site, milliseconds=3000)
    dataset = made({**arguments, "transform": kill_who_lists})
    started = time.monotonic()
    with pytest.raises(RuntimeError, match="exited unexpectedly"):
        list(DataLoader(dataset, batch_size=None, num_workers=workers))
    assert time.monotonic() - started < 10
    site.oss.rules([])
    assert sorted(made(arguments)) == KEYS
