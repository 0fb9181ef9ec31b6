"""Whose turn it is to save: a save that failed, wherever it did, lets the next one begin."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner

from dcp_states import PATH, equal, file_system, load, save, state
from osstorchconnector.dcp import writer


class BrokenPlanner(DefaultSavePlanner):
    """Fails outside of the writer, between two of its methods."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def create_local_plan(self):
        self._fail("local plan")
        return super().create_local_plan()

    def create_global_plan(self, plans):
        self._fail("global plan")
        return super().create_global_plan(plans)

    def finish_plan(self, plan):
        self._fail("finished plan")
        return super().finish_plan(plan)

    def _fail(self, here):
        if self.at == here:
            raise ZeroDivisionError(here)


def fail_to_save(fs, at):
    fails = {"overwrite": False} if at == "overwriting" else {}
    planner = None if at == "overwriting" else BrokenPlanner(at)
    with pytest.raises(CheckpointException):
        dcp.save(state(2.0), storage_writer=fs.writer(PATH, **fails), planner=planner)


@pytest.mark.parametrize("at", ["overwriting", "local plan", "global plan", "finished plan"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_save_that_failed_on_a_thread_that_lives_on_lets_the_next_begin(site, monkeypatch, at):
    monkeypatch.setattr(writer, "_TURN_SECONDS", 0.0)
    fs = file_system(site)
    save(fs)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(fail_to_save, fs, at).result(30)
        save(fs, state(3.0))
    assert equal(load(fs), state(3.0))
