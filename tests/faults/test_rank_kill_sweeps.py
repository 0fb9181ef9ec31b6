"""Ranks that are killed while they upload in parts: what loads afterwards, and what is left and goes."""

from __future__ import annotations

import collections
import itertools

import pytest
import torch
import torch.distributed.checkpoint as dcp
from test_save_sweeps import journal_at_rest

from dcp_ranks import Ranks, on_ranks
from dcp_states import PATH, equal, file_system, load, names

WORLD = 2
WRITING = ("InitiateMultipartUpload", "UploadPart", "CompleteMultipartUpload")
MIB = 1 << 20
GROUP_SECONDS = 10


@pytest.fixture
def fs(site):
    return type(file_system(site))(**site.configured(checkpointConfig={"uploadIoSizeMB": 1}))


def part_of(rank, value):
    """Make what one rank has: three mebibytes, so that it takes four parts."""
    return {f"w{rank}": torch.full((3 * MIB // 4,), value + rank)}


def save_part(rank, fs, value, grace_seconds=0.0):
    dcp.save(part_of(rank, value), storage_writer=fs.writer(PATH, grace_seconds=grace_seconds))


def open_uploads(fs):
    return fs.store().abandoned_uploads(PATH)


def killed_save(fs, site, victim, match, after, value=2.0):
    """Save on all ranks, one of which is killed at the request that matches."""
    with Ranks(WORLD, save_part, fs, value, waiting=True, group_seconds=GROUP_SECONDS) as ranks:
        kill = {"pid": ranks.pids[victim], "signal": 9, "after": after}
        site.oss.rules([{"match": match, "action": {"kill_client_at": kill}, "times": 1}])
        ranks.go()
        outcomes = ranks.outcomes()
    site.oss.rules([])
    return outcomes


FIRST_PART_OF_RANK_1 = {"op": "UploadPart", "key": "*_1_0.distcp", "nth": 1}


def requests_of(fs, site, victim):
    """Return (operation, which of them) of every request by which a rank writes its data object."""
    since = len(site.oss.journal())
    on_ranks(WORLD, save_part, fs, 1.0)
    key = f"_{victim}_0.distcp"
    counted = collections.Counter(
        entry["operation"]
        for entry in site.oss.journal(since)
        if entry.get("operation") in WRITING and entry["key"].endswith(key)
    )
    assert [counted[operation] for operation in WRITING] == [1, 4, 1]
    return [(operation, nth) for operation in WRITING for nth in range(1, counted[operation] + 1)]


def loaded(fs):
    """Load what all ranks saved, and return its value; anything but one whole save fails."""
    into = {
        name: torch.zeros_like(tensor) for rank in range(WORLD) for name, tensor in part_of(rank, 0.0).items()
    }
    value = float(load(fs, into)["w0"][0])
    assert all(equal(into[f"w{rank}"], part_of(rank, value)[f"w{rank}"]) for rank in range(WORLD)), (
        "a mixture"
    )
    return value


def changed(journal, *changes):
    return [entry for entry in journal if entry.get("change") in changes]


def judge(fs, journal, current, value, case):
    """Check what a killed save left: one of two checkpoints, whole, and orphans that are found and go; return it."""
    published = [entry for entry in changed(journal, "put") if entry["key"].endswith("/.metadata")]
    current = value if published else current
    assert loaded(fs) == current, case
    ended = {entry["key"] for entry in changed(journal, "complete", "abort")}
    left = {entry["key"] for entry in changed(journal, "initiate")} - ended
    found = open_uploads(fs)
    assert sorted(upload.uri.removeprefix("oss://bucket/") for upload in found) == sorted(left), case
    assert {upload.shape for upload in found} <= {"ours", "empty"}, case
    fs.collect_garbage(PATH, grace_seconds=0)
    assert open_uploads(fs) == [], case
    assert len(names(fs)) == WORLD + 2, case
    assert loaded(fs) == current, case
    return current


def sweep(fs, site, cases):
    """Kill a rank at each of the cases: (victim, (operation, nth), whether the service acts first)."""
    current = 1.0
    for victim, (operation, nth), after in cases:
        since = len(site.oss.journal())
        match = {"op": operation, "key": f"*_{victim}_0.distcp", "nth": nth}
        outcomes = killed_save(fs, site, victim, match, after, current + 1)
        case = f"rank {victim} killed {'after' if after else 'at'} {operation} {nth}"
        assert outcomes[victim] is None, case
        current = judge(fs, journal_at_rest(site, since), current, current + 1, case)


def test_f66_a_rank_killed_at_each_request_of_its_upload_leaves_the_old_checkpoint(fs, site):
    steps = requests_of(fs, site, 1)
    sweep(fs, site, [(number % WORLD, step, number % 4 < 2) for number, step in enumerate(steps)])


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_f66_every_rank_killed_before_and_after_each_request_of_its_upload(fs, site):
    steps = requests_of(fs, site, 1)
    sweep(fs, site, [*itertools.product(range(WORLD), steps, (False, True))] * 8)


def test_f66_parts_that_a_killed_rank_had_sent_go_at_the_next_good_save(fs, site):
    killed_save(fs, site, 1, FIRST_PART_OF_RANK_1, after=True)
    assert {upload.part_count > 0 for upload in open_uploads(fs)} == {True}
    on_ranks(WORLD, save_part, fs, 3.0, 3600.0)
    assert open_uploads(fs), "they have the hour of grace that everything has"
    on_ranks(WORLD, save_part, fs, 3.0)
    assert open_uploads(fs) == []


def test_f66_garbage_is_parts_too(fs, site):
    killed_save(fs, site, 1, FIRST_PART_OF_RANK_1, after=True)
    other = fs.store().open_sink("/bucket/run/step/another-tools", size_hint_bytes=3 * MIB)
    other.write(bytes(2 * MIB))
    left = {f"{upload.uri}?uploadId={upload.upload_id}" for upload in open_uploads(fs)}
    (own,) = (uri for uri in left if ".distcp?" in uri)
    assert fs.garbage("oss://bucket/") == [], "a day of grace is the default"
    found = fs.garbage("oss://bucket/", grace_seconds=0)
    assert own in found
    assert set(found) - {own} == {f"{PATH}/{name}" for name in names(fs)}
    assert fs.collect_garbage("oss://bucket/", grace_seconds=0) == found
    assert [upload.uri for upload in open_uploads(fs)] == [f"{PATH}/another-tools"]
    other.abort()
