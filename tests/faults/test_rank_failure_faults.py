"""What one rank of a save or a load cannot do ends the work of all, soon, and is told by its rank."""

from __future__ import annotations

import time

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.planner import LoadPlan

from dcp_ranks import Ranks, on_ranks
from dcp_states import PATH, file_system, names
from osstorchconnector.dcp import alarm
from osstorchconnector.dcp.shards import given_up
from osstorchconnector.errors import OssError, PermissionDeniedError, UploadError
from torch_versions import need_argument

MB = 1_000_000
DEADLINE_SECONDS = 2
# Rank 0 has this much to move, at 1 MB/s over its few connections; rank 1 next to nothing.
SLOW_BYTES = 40 * MB


@pytest.fixture
def fs(site):
    return file_system(site)


def own_part(rank):
    return {f"w{rank}": torch.ones((SLOW_BYTES if rank == 0 else 4000) // 4)}


def save_own_part(rank, patient, hasty, threads=1):
    fs = hasty if rank == 1 else patient
    dcp.save(own_part(rank), storage_writer=fs.writer(PATH, thread_count=threads))


def load_own_part(rank, fs):
    dcp.load(own_part(rank), storage_reader=fs.reader(PATH))


def slowly(operation, direction):
    match = {"op": operation, "key": "*_0_*.distcp"}
    return {"match": match, "action": {"rate_bytes_per_second": MB // 4, "direction": direction}}


def outcomes_of(function, *arguments):
    """Return the failures that every rank reported, the same on each, after how long."""
    begun = time.monotonic()
    with Ranks(2, function, *arguments, group_seconds=45) as ranks:
        outcomes = ranks.outcomes(limit_seconds=45)
    took = time.monotonic() - begun
    assert {outcome[0] for outcome in outcomes} == {"failed"}, outcomes
    assert len({str(outcome[1]) for outcome in outcomes}) == 1
    assert all("(RANK 1)" in outcome[2] for outcome in outcomes)
    return outcomes[0][1], took


def test_f65_a_rank_that_runs_into_its_deadline_ends_the_long_uploads_of_the_others(fs, site):
    hasty = type(fs)(**site.configured(network={"deadlineSeconds": DEADLINE_SECONDS}))
    site.oss.rules(
        [
            {"match": {"op": "PutObject", "key": "*_1_0.distcp"}, "action": {"status": 503}},
            slowly("UploadPart", "in"),
        ]
    )
    failures, took = outcomes_of(save_own_part, fs, hasty)
    assert took < DEADLINE_SECONDS + 10
    assert list(failures) == [1], "who gave its part up for another has not failed"
    assert names(fs) == []
    assert fs.store().abandoned_uploads(PATH) == []


class FailingPlanner(DefaultSavePlanner):
    """Keeps its plans by its name, apart from those of other tests."""


def save_own_part_again(rank, patient, hasty, oss, rules):
    """Save twice by plans that are kept; the service turns bad in between."""
    for turn in range(2):
        planner = FailingPlanner(enable_plan_caching=True)
        dcp.save(
            own_part(rank), storage_writer=(hasty if rank == 1 else patient).writer(PATH), planner=planner
        )
        dist.barrier()
        if rank == 0 and turn == 0:
            oss.rules(rules)
        dist.barrier()


def test_f65_a_rank_that_fails_in_a_later_save_of_a_planner_that_keeps_plans_ends_the_others_too(fs, site):
    need_argument(DefaultSavePlanner, "enable_plan_caching")
    hasty = type(fs)(**site.configured(network={"deadlineSeconds": DEADLINE_SECONDS}))
    refused = {"match": {"op": "PutObject", "key": "*_1_0.distcp"}, "action": {"status": 503}}
    rules = [refused, slowly("UploadPart", "in")]
    failures, took = outcomes_of(save_own_part_again, fs, hasty, site.oss, rules)
    assert took < DEADLINE_SECONDS + 10
    assert list(failures) == [1], "who gave its part up for another has not failed"
    assert sum(name == ".metadata" for name in names(fs)) == 1, "that of the first save"


def test_f65_a_rank_that_may_not_read_ends_the_long_loads_of_the_others(fs, site):
    on_ranks(2, save_own_part, fs, fs)
    site.oss.rules(
        [
            {
                "match": {"op": "GetObject", "key": "*_1_0.distcp"},
                "action": {"status": 403, "code": "AccessDenied"},
            },
            slowly("GetObject", "out"),
        ]
    )
    failures, took = outcomes_of(load_own_part, fs)
    assert took < 10
    assert isinstance(failures[1], PermissionDeniedError)
    assert isinstance(failures[0], OssError)
    assert "rank 1 failed" in str(failures[0])


def test_f65_a_part_that_was_given_up_never_becomes_a_checkpoint(fs):
    writer = fs.writer(PATH)
    writer.save_id = "20260101T000000000000-0123456789abcdef"
    with pytest.raises(UploadError, match="rank 1 did not write its part") as raised:
        writer.finish(Metadata({}), [[], given_up(OssError("given up"))])
    assert raised.value.state == "not_committed"
    assert names(fs) == []


def test_f65_a_load_after_a_failed_one_has_another_name(fs):
    # One reader may load several times: nobody is to hear of the failure of the load before.
    reader = fs.reader(PATH)
    plans = [reader.prepare_global_plan([LoadPlan([]), LoadPlan([])]) for _ in range(2)]
    told = [{plan.storage_data.load_id for plan in each} for each in plans]
    assert [len(ids) for ids in told] == [1, 1]
    assert told[0] != told[1]
    assert [plan.storage_data.rank for plan in plans[0]] == [0, 1]


class DeadStore:
    """The store of a process group whose host is gone."""

    def check(self, _keys):
        raise ConnectionError

    def set(self, _key, _value):
        raise ConnectionError


def test_f65_a_store_that_is_gone_changes_nothing(monkeypatch):
    monkeypatch.setattr(alarm, "_group_store", DeadStore)
    with alarm.Alarm("name", "save", 0, pytest.fail):
        pass
    with pytest.raises(ZeroDivisionError), alarm.Alarm("name", "save", 0, pytest.fail):
        raise ZeroDivisionError
