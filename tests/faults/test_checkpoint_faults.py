"""Faults of distributed checkpoints: ranks and jobs that die, data objects that are not what was written."""

from __future__ import annotations

import itertools
import threading
import time
import warnings

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import CheckpointException

from dcp_ranks import Ranks, on_ranks
from dcp_states import PATH, blank, equal, failure, file_system, load, names, save, state
from osstorchconnector.dcp import naming
from osstorchconnector.dcp.turns import Turns
from osstorchconnector.errors import FormatError, IntegrityError, UploadError
from torch_versions import need_torch

WORLD = 2
GROUP_SECONDS = 10


@pytest.fixture
def fs(site):
    return file_system(site)


def one_shard(fs):
    (name,) = (name for name in names(fs) if name.endswith(".distcp"))
    return name


def shortened(data):
    return data[:-1]


def changed(data):
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize(
    ("damage", "has_manifest"),
    [(None, True), (shortened, True), (changed, True), (None, False), (shortened, False)],
    ids=["missing", "short", "changed", "missing-unlisted", "short-unlisted"],
)
def test_f67_a_damaged_data_object_is_named_before_a_tensor_changes(fs, site, damage, has_manifest):
    save(fs)
    shard = one_shard(fs)
    if not has_manifest:
        fs.rm_file(f"{PATH}/{next(name for name in names(fs) if 'manifest' in name)}")
    data = fs.store().open_reader(f"/bucket/run/step/{shard}").read()
    if damage is None:
        fs.rm_file(f"{PATH}/{shard}")
    else:
        site.fill({f"run/step/{shard}": damage(data)})
    into = blank()
    with pytest.raises(CheckpointException) as raised:
        load(fs, into)
    error = failure(raised)[1]
    assert isinstance(error, IntegrityError)
    assert f"oss://bucket/run/step/{shard}" in str(error)
    assert "\n" not in str(error)
    assert equal(into, blank())


def test_f67_many_data_objects_are_looked_at_thirty_two_at_a_time(fs, site):
    tensors = {f"w{number}": torch.ones(1) for number in range(70)}
    save(fs, tensors, single_file_per_rank=False)
    site.oss.shape(first_byte_ms=50)
    begun = time.monotonic()
    load(fs, {name: torch.zeros(1) for name in tensors})
    # Seventy looks one after the other, and seventy readers after them, would take seven seconds.
    assert time.monotonic() - begun < 5
    site.oss.shape()


def test_f67_a_manifest_that_lies_is_refused(fs, site):
    save(fs)
    (manifest,) = (name for name in names(fs) if "manifest" in name)
    for text in (
        b"{}",
        b"[",
        b'{"format":"osstorchconnector-dcp-manifest","version":2,"save_id":"x","shards":[]}',
    ):
        site.fill({f"run/step/{manifest}": text})
        with pytest.raises(CheckpointException) as raised:
            load(fs)
        assert isinstance(failure(raised)[1], FormatError)
    empty = (
        f'{{"format":"osstorchconnector-dcp-manifest","version":1,"save_id":"{manifest[10:-5]}","shards":[]}}'
    )
    site.fill({f"run/step/{manifest}": empty.encode()})
    with pytest.raises(CheckpointException) as raised:
        load(fs)
    assert isinstance(failure(raised)[1], IntegrityError)


def test_f67_a_bit_that_flips_on_the_way_is_read_again_and_one_that_stays_is_named(fs, site):
    save(fs)
    flip = {"match": {"op": "GetObject", "key": "*.distcp"}, "action": {"flip_bit": 300_000}}
    site.oss.rules([{**flip, "times": 1}])
    assert equal(load(fs), state())
    assert site.oss.rule_hits()[0]["hits"] == 1
    site.oss.rules([flip])
    with pytest.raises(CheckpointException) as raised:
        load(fs)
    error = failure(raised)[1]
    assert isinstance(error, IntegrityError)
    assert one_shard(fs) in str(error)


def test_s06_an_object_of_a_stranger_is_not_unpickled_where_weights_alone_are_wanted(fs, tmp_path):
    need_torch((2, 6), "safe looks at pickles")
    marker = tmp_path / "marker"
    save(fs, {"w": Hostile(str(marker))})
    marker.unlink(missing_ok=True)
    with pytest.raises(CheckpointException) as raised:
        load(fs, {"w": torch.zeros(3)}, weights_only=True)
    assert isinstance(failure(raised)[1], FormatError)
    assert not marker.exists()


class Hostile:
    """An object that makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_f69_training_changes_nothing_of_a_save_that_is_on_its_way(fs, site):
    going = state(1.0)
    site.oss.rules([{"match": {"op": "PutObject"}, "action": {"delay_ms": 100}}])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        future = dcp.async_save(going, storage_writer=fs.writer(PATH))
    for tensor in (going["large"], going["half"], going["scalar"], going["object"]["list"][2]["deep"]):
        tensor.zero_()
    going["object"]["list"].append("later")
    going["object"]["lr"] = 0.0
    assert not future.done()
    future.result()
    assert equal(load(fs), state(1.0))


@pytest.mark.parametrize("is_one_writer", [True, False], ids=["one-writer", "two-writers"])
def test_f69_a_second_save_waits_for_the_first(fs, site, is_one_writer):
    site.oss.rules([{"match": {"op": "PutObject"}, "action": {"delay_ms": 50}}])
    writer = fs.writer(PATH)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        futures = [
            dcp.async_save(state(value), storage_writer=writer if is_one_writer else fs.writer(PATH))
            for value in (1.0, 2.0, 3.0)
        ]
        dcp.save(state(4.0), storage_writer=writer if is_one_writer else fs.writer(PATH))
    for future in futures:
        future.result()
    written = [request["key"].removeprefix("run/step/") for request in site.oss.requests("PutObject")]
    for shard, manifest, metadata in _threes(written):
        assert naming.save_of_shard(shard) == naming.save_of_manifest(manifest)
        assert metadata == ".metadata"
    assert equal(load(fs), state(4.0))


def _threes(values):
    assert len(values) == 12
    return [values[at : at + 3] for at in range(0, 12, 3)]


def test_f69_a_save_that_failed_keeps_nobody_waiting(fs, site):
    site.oss.rules([{"match": {"op": "PutObject"}, "action": {"status": 403, "code": "AccessDenied"}}])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        failed = dcp.async_save(state(1.0), storage_writer=fs.writer(PATH))
        with pytest.raises(CheckpointException):
            failed.result()
        site.oss.rules([])
        begun = time.monotonic()
        dcp.async_save(state(2.0), storage_writer=fs.writer(PATH)).result()
        dcp.save(state(3.0), storage_writer=fs.writer(PATH))
    assert time.monotonic() - begun < 2
    assert equal(load(fs), state(3.0))


def test_f69_a_save_that_never_ends_is_said_and_not_waited_for_forever():
    turns, stop = Turns(), threading.Event()
    began = threading.Event()

    def save_for_ever():
        turns.begin(1.0, PATH)
        began.set()
        stop.wait(30)

    other = threading.Thread(target=save_for_ever)
    other.start()
    began.wait(10)
    for wait in (turns.stage, turns.begin):
        with pytest.raises(UploadError, match="still running") as raised:
            wait(0.05, PATH)
        assert raised.value.state == "not_committed"
    stop.set()
    other.join()
    turns.begin(0.0, PATH)
    turns.end()


def shared(rank, value):
    """Make a state of which every rank has a part of its own."""
    return {f"own-{rank}": torch.full((20_000,), value + rank), "common": torch.full((5,), value)}


def all_parts(value, world_size):
    return {name: tensor for rank in range(world_size) for name, tensor in shared(rank, value).items()}


def save_shared(rank, fs, value, grace_seconds=0.0):
    dcp.save(shared(rank, value), storage_writer=fs.writer(PATH, grace_seconds=grace_seconds))


def loaded(fs, world_size):
    """Load what all ranks saved, and return its value; anything but one whole save fails."""
    into = {name: torch.zeros_like(tensor) for name, tensor in all_parts(0.0, world_size).items()}
    value = float(load(fs, into)["common"][0])
    assert equal(into, all_parts(value, world_size)), "a mixture of two saves"
    return value


def killed_save(fs, site, world_size, victim, step, after, value=2.0):
    """Save on all ranks, one of which is killed at a step; return what they said."""
    with Ranks(world_size, save_shared, fs, value, waiting=True, group_seconds=GROUP_SECONDS) as ranks:
        kill = {"pid": ranks.pids[victim], "signal": 9, "after": after}
        site.oss.rules([{"match": {"nth": [step]}, "action": {"kill_client_at": kill}, "times": 1}])
        ranks.go()
        outcomes = ranks.outcomes()
    site.oss.rules([])
    return outcomes


@pytest.mark.parametrize("victim", [0, 3])
def test_f65_when_a_rank_dies_the_others_end_and_the_previous_checkpoint_loads(fs, site, victim):
    on_ranks(4, save_shared, fs, 1.0)
    begun = time.monotonic()
    outcomes = killed_save(fs, site, 4, victim, step=2, after=False)
    assert time.monotonic() - begun < GROUP_SECONDS + 5
    assert outcomes[victim] is None
    assert {outcome[0] for rank, outcome in enumerate(outcomes) if rank != victim} == {"failed"}
    assert loaded(fs, 4) == 1.0
    on_ranks(4, save_shared, fs, 3.0)
    assert loaded(fs, 4) == 3.0
    assert len(names(fs)) == 4 + 2, "what the dead save left is gone"


def step_count(fs, site, world_size):
    """Count the requests of a save that replaces another."""
    on_ranks(world_size, save_shared, fs, 1.0)
    since = len(site.oss.journal())
    on_ranks(world_size, save_shared, fs, 1.0)
    return sum("operation" in entry for entry in site.oss.journal(since))


def sweep(fs, site, world_size, runs=None):
    """Kill one rank at each step of a save, before and after the service acts; count how often the new one was there."""
    steps = step_count(fs, site, world_size)
    cases = list(itertools.product(range(1, steps + 1), (False, True), range(world_size)))
    current, new_count = 1.0, 0
    for step, after, victim in itertools.islice(itertools.cycle(cases), runs or len(cases)):
        since = len(site.oss.journal())
        killed_save(fs, site, world_size, victim, step, after, current + 1)
        is_new = any(
            entry.get("operation") == "PutObject"
            and entry["key"].endswith("/.metadata")
            and entry["status"] == 200
            for entry in site.oss.journal(since)
        )
        current += is_new
        new_count += is_new
        assert loaded(fs, world_size) == current, f"step {step}, rank {victim}, after={after}"
    return new_count, runs or len(cases)


def test_f66_a_job_killed_at_any_step_leaves_the_old_checkpoint_or_the_new_one(fs, site):
    new_count, runs = sweep(fs, site, WORLD)
    assert 0 < new_count < runs
    on_ranks(WORLD, save_shared, fs, 0.5)
    assert loaded(fs, WORLD) == 0.5
    assert len(names(fs)) == WORLD + 2


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_f66_five_hundred_kills_over_four_ranks(fs, site):
    new_count, runs = sweep(fs, site, 4, 500)
    assert 0 < new_count < runs == 500
