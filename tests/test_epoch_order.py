"""Order, division and resumption of epochs, against a model, for layouts that hypothesis draws."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epoch_model import batches_of, epoch_order
from osstorchconnector import OssIterableDataset
from osstorchconnector.delivery import Worker
from osstorchconnector.errors import ConfigError
from osstorchconnector.order import order_of
from osstorchconnector.ranks import Ranks
from osstorchconnector.schedule import Epochs, Schedule

FINGERPRINT = "00c0ffee00c0ffee"
SEEDS = st.integers(0, (1 << 64) - 1)
COUNTS = st.integers(0, 60)
WORLDS = st.integers(1, 5)
WORKERS = st.integers(1, 4)
BATCHES = st.integers(1, 5)


def no_group():
    return None


def schedule(rank=0, world_size=1, group=no_group, **epochs):
    return Schedule(Epochs(shard="rank", **epochs), rank, world_size, group)


def runs_of(rank, world_size, workers, count, state=None, fingerprint=FINGERPRINT, epoch=0, **epochs):
    """Begin an iteration in each worker of a rank."""
    runs = []
    for worker in range(workers):
        fresh = schedule(rank, world_size, **epochs)
        here = Worker(worker, workers, is_child=True)
        if state is not None:
            fresh.load(json.loads(json.dumps(state)), here)
        else:
            fresh.set_epoch(epoch, here)
        runs.append(fresh.begin(count, fingerprint, here))
    return runs


def rows(run):
    for position in run.rest:
        yield run.order.row_at(position)
        # As the delivery does when the sample was handed over; here the order of the two does not matter.
        run.passed(position)


def loader(runs, batch_size):
    """Yield batches as a DataLoader does: one from each worker in turn."""
    streams = [rows(run) for run in runs]
    while streams:
        for stream in list(streams):
            batch = [row for _, row in zip(range(batch_size), stream, strict=False)]
            if batch:
                yield batch
            if len(batch) < batch_size:
                streams.remove(stream)


@settings(deadline=None)
@given(count=st.integers(0, 400), fingerprint=SEEDS, seed=SEEDS | st.none(), epoch=st.integers(0, 1000))
def test_the_native_order_is_the_models(count, fingerprint, seed, epoch):
    fingerprint = f"{fingerprint:016x}"
    order = order_of(count, fingerprint, seed, epoch)
    assert [order.row_at(position) for position in range(count)] == epoch_order(
        count, fingerprint, seed, epoch
    )
    assert sorted(order.row_at(position) for position in range(count)) == list(range(count))


@settings(deadline=None)
@given(
    count=COUNTS, world=WORLDS, workers=WORKERS, batch=BATCHES, seed=SEEDS, epoch=st.integers(0, 9),
    shuffle=st.booleans(), uneven=st.sampled_from(["drop", "allow"]),
)  # fmt: skip
def test_a_jobs_batches_are_the_models_whatever_the_number_of_workers(
    count, world, workers, batch, seed, epoch, shuffle, uneven
):
    sequence = epoch_order(count, FINGERPRINT, seed if shuffle else None, epoch)
    read = []
    for rank in range(world):
        options = {"shuffle": shuffle, "seed": seed, "uneven": uneven, "batch_size": batch}
        batches = list(loader(runs_of(rank, world, workers, count, epoch=epoch, **options), batch))
        assert batches == batches_of(sequence, rank, world, batch, uneven)
        read += [row for one in batches for row in one]
    whole = sequence if uneven == "allow" else sequence[: count - count % world]
    assert sorted(read) == sorted(whole)


@settings(deadline=None)
@given(count=st.integers(1, 60), world=WORLDS, workers=WORKERS, batch=BATCHES, seed=SEEDS)
def test_padding_gives_all_ranks_equally_much_and_leaves_nothing_out(count, world, workers, batch, seed):
    options = {"shuffle": True, "seed": seed, "uneven": "pad", "batch_size": batch}
    shares = [
        [row for run in runs_of(rank, world, workers, count, **options) for row in rows(run)]
        for rank in range(world)
    ]
    assert {len(share) for share in shares} == {-(-count // world)}
    assert {row for share in shares for row in share} == set(range(count))


@settings(deadline=None)
@given(
    data=st.data(), count=COUNTS, before=WORKERS, after=WORKERS, world=WORLDS, world_after=WORLDS, batch=BATCHES,
    batch_after=BATCHES, seed=SEEDS,
)  # fmt: skip
def test_f91_a_layout_free_state_goes_on_with_any_layout(
    data, count, before, after, world, world_after, batch, batch_after, seed
):
    options = {"shuffle": True, "seed": seed, "uneven": "allow"}
    ranks = [
        list(loader(runs_of(rank, world, before, count, batch_size=batch, **options), batch))
        for rank in range(world)
    ]
    steps = data.draw(st.integers(0, min(map(len, ranks))))
    used = [row for batches in ranks for one in batches[:steps] for row in one]
    sequence = epoch_order(count, FINGERPRINT, seed, 0)
    assert sorted(used) == sorted(sequence[: len(used)])
    here = Worker()
    state = schedule(0, world, batch_size=batch, **options).state_at(len(used), count, FINGERPRINT, here)
    assert set(state) == {"fingerprint", "seed", "epoch", "position"}
    for rank in range(world_after):
        runs = runs_of(rank, world_after, after, count, state, batch_size=batch_after, **options)
        expected = batches_of(sequence[len(used) :], rank, world_after, batch_after, "allow")
        assert list(loader(runs, batch_after)) == expected


@settings(deadline=None)
@given(
    data=st.data(), count=COUNTS, workers=WORKERS, world=WORLDS, batch=BATCHES, seed=SEEDS, epoch=st.integers(0, 9)
)  # fmt: skip
def test_f91_a_workers_state_says_that_the_next_sample_is_the_next(
    data, count, workers, world, batch, seed, epoch
):
    options = {"shuffle": True, "seed": seed, "batch_size": batch}
    rank, worker = data.draw(st.integers(0, world - 1)), data.draw(st.integers(0, workers - 1))
    whole = list(rows(runs_of(rank, world, workers, count, epoch=epoch, **options)[worker]))
    run = runs_of(rank, world, workers, count, epoch=epoch, **options)[worker]
    stop = data.draw(st.integers(0, len(whole)))
    first = []
    for position in list(run.rest)[:stop]:
        first.append(run.order.row_at(position))
        run.passed(position)
    here = Worker(worker, workers, is_child=True)
    resumed = schedule(rank, world, **options)
    resumed.load(json.loads(json.dumps(run.state().as_dict())), here)
    assert first + list(rows(resumed.begin(count, FINGERPRINT, here))) == whole


@settings(deadline=None)
@given(data=st.data(), count=st.integers(1, 40), seed=SEEDS)
def test_f91_objects_that_came_out_of_order_are_neither_lost_nor_read_again(data, count, seed):
    [run] = runs_of(0, 1, 1, count, shuffle=True, seed=seed, ordered=False)
    came = data.draw(st.permutations(range(count)))
    stop = data.draw(st.integers(0, count))
    for position in came[:stop]:
        run.passed(position)
    [again] = runs_of(0, 1, 1, count, run.state().as_dict(), shuffle=True, seed=seed, ordered=False)
    assert sorted([*came[:stop], *again.rest]) == list(range(count))


@settings(deadline=None)
@given(count=COUNTS, world=WORLDS, workers=WORKERS, batch=BATCHES)
def test_places_and_positions_are_each_others_inverse(count, world, workers, batch):
    for run in runs_of(world - 1, world, workers, count, batch_size=batch):
        places = range(run.share.count)
        assert [run.share.place_of(run.share.position_at(place)) for place in places] == list(places)


def test_every_rank_and_worker_may_have_nothing():
    assert [list(run.rest) for run in runs_of(6, 7, 2, 3, uneven="allow")] == [[], []]


def test_a_shuffled_order_differs_by_epoch_and_seed_and_spreads():
    first, second, third = (
        [order_of(1000, FINGERPRINT, seed, epoch).row_at(position) for position in range(1000)]
        for seed, epoch in [(0, 0), (0, 1), (1, 0)]
    )
    assert first != second != third != first
    assert sum(abs(row - position) for position, row in enumerate(first)) / 1000 > 250


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"shard": "ranks"}, "shard"),
        ({"uneven": "cut"}, "uneven"),
        ({"seed": -1}, "seed"),
        ({"seed": "x"}, "seed"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_wrong_options_are_named(wrong, named):
    with pytest.raises(ConfigError, match=named):
        Epochs(**wrong)


@pytest.mark.parametrize(
    ("rank", "world_size", "said"),
    [
        (None, 2, "world_size is given without rank"),
        (1, None, "rank is given without"),
        (2, 2, "rank 2 of 2"),
    ],
)
def test_ranks_that_make_no_sense_are_refused(rank, world_size, said):
    with pytest.raises(ConfigError, match=said):
        schedule(rank, world_size)


def test_a_world_size_in_the_environment_needs_a_rank(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ConfigError, match="WORLD_SIZE=2 and no RANK"):
        schedule(None, None).length(10)
    monkeypatch.setenv("RANK", "one")
    with pytest.raises(ConfigError, match="no numbers"):
        schedule(None, None).length(10)
    monkeypatch.setenv("RANK", "1")
    assert schedule(None, None).length(10) == 5
    assert schedule(0, 5).length(10) == 2


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"RANK": "3"}, "RANK=3 and no WORLD_SIZE"),
        ({"SLURM_PROCID": "3", "SLURM_NTASKS": "8"}, r"process 3 of 8 \(SLURM_PROCID, SLURM_NTASKS\).*rank="),
        ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"}, "process 0 of 2"),
        ({"PMI_RANK": "1", "PMI_SIZE": "2"}, "init_process_group"),
    ],
)
def test_one_of_many_processes_is_not_taken_for_the_only_one(environment, said, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=said):
        schedule(None, None).length(10)
    assert schedule(0, 1).length(10) == 10
    assert Schedule(Epochs(), None, None, no_group).length(10) == 10
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "5")
    assert schedule(None, None).length(10) == 2


@pytest.mark.parametrize(
    "environment", [{"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, {"SLURM_NTASKS": "8"}, {"WORLD_SIZE": "1"}]
)
def test_a_lone_process_reads_everything(environment, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert schedule(None, None).length(10) == 10


def third_of_four():
    return 3, 4


def test_ranks_that_read_everything_are_told_so_once(monkeypatch, site, caplog):
    site.fill({f"p/{number}": b"1" for number in range(4)})
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    for options, times in (({}, 1), ({"shard": "none"}, 0), ({"shard": "rank", "uneven": "drop"}, 0)):
        caplog.clear()
        dataset = OssIterableDataset.from_prefix("oss://bucket/p/", **options, **site.arguments)
        read = [len(list(dataset)) for _ in range(2)]
        assert read == [1, 1] if options.get("shard") == "rank" else [4, 4]
        said = [record for record in caplog.records if "reads the whole dataset" in record.getMessage()]
        assert len(said) == times


def test_a_process_group_comes_before_the_environment_and_goes_along_in_a_pickle(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    there = pickle.loads(pickle.dumps(schedule(None, None, third_of_four)))
    there._ranks._group = no_group
    assert there._ranks.ranks({}) == Ranks(3, 4)


def test_states_of_others_are_refused_with_the_reason():
    options = {"shuffle": True, "seed": 7, "uneven": "allow"}
    here = Worker()
    state = schedule(**options).state_at(3, 10, FINGERPRINT, here)
    for wrong, said in [
        ("text", "is a dict"),
        ({}, "fingerprint, seed, epoch, position is missing"),
        ({**state, "seed": None}, "no shuffling"),
        ({**state, "position": -1}, "damaged"),
        ({**state, "share": {"rank": 0}}, "damaged"),
    ]:
        with pytest.raises(ConfigError, match=said):
            schedule(**options).load(wrong, here)
    for other, said in [
        ({"fingerprint": "0" * 16}, "over other objects"),
        ({"position": 12}, "position 12 of 10"),
    ]:
        resumed = schedule(**options)
        resumed.load({**state, **other}, here)
        with pytest.raises(ConfigError, match=said):
            resumed.begin(10, FINGERPRINT, here)
    of_worker = runs_of(0, 1, 2, 10, **options)[0].state().as_dict()
    resumed = schedule(**options)
    resumed.load(of_worker, here)
    with pytest.raises(ConfigError, match=r"worker 0 of 2.*this is worker 0 of 1"):
        resumed.begin(10, FINGERPRINT, here)
    with pytest.raises(ConfigError, match="state_at"):
        schedule(**options).state_at(12, 10, FINGERPRINT, here)


@pytest.mark.parametrize("shard", ["none", None])
@pytest.mark.parametrize("told", ["group", "environment"])
def test_ranks_that_read_everything_go_on_where_each_of_them_was(shard, told, monkeypatch):
    if told == "environment":
        monkeypatch.setenv("RANK", "3")
        monkeypatch.setenv("WORLD_SIZE", "4")
    group = third_of_four if told == "group" else no_group
    here = Worker()
    own = Schedule(Epochs(shard=shard), None, None, group)
    # Each of the four has used eight.
    state = own.state_at(4 * 8, 10, FINGERPRINT, here)
    assert state["position"] == 8
    own.load(state, here)
    assert list(rows(own.begin(10, FINGERPRINT, here))) == [8, 9]
    assert own.state_at(40, 10, FINGERPRINT, here)["position"] == 10
    for wrong, said in [(10, "each read the whole dataset"), (44, "no number of samples")]:
        with pytest.raises(ConfigError, match=rf"state_at: {wrong}.*{said}"):
            own.state_at(wrong, 10, FINGERPRINT, here)


def test_a_count_of_ranks_that_nobody_tells_is_not_taken_for_that_of_one(monkeypatch):
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    with pytest.raises(ConfigError, match="pass rank= and world_size="):
        Schedule(Epochs(shard="none"), None, None, no_group).state_at(8, 10, FINGERPRINT, Worker())
    assert (
        Schedule(Epochs(shard="none"), 0, 1, no_group).state_at(8, 10, FINGERPRINT, Worker())["position"] == 8
    )


def test_a_changed_bucket_is_gone_on_with_if_that_is_asked_for(caplog):
    options = {"shuffle": True, "seed": 7, "uneven": "allow", "strict_resume": False}
    here = Worker()
    resumed = schedule(**options)
    resumed.load(schedule(**options).state_at(4, 10, "0" * 16, here), here)
    run = resumed.begin(10, FINGERPRINT, here)
    assert list(rows(run)) == epoch_order(10, "0" * 16, 7, 0)[4:]
    assert "over other objects" in caplog.text


def test_a_state_and_another_epoch_contradict_each_other():
    here = Worker()
    resumed = schedule()
    resumed.load(resumed.state_at(4, 10, FINGERPRINT, here), here)
    resumed.set_epoch(1, here)
    with pytest.raises(ConfigError, match="of epoch 0, set_epoch said 1"):
        resumed.begin(10, FINGERPRINT, here)
    finished = schedule()
    finished.load(finished.state_at(10, 10, FINGERPRINT, here), here)
    finished.set_epoch(1, here)
    assert len(list(finished.begin(10, FINGERPRINT, here).rest)) == 10


def test_a_state_is_used_up_by_one_iteration():
    here = Worker()
    resumed = schedule()
    resumed.load(resumed.state_at(4, 10, FINGERPRINT, here), here)
    assert resumed.state(10, FINGERPRINT, here)["position"] == 4
    assert list(resumed.begin(10, FINGERPRINT, here).rest) == [4, 5, 6, 7, 8, 9]
    assert list(resumed.begin(10, FINGERPRINT, here).rest) == list(range(10))


@pytest.mark.parametrize("wrong", [-1, 1.5, "1"])
def test_an_epoch_is_a_number(wrong):
    with pytest.raises(ConfigError, match="epoch"):
        schedule().set_epoch(wrong, Worker())
