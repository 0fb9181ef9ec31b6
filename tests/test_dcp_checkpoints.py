"""Distributed checkpoints in one process: what is written, and who can read it."""

from __future__ import annotations

import json
import logging
import pickle
import warnings

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import CheckpointException, FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner

from dcp_states import PATH, blank, equal, failure, file_system, load, names, save, state
from osstorchconnector import OssDCPFileSystem, OssStorageReader, OssStorageWriter
from osstorchconnector.checksum import crc64
from osstorchconnector.dcp import fetching, naming, retention
from osstorchconnector.dcp.turns import Turns
from osstorchconnector.errors import (
    AlreadyExistsError,
    ConfigError,
    FormatError,
    IntegrityError,
    NotFoundError,
    ObjectChangedError,
)
from torch_versions import need_argument, need_torch


@pytest.fixture
def fs(site):
    return file_system(site)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"prefix_strategy": "hashed"},
        {"prefix_strategy": "rank"},
        {"thread_count": 3},
        {"single_file_per_rank": False},
        {"storage_class": "IA"},
    ],
    ids=lambda options: "-".join(map(str, options.values())) or "plain",
)
def test_what_was_saved_is_loaded_to_the_last_bit(fs, options):
    save(fs, **options)
    assert equal(load(fs), state())


def test_large_tensors_are_read_into_the_models_own_memory(fs):
    save(fs)
    into = blank()
    address = into["large"].data_ptr()
    load(fs, into)
    assert into["large"].data_ptr() == address
    assert equal(into, state())


def test_an_object_is_named_after_its_save_and_metadata_is_written_last_by_one_put(fs, site):
    save(fs)
    save(fs)
    writes = [r["key"] for r in site.oss.requests() if r["operation"] == "PutObject"]
    looks = {"ListObjectsV2", "ListMultipartUploads", "HeadObject"}
    assert {r["operation"] for r in site.oss.requests()} <= {"PutObject", *looks}
    assert len(set(writes)) == len(writes) - 1, "the metadata alone is written twice"
    for shard, manifest, metadata in (writes[:3], writes[3:]):
        save_id = naming.save_of_shard(shard.removeprefix("run/step/"))
        assert naming.is_save_id(save_id)
        assert shard == f"run/step/__{save_id}_0_0.distcp"
        assert manifest == f"run/step/.manifest.{save_id}.json"
        assert metadata == "run/step/.metadata"


def test_the_manifest_tells_size_and_checksum_of_every_object_and_item(fs):
    save(fs)
    store = fs.store()
    (manifest,) = (name for name in names(fs) if name.startswith(".manifest."))
    document = json.loads(store.open_reader(f"/bucket/run/step/{manifest}").read())
    metadata = fs.reader(PATH).read_metadata()
    assert document["save_id"] == metadata.storage_meta.save_id
    (shard,) = document["shards"]
    data = store.open_reader(f"/bucket/run/step/{shard['name']}").read()
    assert (shard["size"], int(shard["crc64"])) == (len(data), crc64(data))
    assert len(shard["items"]) == len(metadata.storage_data)
    for offset, size, checksum, *_ in shard["items"]:
        assert crc64(data[offset : offset + size]) == int(checksum)


@pytest.mark.parametrize("strategy", naming.PREFIX_STRATEGIES)
def test_torch_alone_loads_a_downloaded_checkpoint(fs, tmp_path, strategy):
    save(fs, prefix_strategy=strategy)
    for name in names(fs):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(fs.store().open_reader(f"/bucket/run/step/{name}").read())
    into = blank()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        dcp.load(into, storage_reader=FileSystemReader(tmp_path))
    assert equal(into, state())


def test_a_checkpoint_of_torchs_own_writer_loads_and_one_line_says_that_it_is_unchecked(
    fs, site, tmp_path, caplog
):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        dcp.save(state(), storage_writer=FileSystemWriter(tmp_path / "torchs"))
    site.fill({f"run/step/{file.name}": file.read_bytes() for file in (tmp_path / "torchs").iterdir()})
    with caplog.at_level(logging.WARNING, "osstorchconnector"):
        assert equal(load(fs), state())
    (line,) = (
        record.getMessage() for record in caplog.records if record.name.startswith("osstorchconnector")
    )
    assert "without a manifest" in line


def test_torchs_own_data_that_is_replaced_while_it_is_loaded_is_no_mixture(fs, site, tmp_path, monkeypatch):
    versions = []
    for value in (1.0, 2.0):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            dcp.save(state(value), storage_writer=FileSystemWriter(tmp_path / str(value)))
        files = (tmp_path / str(value)).iterdir()
        versions.append({f"run/step/{file.name}": file.read_bytes() for file in files})
    site.fill(versions[0])
    read, waiting = fetching.Fetcher._read, [versions[1]]

    def read_and_replace(fetcher, *arguments):
        read(fetcher, *arguments)
        if waiting:
            site.fill(waiting.pop())

    monkeypatch.setattr(fetching.Fetcher, "_read", read_and_replace)
    monkeypatch.setattr(fetching, "_READERS", 1)
    monkeypatch.setattr(fetching, "_BATCH_BYTES", 100_000)
    with pytest.raises(CheckpointException) as raised:
        load(fs)
    _, error = failure(raised)
    assert isinstance(error, ObjectChangedError)


def test_an_item_that_the_manifest_does_not_know_is_not_loaded_unchecked(fs, site):
    save(fs)
    (manifest,) = (name for name in names(fs) if name.startswith(".manifest."))
    document = json.loads(fs.store().open_reader(f"/bucket/run/step/{manifest}").read())
    del document["shards"][0]["items"][3]
    site.fill({f"run/step/{manifest}": json.dumps(document).encode()})
    into = blank()
    with pytest.raises(CheckpointException) as raised:
        load(fs, into)
    _, error = failure(raised)
    assert isinstance(error, IntegrityError)
    assert equal(into, blank()), "no tensor was changed"


def test_the_thread_of_a_save_is_expected_from_the_end_of_the_copying(monkeypatch):
    now = 100.0
    monkeypatch.setattr("osstorchconnector.dcp.turns.time.monotonic", lambda: now)
    turns = Turns()
    turns.stage(1.0, PATH)
    # Copying the state took longer than a thread takes to start.
    now += 60.0
    turns.staged()
    waited = []
    monkeypatch.setattr(turns._changed, "wait", lambda _: waited.append(now) or turns.forget_expected())
    turns.stage(1.0, PATH)
    assert waited, "the copies of the first save are not overwritten before its thread has begun"


def test_a_checkpoint_is_found_by_text_and_by_path_object(fs):
    from pathlib import Path

    save(fs, path=Path("oss://bucket/run/step"))
    assert equal(load(fs, path="/bucket/run/step/"), state())


def test_loading_what_was_never_saved_names_the_metadata(fs):
    with pytest.raises(CheckpointException) as raised:
        load(fs)
    rank, error = failure(raised)
    assert rank == 0
    assert isinstance(error, NotFoundError)
    assert "oss://bucket/run/step/.metadata" in str(error)
    assert "\n" not in str(error)


def test_a_tensor_of_another_shape_is_refused(fs):
    save(fs, {"w": torch.ones(4, 4)})
    with pytest.raises(CheckpointException, match="Missing key in checkpoint state_dict: v"):
        load(fs, {"v": torch.zeros(4, 4)})
    need_torch((2, 7), "planners that compare shapes")
    with pytest.raises(CheckpointException, match="w"):
        load(fs, {"w": torch.zeros(5, 4)})


def test_overwriting_can_be_forbidden(fs):
    save(fs, overwrite=False)
    with pytest.raises(CheckpointException) as raised:
        save(fs, state(2.0), overwrite=False)
    assert isinstance(failure(raised)[1], AlreadyExistsError)
    assert equal(load(fs), state())


def test_a_planner_that_caches_plans_never_writes_the_same_object_twice(fs):
    need_argument(DefaultSavePlanner, "enable_plan_caching")
    for value in (1.0, 2.0, 3.0, 4.0):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            planner = DefaultSavePlanner(enable_plan_caching=True)
            dcp.save(state(value), storage_writer=fs.writer(PATH), planner=planner)
        assert equal(load(fs), state(value))
    shards = [name for name in names(fs) if name.endswith(".distcp")]
    assert len(shards) == 4, "each that was replaced has its hour of grace"
    live = {info.relative_path for info in fs.reader(PATH).read_metadata().storage_data.values()}
    assert not live & {
        path.rpartition("/")[2] for path in retention.garbage(fs.store(), "/bucket/", 0.0).objects
    }


def test_a_rank_that_saves_without_the_others_has_metadata_of_its_own(fs):
    need_argument(dcp.save, "use_collectives")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        dcp.save(state(), storage_writer=fs.writer(PATH), use_collectives=False)
    assert "__0.metadata" in names(fs)
    assert ".metadata" not in names(fs)
    assert equal(load(fs), state())


def test_an_unreadable_metadata_never_leads_to_that_of_one_rank(fs, site):
    need_argument(dcp.save, "use_collectives")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        dcp.save(state(), storage_writer=fs.writer(PATH), use_collectives=False)
    site.fill({"run/step/.metadata": b"rubbish"})
    with pytest.raises(CheckpointException) as raised:
        load(fs)
    assert isinstance(failure(raised)[1], FormatError)


def test_writer_and_reader_are_torchs(fs):
    writer, reader = OssStorageWriter(fs, PATH), OssStorageReader(fs, PATH)
    assert isinstance(writer, dcp.StorageWriter)
    assert isinstance(reader, dcp.StorageReader)
    for kind in (OssStorageWriter, OssStorageReader, OssDCPFileSystem):
        assert kind.validate_checkpoint_id("oss://bucket/x")
        assert not kind.validate_checkpoint_id("file:///x")
    again = pickle.loads(pickle.dumps(writer))
    assert again.path == writer.path


@pytest.mark.parametrize(
    "wrong",
    [
        {"prefix_strategy": "random"},
        {"keep_last": 0},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_wrong_argument_of_the_writer_is_refused(fs, wrong):
    with pytest.raises(ConfigError):
        fs.writer(PATH, **wrong)


def test_another_format_than_torchs_own_is_refused(fs):
    need_torch((2, 7), "serialization formats")
    formats = torch.distributed.checkpoint.filesystem.SerializationFormat
    with pytest.raises(ConfigError, match="TORCH_SAVE"):
        fs.writer(PATH, serialization_format=formats.SAFETENSORS)


@pytest.mark.parametrize(
    "path", ["", "s3://bucket/x", "oss://bucket", "oss://bucket/", "relative/x", "oss:///x"]
)
def test_a_path_that_is_no_place_for_a_checkpoint_is_refused(fs, path, site):
    for make in (fs.writer, fs.reader):
        with pytest.raises(ConfigError):
            make(path)
    assert site.oss.requests() == []


def test_an_object_that_is_more_than_values_is_refused_on_request(fs):
    need_torch((2, 6), "safe looks at pickles")
    save(fs, {"odd": Odd(7)})
    into = {"odd": Odd(0)}
    with pytest.raises(CheckpointException) as raised:
        load(fs, into, weights_only=True)
    error = failure(raised)[1]
    assert isinstance(error, FormatError)
    assert "allow_classes" in str(error)
    assert f"asks for {Odd.__module__}.Odd)" in str(error)
    assert str(error).isprintable()
    assert into["odd"].number == 0
    assert load(fs, {"odd": Odd(0)})["odd"].number == 7
    assert load(fs, into, weights_only=True, allow_classes=[Odd])["odd"].number == 7


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_without_torchs_extensions_of_streams_the_bytes_are_the_same(fs):
    save(fs)
    writer, reader = fs.writer(f"{PATH}-2"), fs.reader(PATH)
    # As of a torch that has none: the attribute is there in a newer one.
    writer.transforms = reader.transforms = None
    dcp.save(state(), storage_writer=writer)
    into = blank()
    dcp.load(into, storage_reader=reader)
    assert equal(into, state())
    assert equal(load(fs, path=f"{PATH}-2"), state())
    sizes = [
        [info.length for info in fs.reader(path).read_metadata().storage_data.values()]
        for path in (PATH, f"{PATH}-2")
    ]
    assert sizes[0] == sizes[1]


class Odd:
    """An object that torch's restricted unpickler does not know."""

    def __init__(self, number):
        self.number = number


def test_a_stream_written_to_the_file_system_is_whole_or_not_at_all(fs):
    with fs.create_stream(f"{PATH}/x", "wb") as stream:
        torch.save(torch.ones(3), stream)
    with fs.create_stream(f"{PATH}/x", "rb") as stream:
        assert torch.equal(torch.load(stream, weights_only=True), torch.ones(3))
    with pytest.raises(TypeError), fs.create_stream(f"{PATH}/y", "wb") as stream:
        stream.writelines([b"half", "and no bytes"])
    assert not fs.exists(f"{PATH}/y")
    with pytest.raises(ConfigError, match="'rb' or 'wb'"), fs.create_stream(f"{PATH}/x", "ab"):
        pass


def test_the_file_system_does_what_torch_asks_of_one(fs):
    assert fs.concat_path("oss://b/k", "x") == fs.concat_path("oss://b/k/", "x") == "oss://b/k/x"
    assert fs.init_path("oss://b/k") == "oss://b/k"
    fs.mkdir(PATH)
    assert not fs.exists(PATH)
    with fs.create_stream(f"{PATH}/x", "wb") as stream:
        stream.write(b"data")
    assert not fs.exists(PATH), "a name above an object is no object"
    fs.rename(f"{PATH}/x", f"{PATH}/y")
    assert (fs.exists(f"{PATH}/x"), fs.exists(f"{PATH}/y")) == (False, True)
    with pytest.raises(NotFoundError):
        fs.rename(f"{PATH}/x", f"{PATH}/z")
    with pytest.raises(ConfigError, match="same"):
        fs.rename(f"{PATH}/y", "/bucket/run/step/y")
    fs.rm_file(f"{PATH}/y")
    fs.rm_file(f"{PATH}/y")
    assert not fs.exists(f"{PATH}/y")
    assert repr(fs).startswith("OssDCPFileSystem(endpoint='http")


def test_only_a_404_means_that_nothing_is_there(fs, site):
    site.oss.rules([{"match": {"op": "HeadObject"}, "action": {"status": 403, "code": "AccessDenied"}}])
    with pytest.raises(PermissionError):
        fs.exists(f"{PATH}/x")
    with pytest.raises(CheckpointException) as raised:
        save(fs, overwrite=False)
    assert isinstance(failure(raised)[1], PermissionError), "a failed look is no permission to overwrite"


def test_file_systems_cross_process_borders(fs):
    save(fs)
    again = pickle.loads(pickle.dumps(fs))
    assert equal(load(again), state())


def test_a_save_and_a_load_tell_their_stages(fs, caplog):
    with caplog.at_level(logging.INFO, "osstorchconnector"):
        save(fs)
        load(fs)
    told = [line for line in caplog.messages if "GB in" in line]
    assert len(told) == 2
    assert all(stage in told[0] for stage in ("save oss://", "serialise", "upload", "settle"))
    assert all(stage in told[1] for stage in ("load oss://", "read", "place"))


def test_a_long_save_says_how_far_it_is(caplog, monkeypatch):
    from osstorchconnector.dcp import progress

    monkeypatch.setattr(progress, "_EVERY_SECONDS", 0.01)
    with (
        caplog.at_level(logging.INFO, "osstorchconnector.dcp.progress"),
        progress.Progress("save", "oss://b/k", 3, 2_000_000_000, 2) as going,
    ):
        going.moved(1_000_000_000)
        going.part_done()
        while not caplog.messages:
            going._ended.wait(0.01)
    assert "save oss://b/k: rank 3: 1.00 of 2.00 GB" in caplog.messages[0]
    assert "1 parts left" in caplog.messages[0]
