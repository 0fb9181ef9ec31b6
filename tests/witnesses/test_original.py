"""The original wheel, 1.2.3, against the emulator with signature checking on."""

from __future__ import annotations

import hashlib
import json
import warnings

import original_program
import oss2
import pytest
import torch
import torch.distributed.checkpoint as dcp
from package_process import ORIGINAL, PackageProcess, cannot_witness, endpoint_of, way_to_names
from witness_data import body, crc64

import osstorchconnector
from osstorchconnector import OssSafetensor
from torch_versions import need_checkpoints

BUCKET = "original-bucket"

MIB = 1024 * 1024

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def start_wheel(tmp_path_factory):
    """Give a function that starts a process in which the wheel finds the emulator."""
    prefix = way_to_names([BUCKET], tmp_path_factory.mktemp("names"))
    started = []

    def start():
        directory = tmp_path_factory.mktemp("wheel")
        started.append(PackageProcess(original_program.__file__, ORIGINAL, prefix, directory))
        return started[-1]

    yield start
    for wheel in started:
        wheel.end()


@pytest.fixture(scope="module")
def wheels(start_wheel):
    """Give the processes that are kept from test to test, because they take seconds to start."""
    return [start_wheel()]


@pytest.fixture
def run(wheels, start_wheel, oss_emulator, tmp_path):
    """Give a function that lets the wheel do one task, and returns its answer."""
    # The bucket is there after this, whatever earlier tests did.
    oss_emulator.put_object(BUCKET, "there", b"")
    arguments = {
        "endpoint": endpoint_of(oss_emulator),
        "region": oss_emulator.region,
        "cred_path": oss_emulator.write_credentials(tmp_path),
        "config_path": oss_emulator.write_config(
            tmp_path, {"logPath": str(tmp_path / "connector.log"), "auditPath": ""}
        ),
    }

    def run_task(*, alone=False, changed=None, **task):
        if not wheels[0].is_alive():
            wheels[0] = start_wheel()
        wheel = start_wheel() if alone else wheels[0]
        return wheel.ask({"arguments": {**arguments, **(changed or {})}, "task": task})

    return run_task


@pytest.fixture
def stored(oss_emulator):
    """Give a function that returns what the emulator holds, fetched by another SDK."""
    auth = oss2.AuthV4(oss_emulator.access_key_id, oss_emulator.access_key_secret)
    bucket = oss2.Bucket(auth, oss_emulator.endpoint, BUCKET, region=oss_emulator.region)
    return lambda key: bucket.get_object(key).read()


def digest(data):
    return hashlib.sha256(data).hexdigest()


def operations_on(oss_emulator, key):
    """Return what the journal says was asked about a key, in order."""
    return [request["operation"] for request in oss_emulator.requests() if request["key"] == key]


def test_it_writes_checkpoints_by_deleting_first_and_always_in_parts(run, stored, oss_emulator, tmp_path):
    objects = {"small": body(1024), "three parts": body(33 * MIB)}
    oss_emulator.put_object(BUCKET, "small", b"what was there before")
    paths = {}
    for key, data in objects.items():
        paths[key] = tmp_path / key
        paths[key].write_bytes(data)
    run(do="write", objects=[[f"oss://{BUCKET}/{key}", str(path), 5 * MIB] for key, path in paths.items()])
    sizes = {}
    for entry in oss_emulator.journal():
        if entry.get("change") == "part":
            sizes.setdefault(entry["key"], []).append(entry["size"])
        if entry.get("change") == "complete":
            data = objects[entry["key"]]
            assert (entry["size"], str(entry["crc64"])) == (len(data), crc64(data))
    assert {key: sorted(found) for key, found in sizes.items()} == {
        "small": [1024],
        "three parts": [MIB, 16 * MIB, 16 * MIB],
    }
    assert operations_on(oss_emulator, "small")[:4] == [
        "DeleteObject",
        "InitiateMultipartUpload",
        "UploadPart",
        "CompleteMultipartUpload",
    ]
    for key, data in objects.items():
        assert stored(key) == data


def test_it_reads_whole_objects_and_places_in_them(run, oss_emulator):
    data = body(5 * MIB + 17)
    oss_emulator.put_object(BUCKET, "k", data)
    part = data[4 * MIB : 4 * MIB + 1000]
    answers = run(do="read", bucket=BUCKET, key="k", offset=4 * MIB, count=1000)
    assert answers == [[digest(data), len(data), digest(part), 4 * MIB + 1000]] * 2
    gets = oss_emulator.requests("GetObject")
    assert {get["status"] for get in gets} == {206}
    assert {get["headers"]["x-oss-range-behavior"] for get in gets} == {"standard"}


def test_it_reads_checkpoints_ahead(run, oss_emulator):
    data = body(9 * MIB + 1)
    oss_emulator.put_object(BUCKET, "k", data)
    answer = run(do="prefetching_read", uri=f"oss://{BUCKET}/k")
    if answer is None:
        cannot_witness("its prefetching reader needs userfaultfd, which this machine does not give")
    assert answer == digest(data)


def ours(oss_emulator):
    return OssSafetensor(**oss_emulator.arguments())


def test_safetensors_files_that_it_writes_are_read(run, oss_emulator):
    uri, expected = f"oss://{BUCKET}/m", original_program.tensors_of(7)
    run(do="save_tensors", uri=uri, seed=7, metadata={"epoch": "3"})
    with ours(oss_emulator).safe_open(uri) as opened:
        assert opened.keys() == opened.offset_keys() == list(expected)
        assert opened.metadata() == {"epoch": "3"}
    loaded = ours(oss_emulator).load_file(uri)
    assert list(loaded) == list(expected)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in expected.items())


def test_it_reads_safetensors_files_that_are_written_here(run, oss_emulator):
    uri = f"oss://{BUCKET}/m"
    ours(oss_emulator).save_file(original_program.tensors_of(9), uri, {"epoch": "4"})
    answer = run(do="load_tensors", uri=uri, seed=9)
    if answer is None:
        cannot_witness("its prefetching reader needs userfaultfd, which this machine does not give")
    assert answer == [True, {"epoch": "4"}]


SAMPLES = {f"data/{number:03}": body(1000 + number, number) for number in range(40)} | {"data/中 +%": b"odd"}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["OssIterableDataset", "OssMapDataset"])
def test_its_datasets_deliver_each_object_once(run, oss_emulator, kind, workers):
    for key, data in {**SAMPLES, "data/": b"", "data/empty": b"", "data2": b"no"}.items():
        oss_emulator.put_object(BUCKET, key, data)
    prefix = f"oss://{BUCKET}/data/"
    # Workers are forked, so the process must not have used the wheel before.
    samples = run(
        do="iterate",
        kind=kind,
        factory="from_prefix",
        positional=[prefix],
        workers=workers,
        alone=workers > 0,
    )
    expected = [[f"/{BUCKET}/{key}", len(data), digest(data), ""] for key, data in SAMPLES.items()]
    assert (samples if kind == "OssMapDataset" else sorted(samples)) == sorted(expected)
    gets = [get["key"] for get in oss_emulator.requests("GetObject")]
    assert sorted(gets) == sorted(SAMPLES)


@pytest.mark.parametrize("kind", ["OssIterableDataset", "OssMapDataset"])
def test_its_datasets_learn_sizes_from_the_first_answer(run, oss_emulator, kind):
    for key, data in SAMPLES.items():
        oss_emulator.put_object(BUCKET, key, data)
    uris = [f"oss://{BUCKET}/{key}" for key in list(SAMPLES)[::-1]]
    samples = run(do="iterate", kind=kind, factory="from_objects", positional=[uris], workers=0)
    assert sorted(key for key, *_ in samples) == sorted(f"/{BUCKET}/{key}" for key in SAMPLES)
    assert {key: seen for key, _, seen, _ in samples} == {
        f"/{BUCKET}/{key}": digest(data) for key, data in SAMPLES.items()
    }
    if kind == "OssIterableDataset":
        ranges = {get["headers"]["range"] for get in oss_emulator.requests("GetObject")}
        assert ranges == {"bytes=0-16777215"}


def test_it_stats_renames_removes_and_lists(run, stored, oss_emulator):
    for key in ("dir/a", "dir/b", "dir/c"):
        oss_emulator.put_object(BUCKET, key, key.encode())
    said = run(do="manage", bucket=BUCKET)
    assert (said["size"], said["directory"]) == (5, 0)
    assert "nothing" in said["missing"]
    assert said["listed"] == [[f"/{BUCKET}/dir/c", 5], [f"/{BUCKET}/dir/renamed 中", 5]]
    assert stored("dir/renamed 中") == b"dir/a"
    assert operations_on(oss_emulator, "dir") == ["GetObjectMeta"]
    looked = [asked["query"] for asked in oss_emulator.requests("ListObjectsV2")]
    assert {"list-type": "2", "max-keys": "1", "prefix": "dir/", "delimiter": "/"} in looked


def test_it_lists_page_after_page(run, oss_emulator):
    oss_emulator.fill(BUCKET, "many/", 2500, 1)
    answer = run(do="count", bucket=BUCKET, prefix="many/")
    assert answer == [2500, True, f"/{BUCKET}/many/00000000", f"/{BUCKET}/many/00002499"]
    assert len(oss_emulator.requests("ListObjectsV2")) == 3


def test_it_is_refused_where_its_signature_is_wrong(run, oss_emulator, tmp_path):
    oss_emulator.put_object(BUCKET, "k", b"data")
    wrong = tmp_path / "wrong"
    wrong.write_text(json.dumps({"AccessKeyId": oss_emulator.access_key_id, "AccessKeySecret": "wrong"}))
    said = run(do="try_to_read", bucket=BUCKET, key="k", changed={"cred_path": str(wrong)})
    assert "errno=1(" in said
    assert {request["status"] for request in oss_emulator.requests()} == {403}
    assert "errno=2(" in run(do="try_to_read", bucket=BUCKET, key="missing")
    assert run(do="try_to_read", bucket=BUCKET, key="k") == digest(b"data")


def test_distributed_checkpoints_that_it_writes_are_read(run, oss_emulator):
    need_checkpoints()
    run(do="save_distributed", uri=f"oss://{BUCKET}/run/step", seed=7)
    written = {entry["key"] for entry in oss_emulator.requests("CompleteMultipartUpload")}
    assert "run/step/__0_0.distcp" in written
    expected, loaded = original_program.distributed_state(7), original_program.distributed_state(0)
    fs = osstorchconnector.OssDCPFileSystem(**oss_emulator.arguments())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        dcp.load(loaded, storage_reader=fs.reader(f"oss://{BUCKET}/run/step"))
    for name, tensor in expected["model"].items():
        assert torch.equal(loaded["model"][name], tensor)
    assert (loaded["lr"], loaded["steps"]) == (0.25, [1, 2, 7])
    assert fs.latest(f"oss://{BUCKET}/run") == f"oss://{BUCKET}/run/step"


def test_it_reads_distributed_checkpoints_of_ours(run, oss_emulator):
    need_checkpoints()
    fs = osstorchconnector.OssDCPFileSystem(**oss_emulator.arguments())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        dcp.save(original_program.distributed_state(7), storage_writer=fs.writer(f"oss://{BUCKET}/run/ours"))
    answer = run(do="load_distributed", uri=f"oss://{BUCKET}/run/ours", seed=7)
    if answer is None:
        cannot_witness("its prefetching reader needs userfaultfd, which this machine does not give")
    assert answer == [True, True, 0.25, [1, 2, 7]]
