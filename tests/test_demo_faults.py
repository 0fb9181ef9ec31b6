"""The demo's table sets the emulator's count of faults beside the client's."""

from __future__ import annotations

import pytest

from digits.failure import DemoError, one_line
from digits.faults import account, rules, table

HITS = [{"name": "reset", "hits": 180}, {"name": "503", "hits": 270}, {"name": "flip", "hits": 90}]
STATS = {"retries_broken": 180, "retries_server": 200, "retries_throttled": 70, "retries_integrity": 90}


def test_the_rules_are_the_faults_of_the_act():
    said = {rule["name"]: (rule["match"]["probability"], rule["action"]) for rule in rules()}
    assert said == {
        "reset": (0.02, {"reset_after_bytes": 4096}),
        "503": (0.03, {"status": 503}),
        "flip": (0.01, {"flip_bit": True}),
    }


def test_every_fault_is_accounted_for():
    lines = table(account(HITS, STATS))
    assert lines[0] == ("fault", "chance", "injected", "survived", "how")
    assert [line[2:4] for line in lines[1:]] == [("180", "180"), ("270", "270"), ("90", "90"), ("540", "540")]


def test_a_fault_that_was_not_noticed_fails_the_act():
    with pytest.raises(DemoError, match="one bit of the body flipped: 90 injected, only 89 noticed"):
        account(HITS, {**STATS, "retries_integrity": 89})


def test_a_fault_of_a_request_that_was_overtaken_is_told_apart():
    lines = table(account(HITS, {**STATS, "retries_integrity": 88, "hedges_sent": 2}))
    assert lines[3][2:] == ("90", "90", "caught by CRC-64, read again; 2 overtaken by a second request")
    with pytest.raises(DemoError, match="90 injected, only 87 noticed"):
        account(HITS, {**STATS, "retries_integrity": 87, "hedges_sent": 2})


def test_an_act_without_faults_proves_nothing_and_fails():
    with pytest.raises(DemoError, match="no fault was injected: answered 503"):
        account([HITS[0], {"name": "503", "hits": 0}, HITS[2]], STATS)


def test_a_failure_is_told_in_one_line():
    assert one_line(DemoError("a checkpoint changed")) == "a checkpoint changed"
    assert one_line(OSError("disk full")) == "OSError: disk full"
    assert one_line(ValueError()) == "ValueError: no details"


def test_of_a_workers_traceback_the_line_that_names_the_error_is_told():
    text = (
        "Caught ThrottledError in DataLoader worker process 1.\nOriginal Traceback (most recent call last):\n"
        '  File "delivery.py", line 304, in _explained\n    yield from deliveries\n'
        "osstorchconnector.errors.ThrottledError: GetObject oss://b/k: slow down [status=503]\nbefore: a reset\n"
    )
    assert one_line(OSError(text)) == "ThrottledError: GetObject oss://b/k: slow down [status=503]"
