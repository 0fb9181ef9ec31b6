"""A save is killed at every step, and loses every answer once: F57 to F60, F63.

What is killed is a forked child, so that a kill costs milliseconds. After each kill the old or the new object is there,
byte for byte, and what was left behind is found and can be removed. After each lost answer the save has succeeded, and
the object was made visible once; or it says truthfully what is visible.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import time

import pytest
from reading import MIB, QUICK, by_readinto, content

from osstorchconnector import OssCheckpoint, OssClient
from osstorchconnector.errors import NotFoundError, UploadError

KEY = "ckpt/e0"
URI = f"oss://bucket/{KEY}"
OLD = b"the old object, whole"
PARTS = {"uploadIoSizeMB": 1, "uploadBufferSizeMB": 4}
KILLS, LOSSES = 500, 200


def new_object(parts, seed=7):
    """Return what needs so many parts; none is one PutObject."""
    return content(parts * MIB - 1000 if parts else 1000, seed)


def save(arguments, data, piece, **options):
    with OssCheckpoint(**arguments).writer(URI, **options) as writer:
        for start in range(0, len(data), piece):
            writer.write(data[start : start + piece])


def start_a_save(arguments, data, piece):
    """Fork a child that waits for a byte and then saves; return it and the way to let it go."""
    gate, go = os.pipe()
    child = os.fork()
    if child:
        os.close(gate)
        return child, go
    status = 1
    try:
        os.close(go)
        os.read(gate, 1)
        save(arguments, data, piece)
        status = 0
    finally:
        os._exit(status)


def let_go(go):
    os.write(go, b"x")
    os.close(go)


def end_of(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def journal_at_rest(site, since=0):
    """Wait until the service has ended every request that it began; return the journal from `since` on."""
    while True:
        journal = site.oss.journal(since)
        if all(entry["elapsed_ms"] is not None for entry in journal if "operation" in entry):
            return journal


def visible(arguments):
    try:
        return by_readinto(URI, arguments)
    except NotFoundError:
        return None


def changed(journal, change):
    return [entry["upload_id"] for entry in journal if entry.get("change") == change]


def judge(site, since, arguments, old, new, case):
    """Check what a dead save left: one of the two objects, whole, and orphans that can be found and removed."""
    journal = journal_at_rest(site, since)
    published = [entry for entry in journal if entry.get("change") in ("put", "complete")]
    expected = new if published else old
    assert visible(arguments) == expected, case
    client = OssClient(**arguments)
    # There was one writer: what it completed was its upload.
    ended = [] if changed(journal, "complete") else changed(journal, "initiate")
    left = set(ended) - set(changed(journal, "abort"))
    found = client.abandoned_uploads("oss://bucket/ckpt/")
    assert {upload.upload_id for upload in found} == left, case
    assert {upload.shape for upload in found} <= {"ours", "empty"}, case
    for upload in found:
        client.remove_abandoned(upload)
    assert client.abandoned_uploads("oss://bucket/ckpt/") == [], case
    assert visible(arguments) == expected, case


def fresh(site, old):
    """Empty the service but for a bucket and the old object; return where its journal goes on."""
    site.oss.reset()
    site.fill({"there": b"a bucket"})
    if old is not None:
        site.fill({KEY: old})
    return len(site.oss.journal())


def kill_at(site, arguments, old, new, piece, step, after):
    """Kill a save at its `step`-th request; return whether it died of that."""
    since = fresh(site, old)
    child, go = start_a_save(arguments, new, piece)
    kill = {"pid": child, "signal": int(signal.SIGKILL), "after": after}
    site.oss.rules([{"match": {"nth": step}, "action": {"kill_client_at": kill}}])
    let_go(go)
    status = end_of(child)
    assert status in (0, -signal.SIGKILL), (step, after, status)
    site.oss.rules([])
    judge(site, since, arguments, old, new, f"killed {'after' if after else 'at'} request {step}: {status}")
    return status != 0


@pytest.mark.parametrize("old", [None, OLD], ids=["nothing before", "an old object"])
@pytest.mark.parametrize("parts", [0, 2, 5])
def test_f63_a_save_killed_at_any_request_leaves_the_old_object_or_the_new(parts, old, site):
    arguments = site.configured(network=QUICK, checkpointConfig=PARTS)
    for step in itertools.count(1):
        died = [
            kill_at(site, arguments, old, new_object(parts), 300_000, step, after) for after in (False, True)
        ]
        if not any(died):
            break
    assert step - 1 == (parts + 2 if parts else 1), "every request was a step"


@pytest.mark.soak
def test_f63_saves_killed_at_random_moments_leave_the_old_object_or_the_new(site):
    arguments = site.configured(network=QUICK, checkpointConfig=PARTS)
    draw = random.Random(63)
    survived = 0
    for number in range(KILLS):
        parts, piece = draw.choice([0, 1, 2, 3, 5, 8]), draw.choice([70_000, MIB, 5 * MIB, 20 * MIB])
        old = draw.choice([None, OLD, new_object(3, seed=1)])
        new = new_object(parts, seed=number)
        if draw.random() < 0.5:
            survived += not kill_at(
                site, arguments, old, new, piece, draw.randint(1, parts + 2), draw.random() < 0.5
            )
            continue
        since = fresh(site, old)
        child, go = start_a_save(arguments, new, piece)
        end = time.monotonic() + draw.uniform(0, 0.05)
        let_go(go)
        while time.monotonic() < end:
            pass
        os.kill(child, signal.SIGKILL)
        survived += end_of(child) == 0
        judge(site, since, arguments, old, new, f"case {number}: {parts} parts, pieces of {piece}")
    assert survived < KILLS / 2


# How an answer is lost: the request was carried out, or it was not, or the service says nothing or nonsense about it.
LOST = {
    "done, then reset": {"commit_then_reset": True},
    "reset before it was done": {"fail_without_commit": "reset"},
    "done, then 500": {"commit_then_status": 500},
    "500 before it was done": {"fail_without_commit": 500},
    "done, then silence": {"stall_after_bytes": 0, "count_from": "head"},
}


# A second or more each: silence is told from slowness by waiting.
SILENT = pytest.param("done, then silence", marks=pytest.mark.soak)
QUICKLY_LOST = [*LOST][:-1]

# Where nothing is silent, a machine too busy to answer for seconds is not to be taken for a service that is.
PATIENT = {**QUICK, "deadlineSeconds": 30, "settleSeconds": 30, "firstByteSeconds": 10, "completeSeconds": 10}


def timers(how):
    return QUICK if "silence" in how else PATIENT


def write_path(parts):
    """Return (operation, which of them) of every request of a save."""
    if not parts:
        return [("PutObject", 1)]
    uploads = [("UploadPart", number) for number in range(1, parts + 1)]
    return [("InitiateMultipartUpload", 1), *uploads, ("CompleteMultipartUpload", 1)]


def losing(operation, nth, how):
    return {"match": {"op": operation, "nth": nth}, "action": LOST[how]}


def assert_saved_once(site, arguments, new, orphans=0):
    journal = journal_at_rest(site)
    published = [
        entry for entry in journal if entry.get("change") in ("put", "complete") and entry["size"] == len(new)
    ]
    assert len(published) == 1
    assert visible(arguments) == new
    found = OssClient(**arguments).abandoned_uploads("oss://bucket/ckpt/")
    assert [(upload.shape, upload.part_count) for upload in found] == [("empty", 0)] * orphans


@pytest.mark.parametrize("careful", [False, True], ids=["replacing", "if absent"])
@pytest.mark.parametrize("how", [*QUICKLY_LOST, SILENT])
@pytest.mark.parametrize("parts", [0, 3])
def test_f57_each_answer_of_a_save_may_be_lost_once(parts, how, careful, site):
    arguments = site.configured(network=timers(how), checkpointConfig=PARTS)
    new = new_object(parts)
    for operation, nth in write_path(parts):
        fresh(site, None if careful else OLD)
        site.oss.rules([losing(operation, nth, how)])
        save(arguments, new, 300_000, if_absent=careful)
        assert [rule["hits"] for rule in site.oss.rule_hits()] == [1], (operation, nth)
        site.oss.rules([])
        # Of an Initiate that was carried out nobody knows the upload: it stays, and is found.
        orphan = operation == "InitiateMultipartUpload" and "before" not in how
        assert_saved_once(site, arguments, new, orphans=int(orphan))


@pytest.mark.parametrize("first", ["reset before it was done", "done, then reset"])
@pytest.mark.parametrize("how", ["reset before it was done", "500 before it was done", SILENT])
@pytest.mark.parametrize("parts", [0, 3])
def test_f57_the_answers_that_settle_a_lost_one_may_be_lost_too(parts, how, first, site):
    arguments = site.configured(network=timers(how), checkpointConfig=PARTS)
    publish = "CompleteMultipartUpload" if parts else "PutObject"
    for settling, nth in itertools.product(["HeadObject", "ListParts", publish], [1, 2]):
        if (settling, nth) == (publish, 1):
            continue
        fresh(site, OLD)
        site.oss.rules([losing(publish, 1, first), losing(settling, nth, how)])
        save(arguments, new_object(parts), 300_000)
        site.oss.rules([])
        assert_saved_once(site, arguments, new_object(parts))


@pytest.mark.parametrize("how", [*QUICKLY_LOST, SILENT])
@pytest.mark.parametrize("lost", ["AbortMultipartUpload", "ListParts"])
def test_f61_each_answer_of_an_abort_may_be_lost_once(lost, how, site):
    arguments = site.configured(network=timers(how), checkpointConfig=PARTS)

    def fail():
        with OssCheckpoint(**arguments).writer(URI) as writer:
            writer.write(new_object(3))
            raise ZeroDivisionError("on purpose")

    for nth in (1, 2):
        since = fresh(site, OLD)
        site.oss.rules([losing(lost, nth, how)])
        with pytest.raises(ZeroDivisionError):
            fail()
        site.oss.rules([])
        judge(site, since, arguments, OLD, None, (lost, nth, how))
        assert changed(site.oss.journal(), "initiate") == changed(site.oss.journal(), "abort")[:1]


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_f57_saves_that_lose_answers_again_and_again_never_say_what_is_not_true(site):
    arguments = site.configured(network={**QUICK, "deadlineSeconds": 2}, checkpointConfig=PARTS)
    draw = random.Random(57)
    said: dict[str, int] = {}
    for number in range(LOSSES):
        parts, new = draw.choice([0, 3]), None
        new = new_object(parts, seed=number)
        old = draw.choice([None, OLD])
        fresh(site, old)
        rules = [
            {"match": {"probability": draw.choice([0.2, 0.5])}, "action": action} for action in LOST.values()
        ]
        draw.shuffle(rules)
        site.oss.rules(rules, seed=number)
        try:
            save(arguments, new, 300_000)
            outcome = "saved"
        except UploadError as failure:
            outcome = failure.state
        site.oss.rules([])
        journal_at_rest(site)
        now = visible(arguments)
        allowed = {"saved": [new], "not_committed": [old], "committed": [new], "unknown": [old, new]}[outcome]
        assert now in allowed, f"case {number}: {outcome}"
        said[outcome] = said.get(outcome, 0) + 1
    assert said.get("saved", 0) > LOSSES / 4
