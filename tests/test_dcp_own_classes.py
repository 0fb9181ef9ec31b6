"""Metadata that asks for a class of the user's own: it may not be looked into, which is not the same as broken."""

from __future__ import annotations

import dataclasses
import warnings

import pytest

from torch_versions import need_checkpoints

need_checkpoints()

import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import DefaultSavePlanner

from dcp_states import PATH, file_system, names, save, state
from osstorchconnector.errors import ConfigError, FormatError

RUN = "oss://bucket/run"


@pytest.fixture
def fs(site):
    return file_system(site)


class Planned:
    """A class of a user's planner."""


class OwnPlanner(DefaultSavePlanner):
    """Leaves an object of its own in the metadata."""

    def create_global_plan(self, all_plans):
        """Plan as torch does."""
        plans, metadata = super().create_global_plan(all_plans)
        return plans, dataclasses.replace(metadata, planner_data=Planned())


def save_planned(fs, number, **options):
    writer = fs.writer(f"{RUN}/step-{number}", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        dcp.save(state(float(number)), storage_writer=writer, planner=OwnPlanner())


def save_steps(fs, site, count, **options):
    """Save one after the other, seconds apart: OSS dates objects by the second."""
    for number in range(count):
        site.oss.clock(number * 10)
        save_planned(fs, number, **options)


def lose_data_of(fs, number):
    (shard,) = (name for name in names(fs, f"{RUN}/step-{number}") if name.endswith(".distcp"))
    fs.rm_file(f"{RUN}/step-{number}/{shard}")


def without_header(fs, site, number):
    """Write the metadata again as other tools do: nothing tells its save but what is in it."""
    key = f"run/step-{number}/.metadata"
    site.fill({key: fs.store().open_reader(f"/bucket/{key}").read()})


def steps_left(fs):
    return {key.split("/")[3] for key, *_ in fs.store().entries("/bucket/run/", None)}


def test_such_checkpoints_are_pruned_as_others_are(fs, site):
    save_steps(fs, site, 3, keep_last=1)
    assert steps_left(fs) == {"step-2"}


def test_one_that_lost_data_does_not_count_as_the_one_that_loads(fs, site):
    save_steps(fs, site, 3)
    lose_data_of(fs, 2)
    assert fs.keep_last(RUN, 1) == [f"{RUN}/step-0"]
    assert steps_left(fs) == {"step-1", "step-2"}


def test_nothing_is_removed_while_nothing_can_be_told_without_the_class(fs, site, caplog):
    save_steps(fs, site, 3)
    for number in range(3):
        without_header(fs, site, number)
    assert fs.keep_last(RUN, 1) == []
    assert "allow_classes=[Planned]" in caplog.text
    assert fs.keep_last(RUN, 1, allow_classes=[Planned]) == [f"{RUN}/step-1", f"{RUN}/step-0"]


def test_the_newest_is_an_error_and_not_passed_over_for_an_older_one(fs, site):
    save(fs, state(1.0), path=f"{RUN}/step-0")
    site.oss.clock(10)
    save_planned(fs, 1)
    with pytest.raises(FormatError, match=r"allow_classes=\[Planned\]") as raised:
        fs.latest(RUN)
    assert "\n" not in str(raised.value)
    assert fs.latest(RUN, allow_classes=[Planned]) == f"{RUN}/step-1"
    lose_data_of(fs, 1)
    assert fs.latest(RUN, allow_classes=[Planned]) == f"{RUN}/step-0"


def test_a_writer_may_be_allowed_classes_by_which_it_tells_what_goes(fs, site):
    for value in (1.0, 2.0, 3.0):
        save_planned(fs, 0, grace_seconds=0, allow_classes=[Planned])
        without_header(fs, site, 0)
        assert len(names(fs, f"{RUN}/step-0")) == 3, value
    with pytest.raises(ConfigError, match="allow_classes"):
        fs.writer(PATH, allow_classes=Planned)


def test_garbage_is_told_by_the_classes_too(fs, site):
    for _ in range(2):
        save_planned(fs, 0)
    without_header(fs, site, 0)
    assert fs.garbage(RUN, grace_seconds=0) == []
    gone = fs.collect_garbage(RUN, grace_seconds=0, allow_classes=[Planned])
    assert len(gone) == 2
    assert len(names(fs, f"{RUN}/step-0")) == 3
