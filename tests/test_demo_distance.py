"""Act 5 of the demo: what fails it, and what it shows."""

from __future__ import annotations

import pytest

from digits import distance
from digits.bucket import NAME, Bucket
from digits.distance import Run
from digits.failure import DemoError
from osstorchconnector.emulator import Emulator


@pytest.fixture
def bucket(tmp_path):
    with Emulator(buckets=[NAME]) as oss:
        yield Bucket(oss, tmp_path)


def play(monkeypatch, bucket, tmp_path, *, held, free):
    """Play the act with passes that take what is given, in objects a second; return what it says."""
    runs = iter([Run(1000, 1000 / held, 24), Run(1000, 1000 / free, 200)])
    monkeypatch.setattr(distance, "_read", lambda *_: next(runs))
    said = []
    distance.run(bucket, tmp_path, said.append)
    return said


def test_a_level_that_is_worth_it_passes(monkeypatch, bucket, tmp_path):
    said = play(monkeypatch, bucket, tmp_path, held=700, free=4000)
    assert said[-1] == "left to itself: 4,000 objects/s, at most 200 requests in flight"


def test_a_level_that_is_not_found_fails_the_act(monkeypatch, bucket, tmp_path):
    with pytest.raises(DemoError, match="left to itself it reads 900 objects/s"):
        play(monkeypatch, bucket, tmp_path, held=700, free=900)


def test_it_is_held_at_24_and_then_climbs(monkeypatch, bucket, tmp_path):
    monkeypatch.setattr(distance, "OBJECTS", 1500)
    # A busy machine may not be able to serve many more than 24 requests in 30 ms.
    monkeypatch.setattr(distance, "LEAST_GAIN", 0.0)
    bucket.behave()
    said = []
    found = distance.run(bucket, tmp_path, said.append)
    held = next(line for line in said if line.startswith("held at 24"))
    assert int(held.split("at most ")[1].split()[0]) <= 24
    assert found.objects == 1500
    assert found.most_in_flight > 24
    assert any("in flight" in line and "###" in line for line in said)


def test_objects_that_are_lost_fail_the_act(monkeypatch, bucket):
    monkeypatch.setattr(distance, "OBJECTS", 300)
    bucket.oss.fill(NAME, "far/", 200, distance.OBJECT_BYTES, synthetic=True)
    with pytest.raises(DemoError, match="200 of 300 objects came whole"):
        distance._read(bucket, "", 1.0, lambda _: None)
