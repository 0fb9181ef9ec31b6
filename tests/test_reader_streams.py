"""A reader over the wire is a binary stream like any: beside a real file, and below the libraries that take files."""

from __future__ import annotations

import gzip
import io
import random
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

from osstorchconnector import OssCheckpoint
from osstorchconnector.errors import RequestTimeoutError
from osstorchconnector.streams import ObjectReader

URI = "oss://bucket/k"
MIB = 1 << 20
SIZE = 2 * MIB + 777

POSITIONS = st.integers(0, SIZE + 1000) | st.integers(SIZE - 300, SIZE + 10) | st.integers(0, 300)
COUNTS = st.integers(0, 3000) | st.sampled_from([-1, 1, MIB - 1, MIB, MIB + 1, SIZE])
STEPS = st.one_of(
    st.tuples(st.just("read"), COUNTS),
    st.tuples(st.just("read1"), st.integers(0, 3000)),
    st.tuples(st.just("readinto"), COUNTS.map(abs)),
    st.tuples(st.just("readline"), st.integers(-1, 400)),
    st.tuples(st.just("readlines"), st.integers(1, 2000)),
    st.tuples(st.just("next"), st.just(0)),
    st.tuples(st.just("seek"), POSITIONS),
    st.tuples(st.just("skip"), st.integers(-2000, 2000)),
    st.tuples(st.just("from_end"), st.integers(-SIZE - 5, 100)),
)


def lines():
    """Return text-like bytes with short, long and empty lines."""
    source = random.Random(11)
    data = bytearray(source.randbytes(SIZE).replace(b"\n", b"-"))
    for _ in range(40_000):
        data[source.randrange(SIZE)] = 10
    return bytes(data)


DATA = lines()


def take(stream, step):
    """Do one step; return what it gave, or the class of what it raised, and the position."""
    name, number = step
    try:
        if name == "readinto":
            buffer = bytearray(number)
            count = stream.readinto(buffer)
            result = bytes(buffer[:count])
        elif name == "next":
            result = next(stream, None)
        elif name == "seek":
            result = stream.seek(number)
        elif name == "skip":
            result = stream.seek(number, io.SEEK_CUR)
        elif name == "from_end":
            result = stream.seek(number, io.SEEK_END)
        else:
            result = getattr(stream, name)(number)
    except (OSError, ValueError):
        # A file says OSError for a negative position, `io.BytesIO` and we say ValueError.
        result = "refused"
    return result, stream.tell()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=1, max_size=12))
def test_any_use_gives_what_a_file_gives(steps, site, tmp_path):
    path = tmp_path / "k"
    if not path.exists():
        path.write_bytes(DATA)
        site.fill({"k": DATA})
    with open(path, "rb") as file, OssCheckpoint(**site.arguments).reader(URI) as reader:
        for step in steps:
            expected, found = take(file, step), take(reader, step)
            if step[0] == "read1":
                # A file gives what it has in its buffer: any non-empty beginning is right.
                assert found[0] == DATA[found[1] - len(found[0]) : found[1]]
                assert bool(found[0]) == bool(expected[0])
                file.seek(found[1])
                continue
            assert found == expected, step


def test_iteration_gives_every_line(site):
    site.fill({"k": DATA})
    with OssCheckpoint(**site.arguments).reader(URI) as reader:
        assert list(reader) == list(io.BytesIO(DATA))
        assert reader.read() == b""
        reader.seek(0)
        assert reader.readlines() == list(io.BytesIO(DATA))


@pytest.fixture
def opened(site):
    """Give a function that stores bytes and opens them."""
    checkpoint = OssCheckpoint(**site.arguments)

    def store_and_open(data):
        site.fill({"k": data})
        return checkpoint.reader(URI)

    return store_and_open


def saved_by(save):
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


def test_numpy_loads_arrays_and_archives(opened):
    one, two = np.arange(700_000), np.random.default_rng(3).normal(size=(300, 1000))
    assert np.array_equal(np.load(opened(saved_by(lambda file: np.save(file, one)))), one)
    with np.load(opened(saved_by(lambda file: np.savez(file, one=one, two=two)))) as archive:
        assert np.array_equal(archive["two"], two)
        assert np.array_equal(archive["one"], one)


def test_pillow_opens_pictures(opened):
    picture = Image.effect_noise((400, 300), 50)
    for kind in ("PNG", "BMP", "TIFF"):
        with Image.open(opened(saved_by(lambda file, kind=kind: picture.save(file, kind)))) as read:
            assert read.convert("L").tobytes() == picture.tobytes()


def test_zip_and_gzip_files_are_read(opened):
    members = {f"m{number}": random.Random(number).randbytes(300_000) for number in range(8)}

    def pack(file):
        with zipfile.ZipFile(file, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)

    with zipfile.ZipFile(opened(saved_by(pack))) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in reversed(archive.namelist())} == members
    with gzip.open(opened(gzip.compress(DATA, 1))) as unpacked:
        assert unpacked.read() == DATA


def test_parquet_files_are_read(opened):
    table = pa.table({"number": list(range(200_000)), "text": [f"row {row}" for row in range(200_000)]})
    data = saved_by(lambda file: parquet.write_table(table, file, row_group_size=20_000))
    with opened(data) as reader:
        assert parquet.read_table(reader).equals(table)
    with opened(data) as reader:
        assert parquet.ParquetFile(reader).read_row_group(7, ["number"])["number"][0].as_py() == 140_000


def test_text_is_decoded(opened):
    text = "zwölf Boxkämpfer\njagen Viktor\n\nquer über den großen Sylter Deich\n" * 20_000
    stream = io.TextIOWrapper(opened(text.encode()), encoding="utf-8")
    assert stream.read(100) == text[:100]
    stream.seek(0)
    assert stream.readlines() == text.splitlines(keepends=True)
    buffered = io.BufferedReader(opened(DATA), 4096)
    assert buffered.peek(1)[:1] == DATA[:1]
    assert buffered.read() == DATA


def gets(site):
    return [entry for entry in site.oss.requests() if entry["operation"] == "GetObject"]


def resident_bytes():
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in line]
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("size", [4 * MIB, 16 * MIB])
def test_f71_reading_on_in_large_pieces_keeps_no_more_than_what_lies_ahead(size, site):
    site.oss.fill("bucket", "huge/", 1, 256 * MIB, synthetic=True)
    buffer, total = bytearray(size), 0
    with OssCheckpoint(**site.arguments).reader("oss://bucket/huge/00000000") as reader:
        before = resident_bytes()
        while count := reader.readinto(buffer):
            total += count
        # The object stays open: whatever it still holds is counted.
        grown = resident_bytes() - before
    assert total == 256 * MIB
    assert grown < 96 * MIB


def test_torch_load_asks_for_no_byte_twice(site, opened):
    torch.manual_seed(5)
    # Ten: torch 2.0 stores more of them by the text of their numbers, and loads them by their numbers.
    state = {f"layer{number}": torch.randn(300 + 200 * number, 500) for number in range(10)}
    data = saved_by(lambda file: torch.save(state, file))
    with opened(data) as reader:
        before = len(gets(site))
        loaded = torch.load(reader, weights_only=True)
        assert all(torch.equal(loaded[name], state[name]) for name in state)
    sent = gets(site)[before:]
    assert sum(entry["bytes_out"] for entry in sent) <= len(data)
    # The tail, and the rest in parts of 256 KiB growing to 4 MiB.
    assert len(sent) <= 12 + len(data) // (4 * MIB)


def test_a_visit_to_the_tail_leaves_the_stream_ahead_alone(site, opened):
    data = random.Random(2).randbytes(12 * MIB)
    with opened(data) as reader:
        before = len(gets(site))
        assert reader.read(100_000) == data[:100_000]
        reader.seek(-500, io.SEEK_END)
        assert reader.read() == data[-500:]
        reader.seek(100_000)
        rest = b"".join(iter(lambda: reader.read(50_000), b""))
        assert rest == data[100_000:]
    assert sum(entry["bytes_out"] for entry in gets(site)[before:]) == len(data)


def test_a_whole_read_in_any_pieces_is_checked(site):
    site.fill({"k": DATA})
    checkpoint = OssCheckpoint(**site.arguments)
    with checkpoint.reader(URI) as reader:
        reader.seek(-100, io.SEEK_END)
        reader.read()
        reader.seek(0)
        buffer = bytearray(SIZE - 100)
        assert reader.readinto(buffer) == len(buffer)
    assert checkpoint.stats()["crc_checked"] == 1


@pytest.mark.parametrize("size", [1, 5000, 300_000, SIZE])
def test_damage_in_a_whole_read_is_fetched_again(size, site):
    site.fill({"k": DATA[:size]})
    checkpoint = OssCheckpoint(**site.configured(network={"retryBaseSeconds": 0.002}))
    site.oss.rules([{"match": {"op": "GetObject"}, "action": {"flip_bit": 3}, "times": 1}])
    with checkpoint.reader(URI) as reader:
        assert reader.read() == DATA[:size]
    assert checkpoint.stats()["crc_mismatched"] == 1


def test_the_least_range_of_the_config_file_is_kept(site):
    site.fill({"k": random.Random(2).randbytes(20 * MIB)})
    arguments = site.configured(checkpointConfig={"prefetchIoSizeMB": 8})
    with OssCheckpoint(**arguments).reader(URI) as reader:
        reader.readinto(bytearray(20 * MIB))
        # An answer is in the journal a moment before its last byte is counted.
        while sum(entry["bytes_out"] for entry in gets(site)) < 20 * MIB:
            pass
        sizes = sorted(entry["bytes_out"] for entry in gets(site))
        assert sizes == [4 * MIB, 8 * MIB, 8 * MIB]
    with OssCheckpoint(**arguments).reader(URI) as reader:
        reader.seek(3 * MIB)
        reader.read(10)
        while gets(site)[3]["bytes_out"] < 8 * MIB:
            pass
    assert gets(site)[3]["bytes_out"] == 8 * MIB


class Failing(io.BytesIO):
    """A source whose `readinto` fails from the third call on, and whose `read` counts its calls after that."""

    def __init__(self, data, failure):
        super().__init__(data)
        self.failure, self.fills, self.reads_after = failure, 0, 0

    def readinto(self, buffer):
        self.fills += 1
        if self.fills > 2:
            raise self.failure
        return super().readinto(buffer)

    def read(self, size=-1):
        self.reads_after += self.fills > 2
        return super().read(size)


@pytest.mark.parametrize(
    "failure", [KeyboardInterrupt(), RequestTimeoutError("GetObject oss://bucket/k: late")]
)
def test_what_ends_a_torch_load_comes_out_as_itself(failure):
    # torch's reader of archives drops a failure of `readinto` and asks `read`, with the exception still standing.
    file = io.BytesIO()
    torch.save({f"w{number}": torch.ones(1000) for number in range(8)}, file)
    source = Failing(file.getvalue(), failure)
    with pytest.raises(type(failure)) as raised:
        torch.load(ObjectReader(source, "/bucket/k", len(file.getvalue())), weights_only=True)
    assert raised.value is failure
    assert source.reads_after == 0
