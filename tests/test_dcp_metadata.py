"""The checkpoint of a stranger: nothing of it may run, and nothing may take the memory of this machine."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import pickle
import time
from pathlib import Path

import pytest

from torch_versions import need_checkpoints

need_checkpoints()

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributed.checkpoint import CheckpointException
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.torch_version import TorchVersion

from dcp_states import PATH, equal, failure, file_system, load, names, save
from osstorchconnector.dcp import unpickling
from osstorchconnector.dcp.manifest import Item, Manifest, Payload, Shard, decode
from osstorchconnector.errors import ConfigError, FormatError

URI = "oss://bucket/run/step/.metadata"


def metadata(name="__0_0.distcp", planner_data=None):
    """Make what torch writes for one tensor and one object."""
    chunk = ChunkStorageMetadata(torch.Size([0, 0]), torch.Size([3, 4]))
    kinds = (torch.float32, torch.bfloat16, torch.float8_e4m3fn)
    tensors = {
        f"t{number}": TensorStorageMetadata(TensorProperties(dtype=dtype), torch.Size([3, 4]), [chunk])
        for number, dtype in enumerate(kinds)
    }
    return _known(
        Metadata,
        {**tensors, "o": BytesStorageMetadata()},
        planner_data or {"o": ("outer", "o"), "t0": ("t", 0)},
        {
            MetadataIndex("t0", [0, 0], 0): _StorageInfo(name, 0, 100),
            MetadataIndex("o"): _StorageInfo(name, 100, 5),
        },
        _known(StorageMeta, "oss://bucket/run/step", "save", "load", ["module"]),
        "1.0.0",
    )


def _known(kind, *values):
    """Make a dataclass of as many of the values as this torch has fields for."""
    return kind(*values[: len(dataclasses.fields(kind))])


class Marker:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


class Trusted:
    """A class of a user's planner."""

    word = "planned"


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_torchs_metadata_is_read_back_whole(protocol):
    read = unpickling.read_metadata(pickle.dumps(metadata(), protocol), URI)
    assert read == metadata()


def test_s07_a_pickle_that_runs_a_command_is_refused_and_does_not_run(site, tmp_path):
    marker = tmp_path / "marker"
    fs = file_system(site)
    save(fs)
    for hostile in (Marker(marker), metadata(planner_data={"x": Marker(marker)})):
        site.fill({"run/step/.metadata": pickle.dumps(hostile)})
        with pytest.raises(CheckpointException) as raised:
            load(fs)
        error = failure(raised)[1]
        assert isinstance(error, FormatError)
        assert "posix.system" in str(error)
        assert "allow_classes=[system]" in str(error)
        assert not marker.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("torch", "load"),
        ("torch", "serialization.load"),
        ("torch.serialization", "load"),
        ("torch.distributed.checkpoint.metadata", "os.system"),
        ("torch.distributed.checkpoint.filesystem", "pickle.loads"),
        ("collections", "OrderedDict.fromkeys"),
        ("copyreg", "_reconstructor"),
    ],
)
def test_s07_a_name_beside_the_list_is_refused_even_in_a_listed_module(module, name):
    stack_global = b"\x80\x04\x8c" + bytes([len(module)]) + module.encode()
    stack_global += b"\x8c" + bytes([len(name)]) + name.encode() + b"\x93."
    for attempt in (stack_global, f"c{module}\n{name}\n.".encode()):
        with pytest.raises(FormatError, match="allow_classes"):
            unpickling.read_metadata(attempt, URI)


def test_a_class_that_the_user_allows_is_read(site):
    own = metadata(planner_data=Trusted())
    with pytest.raises(FormatError, match=r"allow_classes=\[Trusted\]"):
        unpickling.read_metadata(pickle.dumps(own), URI)
    read = unpickling.read_metadata(pickle.dumps(own), URI, [Trusted])
    assert read.planner_data.word == "planned"
    with pytest.raises(ConfigError, match="classes"):
        file_system(site).reader(PATH, allow_classes=["os.system"])


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b".",
        b"not a pickle",
        pickle.dumps({"a": 1}),
        pickle.dumps(metadata())[:-9],
        pickle.dumps(Metadata({}, None, None)),
        pickle.dumps(Metadata([], None, {})),
        pickle.dumps(metadata("../../elsewhere")),
        pickle.dumps(metadata("/etc/passwd")),
        pickle.dumps(metadata("")),
        pickle.dumps(Metadata({}, None, {MetadataIndex("x"): _StorageInfo("a", -1, 5)})),
        pickle.dumps(Metadata({}, None, {"x": _StorageInfo("a", 0, 5)})),
    ],
    ids=range(12),
)
def test_what_is_no_metadata_is_one_error(wrong):
    with pytest.raises(FormatError, match="malformed") as raised:
        unpickling.read_metadata(wrong, URI)
    assert URI in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("version", ["2.4.1", "2.5.1+cu124"])
def test_s06_a_torch_that_runs_code_all_the_same_is_not_trusted_with_weights_only(site, monkeypatch, version):
    fs = file_system(site)
    monkeypatch.setattr(torch, "__version__", TorchVersion(version))
    with pytest.raises(ConfigError, match=r"pip install --upgrade 'torch>=2\.6'") as raised:
        fs.reader(PATH, weights_only=True)
    assert f"this is {version}" in str(raised.value)
    assert fs.reader(PATH, allow_classes=[Trusted])


def test_s06_such_a_torch_loads_tensors_in_torchs_present_format_alone(site, monkeypatch):
    fs = file_system(site)
    save(fs, {"w": torch.ones(3)})
    (shard,) = (name for name in names(fs) if name.endswith(".distcp"))
    (manifest,) = (name for name in names(fs) if "manifest" in name)
    fs.rm_file(f"{PATH}/{manifest}")
    monkeypatch.setattr(torch, "__version__", TorchVersion("2.5.1"))
    assert equal(load(fs, {"w": torch.zeros(3)}), {"w": torch.ones(3)})
    older = io.BytesIO()
    torch.save(torch.ones(3), older, _use_new_zipfile_serialization=False)
    size_bytes = len(fs.store().open_reader(f"/bucket/run/step/{shard}").read())
    site.fill({f"run/step/{shard}": older.getvalue().ljust(size_bytes, b"\0")})
    with pytest.raises(CheckpointException) as raised:
        load(fs, {"w": torch.zeros(3)})
    error = failure(raised)[1]
    assert isinstance(error, FormatError)
    assert "torch>=2.6" in str(error)


def peak_bytes():
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


@pytest.mark.parametrize(
    "bomb",
    [
        b"\x80\x04K\x01r\xff\xff\xff\x7f.",
        b"\x80\x04B\xff\xff\xff\x7f.",
        b"\x80\x05\x96\xff\xff\xff\xff\x0f\x00\x00\x00.",
        b"\x80\x04\x8e\xff\xff\xff\xff\x0f\x00\x00\x00.",
        b"\x80\x02\x8b\xff\xff\xff\x7f.",
        b"I1\np2147483647\n.",
        b"I" + b"1" * 1_000_000 + b"\n.",
    ],
    ids=["memo", "bytes", "bytearray", "bytes8", "long", "text-memo", "digits"],
)
def test_a_short_pickle_cannot_ask_for_much_memory(bomb):
    begun = time.monotonic()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # proc(5): the peak begins anew
    before = peak_bytes()
    with pytest.raises(FormatError):
        unpickling.read_metadata(bomb, URI)
    assert peak_bytes() - before < 64 << 20
    assert time.monotonic() - begun < 1


def test_metadata_beyond_the_cap_is_not_read(site, monkeypatch):
    fs = file_system(site)
    save(fs)
    monkeypatch.setattr("osstorchconnector.dcp.checkpoints.MAX_BYTES", 100)
    with pytest.raises(CheckpointException) as raised:
        load(fs)
    assert "more than the" in str(failure(raised)[1])


_GOOD = pickle.dumps(metadata())


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(_GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(0, len(_GOOD)),
)
def test_s07_damaged_metadata_is_read_or_refused(changes, end):
    data = bytearray(_GOOD)
    for at, octet in changes:
        data[at] = octet
    for attempt in (bytes(data), bytes(data[:end])):
        with contextlib.suppress(FormatError):
            assert isinstance(unpickling.read_metadata(attempt, URI), Metadata)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_s07_rubbish_is_refused(data):
    with pytest.raises(FormatError):
        unpickling.read_metadata(data, URI)


_MANIFEST = Manifest(
    "20260101T000000000000-0123456789abcdef",
    (
        Shard(
            "__a_0_0.distcp",
            200,
            2**64 - 1,
            (Item(0, 150, 7, Payload(64, "float32", (3, 4))), Item(150, 50, None)),
            ((120, 3), (80, 2**64 - 1)),
        ),
    ),
).encode()


def test_a_manifest_is_read_back_whole():
    read = decode(_MANIFEST, URI)
    assert read.encode() == _MANIFEST
    assert read.item("__a_0_0.distcp", 150, 50) == Item(150, 50, None)
    assert read.item("__a_0_0.distcp", 150, 51) is None


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(_MANIFEST) - 1), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(0, len(_MANIFEST)),
)
def test_a_damaged_manifest_is_read_or_refused(changes, end):
    data = bytearray(_MANIFEST)
    for at, octet in changes:
        data[at] = octet
    for attempt in (bytes(data), bytes(data[:end])):
        with contextlib.suppress(FormatError):
            assert isinstance(decode(attempt, URI), Manifest)


@pytest.mark.parametrize(
    "change",
    [
        ('"size":200', '"size":199'),
        ('"size":200', '"size":-1'),
        ('"size":200', '"size":1e3'),
        ('"size":200', '"size":true'),
        ('"__a_0_0.distcp"', '"../__a_0_0.distcp"'),
        ('"18446744073709551615"', '"18446744073709551616"'),
        ('"18446744073709551615"', "5"),
        ("[64,", "[149,"),
        ('"version":1', '"version":2'),
        ('"shards":[', '"shards":[5,'),
        ('"shards":[', '"shards":[' + "[" * 100_000),
    ],
    ids=range(11),
)
def test_a_manifest_that_cannot_be_is_refused(change):
    wrong = _MANIFEST.decode().replace(*change).encode()
    assert wrong != _MANIFEST
    with pytest.raises(FormatError, match="manifest is malformed") as raised:
        decode(wrong, URI)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 1000
