"""What goes when: replaced saves after a grace time, dead ones at the next good save, old checkpoints on request."""

from __future__ import annotations

import itertools
import json
import logging
import time

import pytest
from torch.distributed.checkpoint.api import CheckpointException

from dcp_states import PATH, equal, failure, file_system, load, names, save, state
from osstorchconnector.cli import main
from osstorchconnector.dcp import naming
from osstorchconnector.dcp.checkpoints import Contents
from osstorchconnector.dcp.retention import superfluous
from osstorchconnector.dcp.writer import OssStorageWriter
from osstorchconnector.errors import ConfigError, UploadError

HOUR = 3600.0


@pytest.fixture
def fs(site):
    return file_system(site)


def save_id(number):
    return f"20260101T{number:012d}-{number:016x}"


def contents(*saves):
    """Describe saves of one data object: (number, when written, when its manifest was written or None)."""
    found = Contents()
    for number, written_at, manifest_at in saves:
        found.add(f"__{save_id(number)}_0_0.distcp", written_at)
        if manifest_at is not None:
            found.add(f".manifest.{save_id(number)}.json", manifest_at)
    return found


def going(found, live, now, committed_at=None, grace=HOUR, dead_grace=0.0):
    """Return the numbers of the saves that go."""
    chosen = superfluous(found, {save_id(number) for number in live}, now, grace, dead_grace, committed_at)
    saves = {naming.save_of_shard(name) or naming.save_of_manifest(name) for name in chosen}
    for first, second in itertools.pairwise(chosen):
        if naming.save_of_manifest(first):
            assert naming.save_of_manifest(first) != naming.save_of_shard(second), (
                "data goes before its manifest"
            )
    return {int(name[9:21]) for name in saves}


def test_the_live_save_never_goes_whatever_its_age():
    assert going(contents((1, 0, 1)), [1], 1e9, grace=0) == set()


def test_a_replaced_save_goes_when_it_was_replaced_long_enough_ago():
    found = contents((1, 0, 1), (2, 100, 101), (3, 5000, 5001))
    assert going(found, [3], 101 + HOUR - 1) == set()
    assert going(found, [3], 101 + HOUR) == {1}
    assert going(found, [3], 5001 + HOUR) == {1, 2}


def test_the_save_that_was_replaced_just_now_stays_for_the_grace_time():
    found = contents((1, 0, 1))
    assert going(found, [1], 1e6, committed_at=1e6) == set()
    assert going(found, [1], 1e6, committed_at=1e6, grace=0) == {1}


def test_a_dead_save_goes_at_once_after_a_good_one():
    found = contents((1, 0, 1), (2, 100, None), (3, 200, 201))
    assert going(found, [1], 300, committed_at=300) == {2, 3}, "the third died between manifest and metadata"
    assert going(found, [1], 300, dead_grace=HOUR) == set()
    assert going(found, [1], 201 + HOUR, dead_grace=HOUR) == {2, 3}


def test_data_under_another_name_than_its_manifest_goes_with_its_save():
    # As a planner that caches plans writes it: 12, 13 and 14 are the data of the saves 2, 3 and 4.
    found = contents((1, 0, 1), (12, 100, None), (13, 200, None), (14, 300, None))
    for number, manifest_at in ((2, 101), (3, 201), (4, 301)):
        found.add(f".manifest.{save_id(number)}.json", manifest_at)
    assert going(found, [4, 14], 201 + HOUR - 1) == {1}
    assert going(found, [4, 14], 201 + HOUR) == {1, 2, 12}
    assert going(found, [4, 14], 301 + HOUR) == {1, 2, 12, 3, 13}
    assert going(found, [4, 14], 301 + HOUR, committed_at=301 + HOUR) == {1, 2, 12, 3, 13}


def test_data_that_came_after_the_last_replaced_save_is_dead():
    found = contents((1, 0, 1), (2, 100, 101), (3, 150, None), (4, 200, 201), (5, 300, None))
    assert going(found, [4], 400, committed_at=400) == {3, 5}


def test_a_save_that_died_in_the_second_of_the_live_one_is_dead():
    found = contents((1, 10, 10), (2, 10, 10))
    assert going(found, [1], 20, committed_at=20) == {2}


def test_objects_of_other_tools_never_go():
    found = Contents()
    for name in ("__0_0.distcp", "notes.txt", ".metadata", "model.safetensors", "__x_0_0.distcp"):
        found.add(name, 0.0)
    assert superfluous(found, set(), 1e9, 0.0, 0.0) == []


def test_replaced_data_stays_for_those_who_load_it_and_goes_later(fs, site):
    for value in (1.0, 2.0, 3.0):
        save(fs, state(value))
    saves = {naming.save_of_shard(name) for name in names(fs)} - {None}
    assert len(saves) == 3, "an hour of grace is the default"
    site.oss.clock(2 * HOUR)
    save(fs, state(4.0))
    shards = [name for name in names(fs) if name.endswith(".distcp")]
    assert len(shards) == 2, "the new one, and the one that it has just replaced"
    assert equal(load(fs), state(4.0))


def test_without_grace_only_the_new_save_is_left(fs):
    for value in (1.0, 2.0):
        save(fs, state(value), grace_seconds=0)
    assert len(names(fs)) == 3
    assert equal(load(fs), state(2.0))


def test_after_twenty_dead_saves_only_live_objects_remain(fs, site):
    save(fs, state(1.0))
    dead = [({"op": "PutObject", "key": "*/.metadata"}), ({"op": "PutObject", "key": "*.json"})]
    for number in range(20):
        site.oss.rules([{"match": dead[number % 2], "action": {"status": 403, "code": "AccessDenied"}}])
        with pytest.raises(BaseException, match="AccessDenied"):
            save(fs, state(2.0 + number))
        assert equal(load(fs), state(1.0))
    site.oss.rules([])
    assert len([name for name in names(fs) if name.endswith(".distcp")]) == 21
    save(fs, state(50.0))
    assert len([name for name in names(fs) if name.endswith(".distcp")]) == 2, (
        "the old one has its hour of grace"
    )
    save(fs, state(51.0), grace_seconds=0)
    assert len(names(fs)) == 3
    assert equal(load(fs), state(51.0))


def test_a_save_ends_well_though_nothing_may_be_listed_or_deleted(fs, site, caplog):
    save(fs, state(1.0))
    for operation in ("ListObjectsV2", "DeleteMultipleObjects", "ListMultipartUploads"):
        site.oss.rules([{"match": {"op": operation}, "action": {"status": 403, "code": "AccessDenied"}}])
        with caplog.at_level(logging.WARNING, "osstorchconnector"):
            save(fs, state(2.0), grace_seconds=0)
        assert "AccessDenied" in caplog.text
        caplog.clear()
        site.oss.rules([])
        assert equal(load(fs), state(2.0))


def test_the_newest_checkpoint_that_loads_is_found(fs, site):
    assert fs.latest("oss://bucket/run") is None
    for number, value in enumerate((1.0, 2.0, 3.0)):
        site.oss.clock(number * 10)
        save(fs, state(value), path=f"oss://bucket/run/step-{number}")
    assert fs.latest("oss://bucket/run/") == "oss://bucket/run/step-2"
    (shard,) = (name for name in names(fs, "oss://bucket/run/step-2") if name.endswith(".distcp"))
    fs.rm_file(f"oss://bucket/run/step-2/{shard}")
    assert fs.latest("oss://bucket/run") == "oss://bucket/run/step-1"
    site.fill({"run/step-1/.metadata": b"rubbish"})
    assert fs.latest("/bucket/run") == "oss://bucket/run/step-0"
    assert fs.latest("oss://bucket") == "oss://bucket/run/step-0"


def test_only_so_many_checkpoints_are_kept(fs, site):
    for number in range(4):
        site.oss.clock(number * 10)
        save(fs, state(float(number)), path=f"oss://bucket/run/step-{number}", keep_last=2)
    left = {key.split("/")[3] for key, *_ in fs.store().entries("/bucket/run/", None)}
    assert left == {"step-2", "step-3"}
    assert fs.store().head("/bucket/other/object") == 16
    with pytest.raises(ConfigError):
        fs.keep_last("oss://bucket/run", 0)


def test_the_newest_that_loads_is_kept_behind_broken_ones(fs, site):
    for number in range(4):
        site.oss.clock(number * 10)
        save(fs, state(float(number)), path=f"oss://bucket/run/step-{number}")
    for number in (2, 3):
        path = f"oss://bucket/run/step-{number}"
        (shard,) = (name for name in names(fs, path) if name.endswith(".distcp"))
        fs.rm_file(f"{path}/{shard}")
    assert fs.keep_last("oss://bucket/run", 1) == ["oss://bucket/run/step-2", "oss://bucket/run/step-0"]
    assert equal(load(fs, path="oss://bucket/run/step-1"), state(1.0))


def test_nothing_is_removed_where_nothing_loads(fs, site):
    for number in range(3):
        save(fs, state(float(number)), path=f"oss://bucket/run/step-{number}")
        site.fill({f"run/step-{number}/.metadata": b"rubbish"})
    assert fs.keep_last("oss://bucket/run", 1) == []


@pytest.fixture
def command(site, monkeypatch, capsys):
    """Give the command line, as a user's shell would run it."""
    for name, value in site.oss.environ().items():
        monkeypatch.setenv(name, value)

    def run(*arguments):
        status = main(["checkpoints", *arguments])
        return status, capsys.readouterr().out.splitlines()

    return run


def test_the_command_lists_garbage_and_removes_it_when_told(fs, site, command):
    save(fs, state(1.0))
    save(fs, state(2.0), prefix_strategy="hashed")
    site.oss.rules(
        [{"match": {"op": "PutObject", "key": "*.json"}, "action": {"status": 403, "code": "AccessDenied"}}]
    )
    for path in (PATH, "oss://bucket/never/finished"):
        with pytest.raises(BaseException, match="AccessDenied"):
            save(fs, state(3.0), path=path, prefix_strategy="rank")
    site.oss.rules([])
    before = names(fs)
    assert command("gc", "oss://bucket/") == (0, ["0 object(s)"]), "a day of grace is the default"
    status, lines = command("gc", "oss://bucket/", "--grace", "0s")
    assert status == 0
    assert lines[-1] == "4 object(s); --yes removes them"
    told = json.loads("".join(command("gc", "--json", "oss://bucket/", "--grace", "0s")[1]))
    assert told == [{"uri": uri, "removed": False} for uri in lines[:-1]]
    assert names(fs) == before
    assert command("gc", "oss://bucket/", "--grace", "0s", "--yes")[1] == [
        *lines[:-1],
        "4 object(s), removed",
    ]
    assert names(fs, "oss://bucket/never/finished") == []
    assert len(names(fs)) == 3
    assert equal(load(fs), state(2.0))


def test_garbage_below_unreadable_metadata_stays(fs, site, command):
    save(fs, state(1.0))
    save(fs, state(2.0))
    site.fill({"run/step/.metadata": b"rubbish"})
    assert command("gc", "oss://bucket/run", "--grace", "0s", "--yes") == (0, ["0 object(s)"])


def test_the_command_names_the_newest_checkpoint(fs, command):
    assert command("latest", "oss://bucket/")[0] == 1
    save(fs)
    assert command("latest", "oss://bucket/") == (0, [PATH])
    assert command("latest", "--json", "oss://bucket/") == (0, [json.dumps({"latest": PATH})])


# What a job must not remove: the checkpoints of others.


def test_checkpoints_in_directories_of_four_digits_are_no_ones_hashed_data(fs):
    for path in ("oss://bucket/run/1000", "oss://bucket/run/rank-0"):
        save(fs, state(7.0), path=path)
        for value in (1.0, 2.0):
            save(fs, state(value), path="oss://bucket/run", grace_seconds=0, prefix_strategy="hashed")
        assert equal(load(fs, path=path), state(7.0))
        assert equal(load(fs, path="oss://bucket/run"), state(2.0))
    assert fs.garbage("oss://bucket/run", grace_seconds=0) == []


def test_a_save_that_runs_in_a_directory_of_four_digits_is_left_alone(fs, monkeypatch):
    save(fs, state(1.0), path="oss://bucket/run")
    commit = OssStorageWriter._commit

    def after_another_save(writer, *arguments):
        if writer.path == "oss://bucket/run/1000":
            save(fs, state(2.0), path="oss://bucket/run", grace_seconds=0)
        commit(writer, *arguments)

    monkeypatch.setattr(OssStorageWriter, "_commit", after_another_save)
    save(fs, state(7.0), path="oss://bucket/run/1000")
    assert equal(load(fs, path="oss://bucket/run/1000"), state(7.0))


def test_a_save_prunes_only_the_checkpoints_beside_its_own(fs, site):
    for number, path in enumerate(("best/step-1", "step-0", "step-1", "step-2")):
        site.oss.clock(number * 10)
        save(fs, state(float(number)), path=f"oss://bucket/run/{path}", keep_last=1)
    left = {key.rpartition("/")[0] for key, *_ in fs.store().entries("/bucket/run/", None)}
    assert left == {"/bucket/run/best/step-1", "/bucket/run/step-2"}


def test_what_was_just_saved_is_not_pruned_for_another_of_the_same_second(fs, monkeypatch):
    monkeypatch.setattr("osstorchconnector.dcp.checkpoints.newest", lambda _: (naming.METADATA, 0.0))
    save(fs, state(9.0), path="oss://bucket/run/step-9")
    save(fs, state(10.0), path="oss://bucket/run/step-10", keep_last=1)
    assert equal(load(fs, path="oss://bucket/run/step-10"), state(10.0))


def in_the_middle_of_the_next_save(monkeypatch, act):
    """Call `act` once, when the next save is about to commit."""
    commit, waiting = OssStorageWriter._commit, [act]

    def commit_after(writer, *arguments):
        if waiting:
            waiting.pop()()
        commit(writer, *arguments)

    monkeypatch.setattr(OssStorageWriter, "_commit", commit_after)


def test_a_save_whose_data_another_job_removed_does_not_replace_the_checkpoint(fs, monkeypatch):
    save(fs, state(1.0))
    in_the_middle_of_the_next_save(monkeypatch, lambda: save(fs, state(3.0)))
    with pytest.raises(CheckpointException) as raised:
        save(fs, state(2.0))
    _, error = failure(raised)
    assert isinstance(error, UploadError)
    assert error.state == "not_committed"
    assert "was removed" in str(error)
    assert equal(load(fs), state(3.0))


def test_a_save_that_was_replaced_before_it_cleaned_up_removes_nothing(fs, monkeypatch):
    # The other job's data is there when this save begins, and its commit falls between this one's and its cleaning.
    clean_up, other = OssStorageWriter._clean_up, []

    def clean_up_late(writer):
        if other:
            other.pop()()
        clean_up(writer)

    monkeypatch.setattr(OssStorageWriter, "_clean_up", clean_up_late)
    commit = OssStorageWriter._commit

    def commit_when_told(writer, *arguments):
        if not writer.save_id.endswith("held"):
            return commit(writer, *arguments)
        writer.save_id = writer.save_id.removesuffix("held")
        other.append(lambda: commit(writer, *arguments))
        save(fs, state(3.0), grace_seconds=0)
        return None

    monkeypatch.setattr(OssStorageWriter, "_commit", commit_when_told)
    begin = OssStorageWriter.finish

    def hold(writer, **arguments):
        monkeypatch.setattr(OssStorageWriter, "finish", begin)
        writer.save_id += "held"
        begin(writer, **arguments)

    monkeypatch.setattr(OssStorageWriter, "finish", hold)
    save(fs, state(2.0))
    assert equal(load(fs), state(2.0))


def test_garbage_is_dated_by_the_clock_of_oss(fs, site, monkeypatch):
    site.oss.rules(
        [{"match": {"op": "PutObject", "key": "*.json"}, "action": {"status": 403, "code": "AccessDenied"}}]
    )
    with pytest.raises(BaseException, match="AccessDenied"):
        save(fs, state(1.0))
    site.oss.rules([])
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3 * 86400)
    assert fs.garbage("oss://bucket/run") == [], "it was written a moment ago"
    monkeypatch.setattr(time, "time", now)
    site.oss.clock(3 * 86400)
    assert len(fs.garbage("oss://bucket/run")) == 1


def test_nothing_complete_goes_while_the_order_of_saves_is_unknown():
    # Another job committed between the listing and the look at the metadata: its manifest is not in the listing.
    found = contents((1, 0, 1), (2, 100, None))
    assert going(found, [2], 1e9, grace=0) == set()
