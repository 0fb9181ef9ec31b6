"""Act 4 of the demo: what fails it."""

from __future__ import annotations

import pytest

from digits import going_on
from digits.failure import DemoError
from digits.going_on import Epoch

WHOLE = [[f"/digits/{number}"] for number in range(20)]


def play(monkeypatch, *, killed=12, begun_at=8, rest=None, weights="w" * 64):
    """Play the act with children that say what is given; return what it says."""
    monkeypatch.setattr(going_on, "BATCH", 1)
    epochs = iter(
        [
            Epoch(0, WHOLE, "w" * 64),
            Epoch(0, WHOLE[:killed], ""),
            Epoch(begun_at, WHOLE[begun_at:] if rest is None else rest, weights),
        ]
    )
    monkeypatch.setattr(going_on, "_train", lambda *_: next(epochs))
    said = []
    going_on.run(None, said.append)
    return said


def test_a_run_that_goes_on_as_if_nothing_had_been_passes(monkeypatch):
    assert "the same" in play(monkeypatch)[-1]


@pytest.mark.parametrize("rest", [WHOLE[9:], WHOLE[7:], [*WHOLE[9:], WHOLE[8]]])
def test_a_sample_lost_doubled_or_moved_fails_the_act(rest, monkeypatch):
    with pytest.raises(DemoError, match="undisturbed it was"):
        play(monkeypatch, rest=rest)


def test_other_weights_fail_the_act(monkeypatch):
    with pytest.raises(DemoError, match="undisturbed it was"):
        play(monkeypatch, weights="v" * 64)


@pytest.mark.parametrize("begun_at", [0, 12])
def test_a_run_that_did_not_go_on_in_the_middle_fails_the_act(begun_at, monkeypatch):
    with pytest.raises(DemoError, match="the resumed run began at"):
        play(monkeypatch, begun_at=begun_at)


@pytest.mark.parametrize("batches", [10, 16, 72, 73])
def test_it_is_killed_between_two_checkpoints(batches):
    after = going_on._kill_after(batches)
    assert going_on.SAVE_EVERY < after < batches
    assert after % going_on.SAVE_EVERY


def test_too_few_batches_are_refused():
    with pytest.raises(DemoError, match="too few"):
        going_on._kill_after(9)
