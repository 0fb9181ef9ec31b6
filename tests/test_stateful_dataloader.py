"""torchdata's `StatefulDataLoader` over both datasets: a stopped run and its resumption are the undisturbed run."""

from __future__ import annotations

import json

import pytest
import torch
from torch.utils.data import BatchSampler, RandomSampler

from osstorchconnector import OssIterableDataset, OssMapDataset
from osstorchconnector.errors import ConfigError

loaders = pytest.importorskip(
    "torchdata.stateful_dataloader", reason="torchdata cannot be imported beside this torch"
)
samplers = pytest.importorskip("torchdata.stateful_dataloader.sampler")

COUNT = 23
ROWS = list(range(COUNT))

# torchdata 0.11 calls a function of torch 2.13 that warns.
pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")


def row_of(sample):
    return int(sample.key.rpartition("/")[2])


@pytest.fixture
def arguments(site):
    site.oss.fill("bucket", "p/", COUNT, 100)
    return {**site.arguments, "transform": row_of}


def rows_of(loader):
    return [row for batch in loader for row in batch.tolist()]


def stopped_after(loader, steps):
    """Return what the first steps gave, and the loader's state as it comes out of a file."""
    running = iter(loader)
    rows = [row for _ in range(steps) for row in next(running).tolist()]
    return rows, json.loads(json.dumps(loader.state_dict()))


def over_iterable(arguments, num_workers, **options):
    dataset = OssIterableDataset.from_prefix(
        "oss://bucket/p/", shuffle=True, seed=7, batch_size=3, **arguments
    )
    return dataset, loaders.StatefulDataLoader(dataset, batch_size=3, num_workers=num_workers, **options)


@pytest.mark.parametrize(
    ("num_workers", "steps", "options"),
    [
        (0, 0, {}),
        (0, 5, {}),
        (2, 1, {}),
        (2, 5, {"persistent_workers": True}),
        (2, 5, {"snapshot_every_n_steps": 4}),
        (3, 7, {"prefetch_factor": 4}),
        # Ten processes that import torch, one after the other.
        pytest.param(
            2, 3, {"multiprocessing_context": "spawn"}, marks=[pytest.mark.soak, pytest.mark.timeout(300)]
        ),
    ],
)
def test_f91_an_iterable_dataset_goes_on_at_the_next_sample(num_workers, steps, options, arguments):
    whole = rows_of(over_iterable(arguments, num_workers, **options)[1])
    assert sorted(whole) == ROWS
    first, state = stopped_after(over_iterable(arguments, num_workers, **options)[1], steps)
    dataset, loader = over_iterable(arguments, num_workers, **options)
    loader.load_state_dict(state)
    assert first + rows_of(loader) == whole
    # What follows are whole epochs again.
    assert rows_of(loader) == whole
    dataset.set_epoch(1)
    after = rows_of(loader)
    assert sorted(after) == ROWS
    assert after != whole


def test_another_number_of_workers_is_refused_and_never_a_short_epoch(arguments):
    _, state = stopped_after(over_iterable(arguments, 2)[1], 3)
    _, loader = over_iterable(arguments, 1)
    loader.load_state_dict(state)
    with pytest.raises((AssertionError, ConfigError), match="worker"):
        rows_of(loader)


@pytest.mark.parametrize("sampler", ["distributed", "batches"])
@pytest.mark.parametrize(("num_workers", "steps"), [(0, 4), (2, 4)])
def test_f91_a_map_dataset_goes_on_at_the_next_sample(sampler, num_workers, steps, site, arguments):
    def made():
        dataset = OssMapDataset.from_prefix("oss://bucket/p/", **arguments)
        if sampler == "batches":
            drawn = RandomSampler(ROWS, generator=torch.Generator().manual_seed(5))
            batches = BatchSampler(drawn, 2, drop_last=False)
            return loaders.StatefulDataLoader(dataset, batch_sampler=batches, num_workers=num_workers)
        mine = samplers.StatefulDistributedSampler(dataset, num_replicas=2, rank=1, shuffle=True, seed=5)
        return loaders.StatefulDataLoader(dataset, batch_size=2, num_workers=num_workers, sampler=mine)

    whole = rows_of(made())
    first, state = stopped_after(made(), steps)
    resumed = made()
    resumed.load_state_dict(state)
    assert first + rows_of(resumed) == whole
    assert len(set(whole)) == len(whole) == (COUNT if sampler == "batches" else (COUNT + 1) // 2)
    # One for each dataset that was used; a map dataset is not used before its first batch.
    assert len(site.oss.requests("ListObjectsV2")) <= 3
