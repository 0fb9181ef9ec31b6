"""Uploads whose parts fail, whose answers get lost, whose writers are left: F56, F57, F61, F62."""

from __future__ import annotations

import gc
import gzip
import io
import os
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from reading import MIB, MOST_REQUESTS, QUICK, SHORT, by_readinto, content

from osstorchconnector import OssCheckpoint
from osstorchconnector.errors import NotFoundError, UploadError

URI = "oss://bucket/ckpt/e0"
OLD = b"the old object"
DATA = content(5 * MIB + 17)
PARTS = {"uploadIoSizeMB": 1, "uploadBufferSizeMB": 4}


@pytest.fixture
def saving(wire):
    """Give a checkpoint that writes in parts of 1 MiB, over an old object."""
    wire.fill({"ckpt/e0": OLD})
    return OssCheckpoint(**wire.configured(network=QUICK, checkpointConfig=PARTS))


def save(checkpoint, data=DATA):
    with checkpoint.writer(URI) as writer:
        for start in range(0, len(data), 300_000):
            writer.write(data[start : start + 300_000])


def operations(site):
    return [entry["operation"] for entry in site.oss.requests()]


def published(site):
    """Return what became visible since the start, as the journal saw it."""
    return [entry for entry in site.oss.journal() if entry.get("change") in ("put", "complete", "delete")]


def assert_old_is_intact(site):
    assert by_readinto(URI, site.arguments) == OLD
    # The fixture's own object does not come through the service's door.
    assert [entry for entry in published(site) if entry["size"] != len(OLD)] == []
    assert "CompleteMultipartUpload" not in operations(site)
    assert "DeleteObject" not in operations(site)


def assert_upload_is_gone(site):
    uploads = [entry["upload_id"] for entry in site.oss.journal() if entry.get("change") == "initiate"]
    aborted = [entry["upload_id"] for entry in site.oss.journal() if entry.get("change") == "abort"]
    # Parts that were on their way when the abort came may call for another.
    assert set(uploads) == set(aborted)


PART_FAULTS = {
    "500": {"status": 500},
    "503": {"status": 503},
    "reset": {"reset_after_bytes": 300_000, "direction": "in"},
    "lost": {"commit_then_reset": True},
    "crc": {"wrong_crc": True},
    "flip": {"flip_bit": "in"},
    "silent": {"stall_after_bytes": 0, "count_from": "head"},
}


@pytest.mark.parametrize("fault", PART_FAULTS)
def test_f56_a_part_that_fails_goes_again_alone(fault, wire):
    wire.fill({"ckpt/e0": OLD})
    rule = {"match": {"op": "UploadPart", "part": 3}, "action": PART_FAULTS[fault], "times": 2}
    wire.oss.rules([rule])
    # Two silences take two seconds; what a busy machine takes besides is not counted.
    patient = wire.configured(network={**QUICK, "deadlineSeconds": 20}, checkpointConfig=PARTS)
    save(OssCheckpoint(**patient))
    assert by_readinto(URI, wire.arguments) == DATA
    sent = [entry["part"] for entry in wire.oss.requests("UploadPart")]
    assert {part: sent.count(part) for part in sent} == {1: 1, 2: 1, 3: 3, 4: 1, 5: 1, 6: 1}
    assert len(wire.oss.requests("CompleteMultipartUpload")) == 1


@pytest.mark.parametrize("fault", ["500", "reset", "crc"])
def test_f56_a_part_that_always_fails_ends_the_upload_and_publishes_nothing(fault, wire):
    wire.fill({"ckpt/e0": OLD})
    wire.oss.rules([{"match": {"op": "UploadPart", "part": 3}, "action": PART_FAULTS[fault]}])
    saving = OssCheckpoint(**wire.configured(network={**QUICK, **SHORT}, checkpointConfig=PARTS))
    with pytest.raises(UploadError, match="part 3") as failed:
        save(saving)
    assert failed.value.state == "not_committed"
    assert URI in str(failed.value)
    sent = [entry["part"] for entry in wire.oss.requests("UploadPart")]
    assert sent.count(3) <= MOST_REQUESTS
    assert all(sent.count(part) <= 1 for part in sent if part != 3)
    assert wire.oss.requests("ListParts")[-1]["status"] == 404
    assert_upload_is_gone(wire)
    assert_old_is_intact(wire)


@pytest.mark.parametrize("code", ["AccessDenied", "NoSuchUpload"])
def test_f56_a_part_that_is_refused_for_good_is_not_sent_again(code, wire, saving):
    status = 404 if code == "NoSuchUpload" else 403
    refusal = {"match": {"op": "UploadPart", "part": 2}, "action": {"status": status, "code": code}}
    wire.oss.rules([refusal])
    with pytest.raises((UploadError, PermissionError)) as failed:
        save(saving)
    assert failed.value.code == code
    assert failed.value.request_id
    assert [entry["part"] for entry in wire.oss.requests("UploadPart")].count(2) == 1
    assert_old_is_intact(wire)


@pytest.mark.parametrize("answer", ["reset", "silence", "times"])
def test_f57_a_complete_whose_answer_is_lost_is_looked_for_and_done_once(answer, wire, saving):
    action = {
        "reset": {"commit_then_reset": True},
        "silence": {"stall_after_bytes": 0, "count_from": "head"},
        "times": {"commit_then_reset": True},
    }[answer]
    times = 3 if answer == "times" else 1
    wire.oss.rules([{"match": {"op": "CompleteMultipartUpload"}, "action": action, "times": times}])
    save(saving)
    assert by_readinto(URI, wire.arguments) == DATA
    assert [entry["change"] for entry in published(wire) if entry["size"] == len(DATA)] == ["complete"]
    assert len(wire.oss.requests("CompleteMultipartUpload")) == 1
    assert len(wire.oss.requests("HeadObject")) >= 1


def test_f57_a_complete_that_was_lost_before_it_was_done_is_sent_again(wire, saving):
    lost = {"fail_without_commit": "reset"}
    wire.oss.rules([{"match": {"op": "CompleteMultipartUpload"}, "action": lost, "times": 2}])
    save(saving)
    assert by_readinto(URI, wire.arguments) == DATA
    assert [entry["change"] for entry in published(wire) if entry["size"] == len(DATA)] == ["complete"]
    assert len(wire.oss.requests("CompleteMultipartUpload")) == 3


def test_f57_a_small_put_whose_answer_is_lost_is_looked_for_and_done_once(wire, saving):
    wire.oss.rules([{"match": {"op": "PutObject"}, "action": {"commit_then_reset": True}, "times": 1}])
    save(saving, b"small")
    assert by_readinto(URI, wire.arguments) == b"small"
    assert len([entry for entry in published(wire) if entry["size"] == 5]) == 1
    assert len(wire.oss.requests("PutObject")) == 1


class Unpicklable:
    def __reduce__(self):
        raise ZeroDivisionError("on purpose")


def raising(raised):
    def body(writer):
        writer.write(DATA)
        raise raised

    return body


def text_wrapper(writer):
    with io.TextIOWrapper(writer, encoding="utf-8") as text:
        text.write("half" * MIB)
        raise ZeroDivisionError("on purpose")


def gzip_wrapper(writer):
    with gzip.GzipFile(fileobj=writer, mode="wb", compresslevel=0) as packed:
        packed.write(DATA)
        raise ZeroDivisionError("on purpose")


def failing_torch_save(writer):
    torch.save({"weights": torch.zeros(600_000), "bad": Unpicklable()}, writer)


def failing_old_torch_save(writer):
    state = {"weights": torch.zeros(600_000), "bad": Unpicklable()}
    torch.save(state, writer, _use_new_zipfile_serialization=False)


def failing_pickle(writer):
    pickle.dump([DATA, Unpicklable()], writer)


def failing_numpy_save(writer):
    np.save(writer, np.arange(300_000))
    np.save(writer, np.array([DATA, Unpicklable()], dtype=object), allow_pickle=True)


def failing_zipfile(writer):
    with zipfile.ZipFile(writer, "w") as archive:
        archive.writestr("whole", DATA)
        with archive.open("half", "w") as member:
            member.write(DATA)
            raise ZeroDivisionError("on purpose")


def buffered(writer):
    with io.BufferedWriter(writer, 2 * MIB) as stream:
        stream.write(DATA)
        raise ZeroDivisionError("on purpose")


EXCEPTIONS = {
    "ordinary": (raising(ZeroDivisionError("on purpose")), ZeroDivisionError),
    "KeyboardInterrupt": (raising(KeyboardInterrupt()), KeyboardInterrupt),
    "SystemExit": (raising(SystemExit(3)), SystemExit),
    "GeneratorExit": (raising(GeneratorExit()), GeneratorExit),
    "TextIOWrapper": (text_wrapper, ZeroDivisionError),
    "gzip": (gzip_wrapper, ZeroDivisionError),
    "torch.save": (failing_torch_save, ZeroDivisionError),
    "old torch.save": (failing_old_torch_save, ZeroDivisionError),
    "pickle": (failing_pickle, ZeroDivisionError),
    "numpy.save": (failing_numpy_save, ZeroDivisionError),
    "zipfile": (failing_zipfile, ZeroDivisionError),
    "BufferedWriter": (buffered, ZeroDivisionError),
}


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_f61_an_exception_in_with_publishes_nothing_and_stays_itself(name, wire, saving):
    body, expected = EXCEPTIONS[name]

    def saved():
        with saving.writer(URI) as writer:
            body(writer)

    with pytest.raises(expected) as caught:
        saved()
    assert type(caught.value) is expected
    assert_upload_is_gone(wire)
    assert_old_is_intact(wire)


def test_f61_a_closed_generator_publishes_nothing(wire, saving):
    def writing():
        with saving.writer(URI) as writer:
            while True:
                writer.write((yield))

    generator = writing()
    next(generator)
    generator.send(DATA)
    generator.close()
    assert_upload_is_gone(wire)
    assert_old_is_intact(wire)


def test_f61_an_abort_that_fails_does_not_hide_the_exception(site, caplog):
    site.fill({"ckpt/e0": OLD})
    network = {**QUICK, "deadlineSeconds": 1, "abortSeconds": 1}
    saving = OssCheckpoint(**site.configured(network=network, checkpointConfig={"uploadIoSizeMB": 1}))
    site.oss.rules([{"match": {"op": "AbortMultipartUpload"}, "action": {"status": 500}}])

    def saved():
        with saving.writer(URI) as writer:
            writer.write(DATA)
            raise ZeroDivisionError("on purpose")

    with pytest.raises(ZeroDivisionError, match="on purpose"):
        saved()
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any("could not be aborted" in text and URI in text for text in warnings)
    assert_old_is_intact(site)


@pytest.mark.parametrize("written", [10, len(DATA)])
@pytest.mark.parametrize("how", ["del", "collected"])
@pytest.mark.filterwarnings("default::ResourceWarning")
def test_f62_a_dropped_writer_never_publishes_and_says_so(how, written, wire, saving, caplog):

    def write():
        writer = saving.writer(URI)
        writer.write(DATA[:written])
        if how == "collected":
            circle = [writer]
            circle.append(circle)

    def write_and_drop():
        write()
        # A circle goes when it is collected, all else with its last name.
        gc.collect()

    with pytest.warns(ResourceWarning, match="NOTHING WAS SAVED"):
        write_and_drop()
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    assert URI in errors[0].getMessage()
    assert errors[0].name.startswith("osstorchconnector")
    assert_upload_is_gone(wire)
    assert_old_is_intact(wire)


EXITING = """
import sys
from osstorchconnector import OssCheckpoint
writer = OssCheckpoint(config_path=sys.argv[1]).writer("{uri}")
writer.write(bytes({written}))
{ending}
"""
ENDINGS = {
    "end": ("", 0),
    "exit": ("sys.exit(7)", 7),
    "exception": ("raise ZeroDivisionError('on purpose')", 1),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_f62_an_interpreter_that_exits_never_publishes_and_says_so(ending, site):
    site.fill({"ckpt/e0": OLD})
    code, status = ENDINGS[ending]
    config = site.oss.write_config(site.directory, {"checkpointConfig": {"uploadIoSizeMB": 1}})
    program = EXITING.format(uri=URI, written=3 * MIB, ending=code)
    run = subprocess.run(
        [sys.executable, "-c", program, config],
        env={**os.environ, **site.oss.environ()}, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert run.returncode == status, run.stderr
    assert run.stderr.count(f"writer for {URI} dropped without close(): NOTHING WAS SAVED; use 'with'") == 1
    assert_upload_is_gone(site)
    assert_old_is_intact(site)


def test_f62_what_was_never_written_is_not_there(site):
    site.fill({"other": b"x"})
    OssCheckpoint(**site.arguments).writer(URI).abort()
    with pytest.raises(NotFoundError):
        by_readinto(URI, site.arguments)
