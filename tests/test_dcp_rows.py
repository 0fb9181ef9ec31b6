"""Rows of a stored tensor that a load wants without the rest: what travels, what is compared, and where it lands."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass

import pytest

from torch_versions import SHARDED, need_checkpoints, need_torch

need_checkpoints()

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from hypothesis import given
from hypothesis import strategies as st
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.device_mesh import init_device_mesh

import osstorchconnector
from dcp_ranks import on_ranks
from dcp_states import PATH, load, names, save
from osstorchconnector.checksum import crc64
from osstorchconnector.dcp.rows import Parts, wanted_rows
from osstorchconnector.errors import FormatError, IntegrityError

MIB = 1 << 20
# Sixteen rows of one MiB; data objects are uploaded in parts of one MiB.
FULL = torch.arange(16 * MIB // 4, dtype=torch.int32).reshape(16, -1)
BESIDE = torch.arange(100_000, dtype=torch.int16)


@dataclass
class Read:
    storage_offsets: tuple[int, ...]
    lengths: tuple[int, ...]


@given(
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=40),
    rows=st.integers(1, 20),
    row_bytes=st.integers(1, 20),
    data=st.data(),
)
def test_the_parts_around_rows_are_few_and_hold_them_all(sizes, rows, row_bytes, data):
    total = sum(sizes)
    if rows * row_bytes > total:
        return
    offset = data.draw(st.integers(0, total - rows * row_bytes))
    first = data.draw(st.integers(0, rows - 1))
    end = data.draw(st.integers(first + 1, rows))
    parts = Parts([(size, number) for number, size in enumerate(sizes)])
    found = wanted_rows([Read((first, 0), (end - first, row_bytes))], (rows, row_bytes), offset, 1, parts)
    edges = [0, *itertools.accumulate(sizes)]
    start, stop = offset + first * row_bytes, offset + end * row_bytes
    whole = [
        (size, number)
        for number, (size, at) in enumerate(zip(sizes, edges, strict=False))
        if at < stop and at + size > start
    ]
    if sum(size for size, _ in whole) > 0.75 * rows * row_bytes:
        assert found is None
        return
    assert found is not None
    assert (found.first, found.count, found.offset, found.size_bytes) == (
        first,
        end - first,
        start,
        stop - start,
    )
    assert list(found.parts) == whole
    assert found.parts_offset == edges[whole[0][1]] <= start
    assert found.parts_offset + found.parts_bytes >= stop


@pytest.mark.parametrize(
    ("shape", "reads"),
    [
        ((10, 10), [Read((0, 0), (10, 5))]),
        ((10, 10), [Read((0, 5), (1, 5))]),
        ((10, 10), [Read((0, 0), (1, 10)), Read((5, 1), (1, 9))]),
        ((10, 10), [Read((0, 0), (1, 10)), Read((9, 0), (1, 10))]),
        ((10, 10), [Read((9, 0), (2, 10))]),
        ((10, 10), [Read((0, 0), (0, 10))]),
        ((10,), [Read((0, 0), (1, 10))]),
        ((), [Read((), ())]),
        ((10, 0), [Read((0, 0), (1, 0))]),
    ],
    ids=[
        "columns",
        "a corner",
        "rows and columns",
        "first and last",
        "beyond the end",
        "none",
        "other dimensions",
        "a scalar",
        "empty rows",
    ],
)
def test_what_is_no_few_rows_is_read_whole(shape, reads):
    parts = Parts([(1, 0)] * math.prod(shape or (1,)))
    assert wanted_rows(reads, shape, 0, 1, parts) is None


@pytest.fixture
def fs(site):
    site.oss.put_object("bucket", "other/object", b"not a checkpoint")
    return osstorchconnector.OssDCPFileSystem(**site.configured(checkpointConfig={"uploadIoSizeMB": 1}))


@pytest.fixture
def _sharded():
    """Ranks that want rows of a tensor hold it as a DTensor."""
    need_torch(SHARDED, "sharded states")


def save_full(fs, **options):
    save(fs, {"a": BESIDE.clone(), "w": FULL.clone(), "z": BESIDE.clone()}, **options)


def load_sharded(rank, fs, dimension=0, dtype=torch.int32):
    from torch.distributed.tensor import Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    own = distribute_tensor(torch.zeros(FULL.shape, dtype=dtype), mesh, [Shard(dimension)])
    state = {"w": own, "a": torch.zeros_like(BESIDE)}
    dcp.load(state, storage_reader=fs.reader(PATH))
    wanted = FULL.chunk(dist.get_world_size(), dim=dimension)[rank].to(dtype)
    return torch.equal(own.to_local(), wanted) and torch.equal(state["a"], BESIDE)


def bytes_read(site, since):
    """Return the bytes of data objects that went out."""
    return sum(
        entry["bytes_out"]
        for entry in site.oss.journal(since)
        if entry.get("operation") == "GetObject" and entry["key"].endswith(".distcp")
    )


@pytest.mark.usefixtures("_sharded")
@pytest.mark.parametrize("dtype", [torch.int32, torch.float64], ids=["in place", "converted"])
def test_ranks_that_want_rows_read_the_parts_around_them(dtype, fs, site):
    save_full(fs)
    since = len(site.oss.journal())
    assert on_ranks(4, load_sharded, fs, 0, dtype) == [True] * 4
    # Four rows each, the part before them and the part behind; and the small tensor.
    small = 4 * 2 * BESIDE.nbytes
    assert FULL.nbytes <= bytes_read(site, since) <= FULL.nbytes + 4 * 2 * MIB + small


@pytest.mark.usefixtures("_sharded")
def test_ranks_that_want_columns_read_the_whole(fs, site):
    save_full(fs)
    since = len(site.oss.journal())
    assert on_ranks(2, load_sharded, fs, 1) == [True] * 2
    assert bytes_read(site, since) >= 2 * FULL.nbytes


def stored(site, name):
    with osstorchconnector.OssCheckpoint(**site.arguments).reader(f"{PATH}/{name}") as reader:
        return reader.read()


def change_manifest(fs, site, change):
    [name] = [name for name in names(fs) if name.startswith(".manifest")]
    manifest = json.loads(stored(site, name))
    change(manifest["shards"][0])
    site.oss.put_object("bucket", f"run/step/{name}", json.dumps(manifest).encode())


def test_the_manifest_has_the_checksum_of_each_part(fs, site):
    save_full(fs)
    [key] = [name for name in names(fs) if name.endswith(".distcp")]
    data = stored(site, key)
    found = []
    change_manifest(fs, site, lambda shard: found.extend(shard["parts"]))
    assert found == [
        [len(data[at : at + MIB]), str(crc64(data[at : at + MIB]))] for at in range(0, len(data), MIB)
    ]


@pytest.mark.usefixtures("_sharded")
def test_a_save_that_noted_no_parts_is_read_whole(fs, site):
    save_full(fs)
    change_manifest(fs, site, lambda shard: shard.pop("parts"))
    since = len(site.oss.journal())
    assert on_ranks(2, load_sharded, fs) == [True] * 2
    assert bytes_read(site, since) >= 2 * FULL.nbytes


@pytest.mark.parametrize(
    "change",
    [
        lambda parts: parts.pop(),
        lambda parts: parts.insert(0, [0, "0"]),
        lambda parts: parts[0].reverse(),
        lambda parts: parts[0].pop(),
        lambda parts: parts.append([-1, "0"]),
    ],
    ids=["one is missing", "an empty one", "turned round", "half of one", "less than nothing"],
)
def test_parts_that_cannot_be_are_refused(change, fs, site):
    save_full(fs)
    change_manifest(fs, site, lambda shard: change(shard["parts"]))
    with pytest.raises(CheckpointException, match=f"{FormatError.__name__}.*manifest is malformed"):
        load(fs, {"w": torch.zeros_like(FULL)})


def load_rows_refused(rank, fs):
    try:
        load_sharded(rank, fs)
    except BaseException as error:  # noqa: BLE001  (torch's CheckpointException is no Exception)
        return [f"{type(failure).__name__}: {failure}" for failure, _ in error.failures.values()]
    return None


@pytest.mark.usefixtures("_sharded")
def test_f67_rows_that_are_not_what_was_written_are_refused(fs, site):
    save_full(fs)
    # In the middle of the last rank's rows, in every answer.
    flipped = {
        "match": {"op": "GetObject", "key": "*.distcp", "range": "any"},
        "action": {"flip_bit": 4_000_000},
    }
    site.oss.rules([flipped])
    for failures in on_ranks(2, load_rows_refused, fs):
        assert failures
        assert any("IntegrityError" in text and "'w'" in text and "CRC-64" in text for text in failures)


@pytest.mark.usefixtures("_sharded")
def test_f67_rows_that_arrive_damaged_once_are_read_again(fs, site):
    save_full(fs)
    flipped = {
        "match": {"op": "GetObject", "key": "*.distcp", "range": "any", "nth": 1},
        "action": {"flip_bit": 4_000_000},
    }
    site.oss.rules([flipped])
    assert on_ranks(2, load_sharded, fs) == [True] * 2
    assert site.oss.rule_hits()[0]["hits"] == 1


@pytest.mark.usefixtures("_sharded")
def test_a_checksum_of_a_part_that_is_wrong_is_found(fs, site):
    save_full(fs)

    def damage(shard):
        shard["parts"][8][1] = "5"

    change_manifest(fs, site, damage)
    told = on_ranks(2, load_rows_refused, fs)
    assert all(any(IntegrityError.__name__ in text for text in failures) for failures in told)
