"""Distributed checkpoints over real process groups (gloo): sharded states, other numbers of ranks, errors of one rank."""

from __future__ import annotations

import time
import warnings

import pytest

from torch_versions import SHARDED, need_argument, need_torch

need_torch(SHARDED, "sharded states")

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from dcp_ranks import Ranks, on_ranks
from dcp_states import PATH, file_system, load, names
from osstorchconnector.dcp import naming
from osstorchconnector.errors import NotFoundError, PermissionDeniedError

BATCH = 6


@pytest.fixture
def fs(site):
    return file_system(site)


def trained(value):
    """Make a small model, sharded over the ranks, and its optimizer after a step."""
    torch.manual_seed(value)
    model = torch.nn.Sequential(torch.nn.Linear(24, 130), torch.nn.ReLU(), torch.nn.Linear(130, 7))
    if dist.is_initialized():
        mesh = init_device_mesh("cpu", (dist.get_world_size(),))
        for layer in (model[0], model[2]):
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for parameter in model.parameters():
        # Not by `backward`: its threads cannot be had in ranks that were forked after another test's.
        parameter.grad = parameter.detach() * 0.5
    optimizer.step()
    return model, optimizer


def as_state(model, optimizer, step):
    weights, moments = get_state_dict(model, optimizer)
    return {"model": weights, "optimizer": moments, "step": step}


def whole(value):
    """Gather sharded tensors, for comparing."""
    if isinstance(value, DTensor):
        return value.full_tensor()
    if isinstance(value, dict):
        return {name: whole(part) for name, part in value.items()}
    return value


def save_model(_rank, fs, asynchronously=False):
    state = as_state(*trained(1), 5)
    if asynchronously:
        dcp.async_save(state, storage_writer=fs.writer(PATH), process_group=dist.group.WORLD).result()
    else:
        dcp.save(state, storage_writer=fs.writer(PATH))
    return {"model": whole(state["model"]), "optimizer": whole(state["optimizer"])}


def load_model(_rank, fs):
    model, optimizer = trained(2)
    state = as_state(model, optimizer, 0)
    dcp.load(state, storage_reader=fs.reader(PATH))
    set_state_dict(model, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
    again = as_state(model, optimizer, state["step"])
    return {"model": whole(again["model"]), "optimizer": whole(again["optimizer"])}, state["step"]


def same(left, right):
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[name], right[name]) for name in left)
    return left == right


def test_a_sharded_model_of_four_ranks_is_loaded_by_four_by_two_and_by_one(fs):
    saved = on_ranks(4, save_model, fs)[0]
    assert len([name for name in names(fs) if name.endswith(".distcp")]) == 4
    for world_size in (4, 2):
        for loaded, step in on_ranks(world_size, load_model, fs):
            assert same(loaded["model"], saved["model"])
            assert same(loaded["optimizer"]["state"], saved["optimizer"]["state"])
            assert step == 5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded, step = load_model(0, fs)
    assert same(loaded["model"], saved["model"])
    assert step == 5


def test_a_model_is_saved_while_its_ranks_go_on(fs):
    saved = on_ranks(2, save_model, fs, True)[0]
    loaded, _ = on_ranks(2, load_model, fs)[0]
    assert same(loaded["model"], saved["model"])


def stage_a_scalar(_rank, fs):
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    going = {"model": {"scale": distribute_tensor(torch.tensor(1.0), mesh, [Replicate()])}}
    staged = fs.writer(PATH).stage(going)
    going["model"]["scale"].add_(1)
    return staged["model"]["scale"].full_tensor().item()


def test_f69_training_does_not_change_a_scalar_of_a_save_that_is_on_its_way(fs):
    assert on_ranks(1, stage_a_scalar, fs) == [1.0]


FULL = torch.arange(300 * 260, dtype=torch.float32).reshape(300, 260)


def save_tensors(_rank, fs, dimension):
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    dcp.save({"w": distribute_tensor(FULL, mesh, [Shard(dimension)])}, storage_writer=fs.writer(PATH))


def load_tensors(_rank, fs, dimension):
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    state = {"w": distribute_tensor(torch.zeros_like(FULL), mesh, [Shard(dimension)])}
    dcp.load(state, storage_reader=fs.reader(PATH))
    return torch.equal(state["w"].full_tensor(), FULL)


@pytest.mark.parametrize(("stored", "wanted"), [(0, 1), (1, 0), (1, 1)])
def test_a_tensor_cut_one_way_is_loaded_cut_another_way(fs, stored, wanted):
    on_ranks(3, save_tensors, fs, stored)
    assert on_ranks(2, load_tensors, fs, wanted) == [True, True]
    assert torch.equal(load(fs, {"w": torch.zeros_like(FULL)})["w"], FULL)


def save_one_each(rank, fs):
    dcp.save({f"w{rank}": torch.full((50_000,), float(rank))}, storage_writer=fs.writer(PATH))


def load_one_each(rank, fs):
    begun = time.monotonic()
    state = {f"w{rank}": torch.zeros(50_000)}
    try:
        dcp.load(state, storage_reader=fs.reader(PATH))
    except BaseException as error:
        error.seconds = time.monotonic() - begun
        assert float(state[f"w{rank}"].sum()) == 0, "nothing was touched"
        raise
    return float(state[f"w{rank}"][0])


def failures(outcomes):
    """Return the failures that every rank reported, all the same."""
    assert {outcome[0] for outcome in outcomes} == {"failed"}, outcomes
    assert len({str(outcome[1]) for outcome in outcomes}) == 1
    return outcomes[0][1]


def test_an_error_of_oss_on_one_rank_is_raised_on_all_and_names_the_rank(fs, site):
    site.oss.rules(
        [
            {
                "match": {"op": "PutObject", "key": "*_1_0.distcp"},
                "action": {"status": 403, "code": "AccessDenied"},
            }
        ]
    )
    with Ranks(3, save_one_each, fs) as ranks:
        outcomes = ranks.outcomes()
    ((rank, error),) = failures(outcomes).items()
    assert rank == 1
    assert isinstance(error, PermissionDeniedError)
    assert "\n" not in str(error)
    assert "_1_0.distcp" in str(error)
    assert all("(RANK 1)" in outcome[2] for outcome in outcomes)
    assert not [name for name in names(fs) if "metadata" in name or "manifest" in name]


def test_a_deadline_on_one_rank_is_raised_on_all_within_ten_seconds_of_it(site):
    quick = file_system(site).__class__(**site.configured(network={"deadlineSeconds": 2}))
    site.oss.rules([{"match": {"op": "PutObject", "key": "*_1_0.distcp"}, "action": {"status": 503}}])
    begun = time.monotonic()
    with Ranks(2, save_one_each, quick) as ranks:
        outcomes = ranks.outcomes()
    assert time.monotonic() - begun < 2 + 10
    assert list(failures(outcomes)) == [1]


def test_a_rank_that_finds_no_checkpoint_says_so_on_all(fs):
    with Ranks(2, load_one_each, fs) as ranks:
        found = failures(ranks.outcomes())
    assert list(found) == [0, 1]
    assert all(isinstance(error, NotFoundError) for error in found.values())


def test_every_rank_loads_its_own(fs):
    on_ranks(3, save_one_each, fs)
    assert on_ranks(3, load_one_each, fs) == [0.0, 1.0, 2.0]


def test_the_coordinator_alone_looks_at_the_data_objects(fs, site):
    on_ranks(3, save_one_each, fs)
    since = len(site.oss.journal())
    on_ranks(3, load_one_each, fs)
    looks = [
        entry["key"]
        for entry in site.oss.journal(since)
        if entry.get("operation") == "HeadObject" and entry["key"].endswith(".distcp")
    ]
    assert len(set(looks)) == 3
    assert len(looks) <= 6, "once by the coordinator, once by the one rank that reads it"


def save_elsewhere(rank, fs):
    dcp.save({f"w{rank}": torch.ones(3)}, storage_writer=fs.writer(f"oss://bucket/run/at-{rank}"))


def test_ranks_that_save_into_different_paths_are_told(fs):
    with Ranks(2, save_elsewhere, fs) as ranks:
        ((_, error),) = failures(ranks.outcomes()).items()
    assert isinstance(error, ValueError)
    assert "rank 1 saved into oss://bucket/run/at-1" in str(error)
    assert fs.latest("oss://bucket/") is None


class NamingPlanner(DefaultSavePlanner):
    """Keeps its plans by its name, apart from those of other tests."""


def save_by_kept_plans(rank, fs):
    for turn in range(3):
        planner = NamingPlanner(enable_plan_caching=True)
        own = {f"w{rank}": torch.full((50_000,), float(turn))}
        if rank == 1 and turn == 2:
            # The plan of this rank alone is another now.
            own["more"] = torch.ones(5)
        dcp.save(own, storage_writer=fs.writer(f"{PATH}{turn}"), planner=planner)


def test_ranks_whose_planner_keeps_plans_name_each_save_alike(fs):
    need_argument(DefaultSavePlanner, "enable_plan_caching")
    on_ranks(2, save_by_kept_plans, fs)
    for turn in range(3):
        written = [name for name in names(fs, f"{PATH}{turn}") if name.endswith(".distcp")]
        [manifest] = [name for name in names(fs, f"{PATH}{turn}") if name.startswith(".manifest")]
        assert len(written) == 2
        assert {naming.save_of_shard(name) for name in written} == {naming.save_of_manifest(manifest)}
        found = load(fs, {"w1": torch.zeros(50_000)}, f"{PATH}{turn}")
        assert float(found["w1"][0]) == turn
