"""Epochs over the wire and through DataLoaders: order, division, going on, and what is left out."""

from __future__ import annotations

import copy
import gc
import json
import logging
import math
import pickle
from pathlib import Path

import pytest
from torch.utils.data import (
    ChainDataset,
    ConcatDataset,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    Subset,
    random_split,
)

from epoch_model import batches_of, epoch_order
from osstorchconnector import OssIterableDataset, OssMapDataset
from osstorchconnector.emulator import Emulator
from osstorchconnector.errors import (
    ConfigError,
    ConnectionFailedError,
    NotFoundError,
    ObjectChangedError,
    PermissionDeniedError,
)

COUNT = 23
KEYS = [f"/bucket/p/{number:08}" for number in range(COUNT)]


def key_of(sample):
    sample.read()
    return sample.key


def row_of(sample):
    return int(sample.key.rpartition("/")[2])


@pytest.fixture
def arguments(site):
    site.oss.fill("bucket", "p/", COUNT, 100)
    return {**site.arguments, "transform": row_of}


def shuffled(arguments, **options):
    return OssIterableDataset.from_prefix("oss://bucket/p/", shuffle=True, seed=7, **options, **arguments)


def model(dataset, epoch=0, seed=7):
    return epoch_order(COUNT, dataset.state_at(0)["fingerprint"], seed, epoch)


def flat(loader):
    return [row for batch in loader for row in batch.tolist()]


@pytest.mark.parametrize("start_method", ["fork", "forkserver", "spawn"])
def test_workers_that_live_over_epochs_see_the_epoch(start_method, arguments):
    dataset = shuffled(arguments, batch_size=4)
    loader = DataLoader(
        dataset, batch_size=4, num_workers=2, persistent_workers=True, multiprocessing_context=start_method
    )
    for epoch in (0, 1, 5):
        dataset.set_epoch(epoch)
        assert flat(loader) == model(dataset, epoch)
    dataset.load_state_dict(dataset.state_at(8))
    assert flat(loader) == model(dataset, 5)[8:]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda dataset: pickle.loads(pickle.dumps(dataset))])
def test_copies_in_one_process_have_an_epoch_each(copied, arguments):
    dataset = shuffled(arguments, batch_size=4)
    dataset.set_epoch(1)
    other = copied(dataset)
    loaders = [
        DataLoader(each, batch_size=4, num_workers=2, persistent_workers=True) for each in (dataset, other)
    ]
    assert [flat(loader) for loader in loaders] == [model(dataset, 1)] * 2
    other.set_epoch(5)
    dataset.load_state_dict(dataset.state_at(8))
    assert [flat(loader) for loader in loaders] == [model(dataset, 1)[8:], model(dataset, 5)]
    dataset.set_epoch(2)
    del loaders[1], other
    gc.collect()
    assert flat(loaders[0]) == model(dataset, 2)


def test_an_epoch_is_the_same_whatever_the_number_of_workers(arguments):
    orders = [
        flat(DataLoader(shuffled(arguments, batch_size=3), batch_size=3, num_workers=n)) for n in (0, 1, 2, 3)
    ]
    assert orders[0] == model(shuffled(arguments))
    assert orders == [orders[0]] * 4


@pytest.mark.parametrize("uneven", ["drop", "pad", "allow"])
def test_ranks_share_an_epoch_and_read_no_object_twice(uneven, site, arguments):
    read, second_requests = [], 0
    for rank in range(4):
        dataset = shuffled(arguments, shard="rank", rank=rank, world_size=4, uneven=uneven, batch_size=2)
        dataset.prepare()
        batches = [batch.tolist() for batch in DataLoader(dataset, batch_size=2, num_workers=2)]
        assert len(dataset) == sum(map(len, batches))
        if uneven != "pad":
            assert batches == batches_of(model(dataset), rank, 4, 2, uneven)
        read += [row for batch in batches for row in batch]
        second_requests += dataset.stats()["hedges_sent"]
    assert len(read) == {"drop": 20, "pad": 24, "allow": 23}[uneven]
    assert len(set(read)) == min(len(read), COUNT)
    site.assert_read(len(read), second_requests)


def test_a_call_as_of_old_reads_everything_in_each_rank_and_is_told_once(arguments, monkeypatch, caplog):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    dataset = OssIterableDataset.from_prefix("oss://bucket/p/", **arguments)
    for _ in range(2):
        assert list(dataset) == list(range(COUNT))
    assert caplog.text.count('shard="rank"') == 1
    caplog.clear()
    assert len(list(OssIterableDataset.from_prefix("oss://bucket/p/", shard="none", **arguments))) == COUNT
    monkeypatch.setenv("RANK", "1")
    assert len(list(OssIterableDataset.from_prefix("oss://bucket/p/", **arguments))) == COUNT
    assert "shard" not in caplog.text


def test_objects_come_as_they_arrive_if_no_order_is_asked_for(site, arguments):
    site.oss.rules([{"match": {"key": "p/00000000"}, "action": {"delay_ms": 400}}])
    dataset = OssIterableDataset.from_prefix("oss://bucket/p/", ordered=False, **arguments)
    rows = list(dataset)
    assert sorted(rows) == list(range(COUNT))
    assert rows.index(0) > 0
    running = iter(dataset)
    first = [next(running) for _ in range(5)]
    state = json.loads(json.dumps(dataset.state_dict()))
    running.close()
    again = OssIterableDataset.from_prefix("oss://bucket/p/", ordered=False, **arguments)
    again.load_state_dict(state)
    assert sorted([*first, *again]) == list(range(COUNT))


class WithState(IterableDataset):
    """Yields what a `StatefulDataLoader` keeps beside each sample: the state of the dataset in its worker."""

    def __init__(self, dataset, states=None):
        self.dataset, self.states = dataset, states

    def __iter__(self):
        from torch.utils.data import get_worker_info

        worker = get_worker_info()
        number = 0 if worker is None else worker.id
        if self.states is not None:
            self.dataset.load_state_dict(self.states[number])
        stream = iter(self.dataset)
        if self.states is not None:
            # torchdata asks before the first sample as well.
            assert self.dataset.state_dict() == self.states[number]
        for row in stream:
            yield number, row, json.dumps(self.dataset.state_dict())


@pytest.mark.parametrize(("num_workers", "ordered"), [(0, True), (2, True), (2, False)])
def test_f91_a_stateful_loader_goes_on_at_the_next_sample(num_workers, ordered, arguments):
    made = {"batch_size": 2, "ordered": ordered}
    whole = [row for _, row, _ in DataLoader(WithState(shuffled(arguments, **made)), batch_size=None)]
    assert sorted(whole) == list(range(COUNT))
    loader = iter(
        DataLoader(WithState(shuffled(arguments, **made)), batch_size=None, num_workers=num_workers)
    )
    states, first = {}, []
    for _ in range(9):
        number, row, state = next(loader)
        first.append(row)
        states[number] = json.loads(state)
        assert len(state) < 600
    del loader
    again = DataLoader(
        WithState(shuffled(arguments, **made), states), batch_size=None, num_workers=num_workers
    )
    rest = [row for _, row, _ in again]
    assert sorted(first + rest) == list(range(COUNT))
    if num_workers == 0:
        assert first + rest == whole


@pytest.mark.parametrize("after", [0, 1, 3])
def test_f91_a_plain_loader_goes_on_with_another_number_of_workers(after, arguments):
    dataset = shuffled(arguments, batch_size=3)
    dataset.set_epoch(2)
    loader = iter(DataLoader(dataset, batch_size=3, num_workers=2, prefetch_factor=2))
    first = [row for _ in range(4) for row in next(loader).tolist()]
    state = json.dumps(dataset.state_at(len(first)))
    del loader
    resumed = shuffled(arguments, batch_size=3)
    resumed.load_state_dict(json.loads(state))
    loader = DataLoader(resumed, batch_size=3, num_workers=after)
    resumed.set_epoch(2)
    assert first + flat(loader) == model(dataset, 2)
    resumed.set_epoch(3)
    assert flat(loader) == model(dataset, 3)


def test_a_state_that_waits_goes_along_into_spawned_workers(arguments):
    dataset = shuffled(arguments, batch_size=4)
    dataset.load_state_dict(dataset.state_at(8))
    loader = DataLoader(dataset, batch_size=4, num_workers=1, multiprocessing_context="spawn")
    assert flat(loader) == model(dataset)[8:]
    # Not again: an epoch must not be short in silence.
    assert flat(loader) == model(dataset)


def test_workers_that_live_over_epochs_go_on_from_a_state_once(arguments):
    dataset = shuffled(arguments, batch_size=4)
    loader = DataLoader(dataset, batch_size=4, num_workers=2, persistent_workers=True)
    assert flat(loader) == model(dataset)
    for used in (8, 12):
        dataset.load_state_dict(dataset.state_at(used))
        assert flat(loader) == model(dataset)[used:]
        assert flat(loader) == model(dataset)
        dataset.set_epoch(1)
        assert flat(loader) == model(dataset, 1)
        dataset.set_epoch(0)
    # What the parent used itself is not left to the workers.
    dataset.load_state_dict(dataset.state_at(8))
    assert list(dataset) == model(dataset)[8:]
    assert flat(loader) == model(dataset)


def test_a_state_of_another_layout_is_refused_by_workers_that_live_already(arguments, capfd):
    dataset = shuffled(arguments, batch_size=4)
    loader = DataLoader(dataset, batch_size=4, num_workers=2, persistent_workers=True)
    assert flat(loader) == model(dataset)
    running = iter(dataset)
    next(running)
    dataset.load_state_dict(dataset.state_dict())
    # torch lets a worker die of what iter() raises in a later epoch: the reason is on stderr.
    with pytest.raises(RuntimeError, match="exited unexpectedly"):
        flat(loader)
    assert "ConfigError: the state is that of worker 0 of 1 in rank 0 of 1" in capfd.readouterr().err


def test_what_a_worker_loads_itself_is_later_than_what_its_parent_did(arguments):
    dataset = shuffled(arguments)
    dataset.load_state_dict(dataset.state_at(8))
    state = json.dumps(dataset.state_at(12))
    loader = DataLoader(LoadsOnce(dataset, state), batch_size=None, num_workers=1, persistent_workers=True)
    assert list(loader) == model(dataset)[12:]
    assert list(loader) == model(dataset)


class LoadsOnce(IterableDataset):
    """Loads a state in the worker, before its first epoch."""

    def __init__(self, dataset, state):
        self.dataset, self.state = dataset, state

    def __iter__(self):
        if self.state is not None:
            self.dataset.load_state_dict(json.loads(self.state))
            self.state = None
        yield from self.dataset


def test_a_changed_bucket_is_noticed_by_its_fingerprint(site, arguments):
    state = shuffled(arguments).state_at(10)
    site.oss.put_object("bucket", "p/99", b"new")
    changed = shuffled(arguments)
    changed.load_state_dict(state)
    with pytest.raises(ConfigError, match="over other objects"):
        list(changed)


def test_what_a_pickle_of_a_sharded_dataset_costs(arguments):
    dataset = shuffled(arguments, shard="rank", rank=0, world_size=8)
    dataset.set_epoch(1)
    dataset.load_state_dict(dataset.state_at(5))
    list(dataset)
    assert len(pickle.dumps(dataset)) <= 4096


@pytest.mark.parametrize("kind", [OssIterableDataset, OssMapDataset])
def test_a_pickle_whose_index_file_is_gone_lists_the_same_or_raises(kind, site, arguments):
    dataset = kind.from_prefix("oss://bucket/p/", **arguments)
    unlisted = pickle.loads(pickle.dumps(dataset))
    assert dataset.prepare() == COUNT
    data = pickle.dumps(dataset)
    assert len(data) <= 4096
    Path(dataset._delivery.index_path).unlink()
    assert list(pickle.loads(data)) == list(range(COUNT))
    Path(dataset._delivery.index_path).unlink()
    site.oss.put_object("bucket", "p/99", b"new")
    for again in (pickle.loads(data), pickle.loads(pickle.dumps(pickle.loads(data)))):
        with pytest.raises(ObjectChangedError, match=r"list oss://bucket/p/.*make the dataset anew"):
            list(again)
    # One that was pickled before anything was listed expects nothing.
    Path(dataset._delivery.index_path).unlink()
    assert unlisted.prepare() == COUNT + 1


def images(arguments, **options):
    return OssMapDataset.from_prefix("oss://bucket/p/", **options, **arguments)


def test_map_datasets_take_a_distributed_sampler(site, arguments):
    read, second_requests = [], 0
    for rank in range(2):
        dataset = images(arguments)
        sampler = DistributedSampler(dataset, num_replicas=2, rank=rank, shuffle=True, drop_last=True)
        sampler.set_epoch(1)
        read += flat(DataLoader(dataset, batch_size=4, num_workers=2, sampler=sampler))
        second_requests += dataset.stats()["hedges_sent"]
    assert len(read) == len(set(read)) == COUNT - 1
    site.assert_read(COUNT - 1, second_requests)


def test_map_datasets_name_what_to_use_instead_of_the_keywords_of_the_others(arguments):
    with pytest.raises(TypeError, match=r"OssMapDataset takes no seed, shuffle.*DistributedSampler"):
        images(arguments, shuffle=True, seed=1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'shufle'"):
        images(arguments, shufle=True)


def test_datasets_may_be_parts_of_others(arguments):
    map_dataset = images(arguments)
    both = ConcatDataset([map_dataset, Subset(map_dataset, [3, 1])])
    assert flat(DataLoader(both, batch_size=5, num_workers=2)) == [*range(COUNT), 3, 1]
    parts = random_split(map_dataset, [10, COUNT - 10])
    assert sorted(row for part in parts for row in flat(DataLoader(part, num_workers=1))) == list(
        range(COUNT)
    )
    chain = ChainDataset([shuffled(arguments), shuffled(arguments)])
    assert sorted(flat(DataLoader(chain, batch_size=4, num_workers=2))) == sorted([*range(COUNT)] * 2)


def test_two_loaders_over_one_dataset_and_the_parent_do_not_disturb_each_other(arguments):
    dataset = shuffled(arguments, batch_size=2)
    expected = model(dataset)
    loaders = [DataLoader(dataset, batch_size=2, num_workers=2) for _ in range(2)]
    here = iter(dataset)
    pairs = list(zip(*loaders, strict=True))
    assert [row for batch, _ in pairs for row in batch.tolist()] == expected
    assert [row for _, batch in pairs for row in batch.tolist()] == expected
    assert list(here) == expected


def refuse(site, *rows, **action):
    action = action or {"status": 403, "code": "AccessDenied"}
    site.oss.rules([{"match": {"op": "GetObject", "key": f"p/{row:08}"}, "action": action} for row in rows])


def test_objects_that_cannot_be_read_are_errors_unless_the_policy_says_otherwise(site, arguments, caplog):
    refuse(site, 3, 5)
    with pytest.raises(PermissionDeniedError):
        list(OssIterableDataset.from_prefix("oss://bucket/p/", on_missing="skip", **arguments))
    rest = [row for row in range(COUNT) if row not in (3, 5)]
    caplog.set_level(logging.WARNING)
    dataset = OssIterableDataset.from_prefix("oss://bucket/p/", on_error="skip", **arguments)
    assert list(dataset) == rest
    assert dataset.stats()["dataset_errors_skipped"] == 2
    assert "AccessDenied" in caplog.text
    assert images(arguments, on_error="skip").__getitems__([2, 3, 4]) == [2, 4]
    with pytest.raises(PermissionDeniedError):
        images(arguments, on_error="skip")[3]
    loader = DataLoader(images(arguments, on_error="skip"), batch_size=6, num_workers=2)
    assert flat(loader) == rest


def stand_in(named, error):
    assert isinstance(error, PermissionDeniedError)
    return named


def test_a_function_may_stand_in_for_what_cannot_be_read(site, arguments):
    refuse(site, 3)
    dataset = OssIterableDataset.from_prefix("oss://bucket/p/", on_error=stand_in, **arguments)
    assert list(dataset) == list(range(COUNT))
    assert images(arguments, on_error=stand_in)[3] == 3
    assert images(arguments, on_error=stand_in).__getitems__([3, 1]) == [3, 1]


@pytest.mark.parametrize(
    ("budget", "is_enough"), [(3, True), (2, False), (0.5, True), (0.1, False), (math.inf, True)]
)
def test_what_is_left_out_is_bounded_by_a_budget(budget, is_enough, site, arguments):
    refuse(site, 3, 5, 7)
    for dataset in (
        OssIterableDataset.from_prefix("oss://bucket/p/", on_error="skip", error_budget=budget, **arguments),
        images(arguments, on_error="skip", error_budget=budget),
    ):
        if is_enough:
            assert len(list(dataset)) == COUNT - 3
        else:
            with pytest.raises(PermissionDeniedError, match="more than error_budget allows"):
                list(dataset)


def test_missing_objects_have_the_budget_too_but_not_under_the_compatibility_switch(site):
    uris = [*site.fill({"a": b"1"}), *(f"oss://bucket/gone{number}" for number in range(12))]
    with pytest.raises(NotFoundError, match="more than error_budget allows"):
        list(OssIterableDataset.from_objects(uris, on_missing="skip", **site.arguments))
    arguments = site.configured(compatibility={"missing": "skip"})
    assert len(list(OssIterableDataset.from_objects(uris, **arguments))) == 1


def test_the_compatibility_switch_frees_nothing_but_what_is_missing(site, arguments):
    refuse(site, *range(COUNT))
    arguments = {**arguments, **site.configured(compatibility={"missing": "skip"})}
    for dataset in (
        OssIterableDataset.from_prefix("oss://bucket/p/", on_error="skip", **arguments),
        images(arguments, on_error="skip"),
    ):
        with pytest.raises(PermissionDeniedError, match="more than error_budget allows"):
            list(dataset)


def stand_in_for_all(named, _):
    return named


@pytest.mark.parametrize("on_error", ["skip", stand_in_for_all])
@pytest.mark.parametrize("kind", [OssIterableDataset, OssMapDataset])
def test_an_endpoint_that_is_gone_is_no_objects_failure(kind, on_error, site):
    with Emulator() as oss:
        oss.fill("bucket", "p/", 8, 100)
        quick = {
            **site.configured(network={"deadlineSeconds": 1}),
            "endpoint": oss.endpoint,
            "cred_path": oss.write_credentials(site.directory),
        }
        dataset = kind.from_prefix("oss://bucket/p/", on_error=on_error, **quick)
        assert dataset.prepare() == 8
    # Eight are within any budget: ten may be left out in any case.
    with pytest.raises(ConnectionFailedError, match="check endpoint"):
        list(dataset)
    assert dataset.stats()["dataset_errors_skipped"] == 0


def test_an_unreachable_service_is_never_missing_and_exhausts_any_budget(site, arguments):
    refuse(site, *range(COUNT), status=503, code="ServiceUnavailable")
    quick = {**arguments, **site.configured(network={"deadlineSeconds": 2})}
    dataset = OssIterableDataset.from_prefix("oss://bucket/p/", on_missing="skip", **quick)
    with pytest.raises(Exception, match="ServiceUnavailable") as refused:
        list(dataset)
    assert not isinstance(refused.value, NotFoundError | ConnectionFailedError)
    assert dataset.stats()["dataset_missing_skipped"] == 0


@pytest.mark.parametrize("kind", [OssIterableDataset, OssMapDataset])
def test_a_replaced_object_is_read_in_its_new_version_unless_versions_are_pinned(kind, site):
    site.fill({"p/a": b"old a", "p/b": b"old b"})

    def made(**options):
        dataset = kind.from_prefix(
            "oss://bucket/p/", transform=lambda sample: sample.read(), **options, **site.arguments
        )
        dataset.prepare()
        return dataset

    latest, pinned = made(), made(pin_versions=True)
    skipping, standing_in = made(on_changed="skip"), made(on_changed=lambda _: NewName())
    site.fill({"p/b": b"new and longer"})
    assert list(latest) == [b"old a", b"new and longer"]
    assert latest.stats()["objects_changed"] == 1
    with pytest.raises(ObjectChangedError):
        list(pinned)
    assert list(skipping) == [b"old a"]
    assert skipping.stats()["dataset_changed_skipped"] == 1
    assert list(standing_in) == [b"old a", b"stood in"]
    if kind is OssMapDataset:
        with pytest.raises(ObjectChangedError):
            pinned[1]
        assert standing_in[1] == b"stood in"
        assert pinned[0] == b"old a"


class NewName:
    def read(self):
        return b"stood in"


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"on_error": "ignore"}, "on_error"),
        ({"on_changed": "reread"}, "on_changed"),
        ({"error_budget": -1}, "error_budget"),
        ({"error_budget": "1%"}, "error_budget"),
        ({"on_changed": "skip", "pin_versions": False}, "pin_versions"),
        ({"shard": "worker"}, "shard"),
        ({"world_size": 2}, "world_size is given without rank"),
    ],
)
def test_wrong_options_of_a_dataset_are_named(wrong, named, site):
    with pytest.raises(ConfigError, match=named):
        OssIterableDataset.from_prefix("oss://bucket/p/", **wrong, **site.arguments)
