"""What a load asks OSS for: the bytes of its plan, each once, in few requests; and where a save puts what is read."""

from __future__ import annotations

import re

import pytest

from torch_versions import need_checkpoints

need_checkpoints()

import torch
import torch.distributed.checkpoint as dcp

from dcp_ranks import on_ranks
from dcp_states import PATH, equal, file_system, load, names, save

WORLD = 3


@pytest.fixture
def fs(site):
    return file_system(site)


def reads_of(site, since):
    """Return the bytes of the answers to GETs of data objects, by their keys."""
    found: dict[str, list[int]] = {}
    for entry in site.oss.journal(since):
        if entry.get("operation") == "GetObject" and entry["key"].endswith(".distcp"):
            found.setdefault(entry["key"], []).append(entry["bytes_out"])
    return found


def shard_sizes(fs):
    """Return the sizes of the data objects by their keys."""
    shards = [name for name in names(fs) if name.endswith(".distcp")]
    return {f"run/step/{name}": fs.store().head(f"/bucket/run/step/{name}") for name in shards}


def own(rank, value):
    return {f"w{rank}": torch.full((50_000,), value)}


def save_own(rank, fs):
    dcp.save(own(rank, 1.0 + rank), storage_writer=fs.writer(PATH))


def load_own(rank, fs):
    state = own(rank, 0.0)
    dcp.load(state, storage_reader=fs.reader(PATH))
    return equal(state, own(rank, 1.0 + rank))


def test_each_rank_reads_its_own_data_alone_and_once(fs, site):
    on_ranks(WORLD, save_own, fs)
    since = len(site.oss.journal())
    assert on_ranks(WORLD, load_own, fs) == [True] * WORLD
    reads = reads_of(site, since)
    for key, size_bytes in shard_sizes(fs).items():
        # A machine that is busy elsewhere may make an answer late, and that part is asked for a second time.
        assert size_bytes in reads[key]
        assert len(reads[key]) <= 2
    assert len(reads) == WORLD


def numbered(step, count, floats):
    return {f"t{number}": torch.full((floats,), float(number)) for number in range(0, count, step)}


def loaded_of(fs, state):
    into = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    assert equal(load(fs, into), state)


def test_a_thousand_small_items_are_read_in_a_few_requests(fs, site):
    state = numbered(1, 1000, 100)
    save(fs, state)
    since = len(site.oss.journal())
    loaded_of(fs, state)
    ((key, size_bytes),) = shard_sizes(fs).items()
    (reads,) = reads_of(site, since).values()
    assert len(reads) <= 4
    assert size_bytes <= sum(reads) <= 2 * size_bytes, key


def test_items_far_from_one_another_do_not_bring_what_lies_between(fs, site):
    save(fs, numbered(1, 100, 20_000))
    since = len(site.oss.journal())
    loaded_of(fs, numbered(10, 100, 20_000))
    (size_bytes,) = shard_sizes(fs).values()
    (reads,) = reads_of(site, since).values()
    assert 10 <= len(reads) <= 20
    assert size_bytes / 10 <= sum(reads) <= size_bytes / 5, "ten items of a hundred"


@pytest.mark.parametrize(
    ("strategy", "pattern"),
    [("none", r"__[^/]+"), ("hashed", r"([0-9a-f]{4})/__[^/]+"), ("rank", r"(rank-\d+)/__[^/]+")],
)
def test_a_strategy_puts_data_objects_below_its_prefixes(fs, strategy, pattern):
    save(fs, numbered(1, 20, 10), prefix_strategy=strategy, single_file_per_rank=False)
    shards = [re.fullmatch(rf"{pattern}\.distcp", name) for name in names(fs) if name.endswith(".distcp")]
    assert len(shards) == 20
    assert all(shards)
    prefixes = {shard[1] for shard in shards if shard.groups()}
    if strategy == "hashed":
        assert len(prefixes) > 15, "each object has its own, but for chance"
    else:
        assert prefixes == ({"rank-0"} if strategy == "rank" else set())
