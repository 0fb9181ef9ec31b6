"""`readinto_ranges`: many buffers from many offsets of one version, each with its checksum."""

from __future__ import annotations

import array
import io
import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from osstorchconnector import OssCheckpoint
from osstorchconnector.checksum import crc64
from osstorchconnector.errors import ConfigError, IntegrityError, ObjectChangedError
from osstorchconnector.local import LocalStore
from osstorchconnector.streams import ObjectReader

URI = "oss://bucket/k"
MIB = 1 << 20
DATA = random.Random(7).randbytes(9 * MIB + 17)


@pytest.fixture(params=["oss", "file", "memory"])
def reader(request, tmp_path):
    """Give a reader of DATA, of every kind of source."""
    if request.param == "oss":
        site = request.getfixturevalue("site")
        site.fill({"k": DATA})
        stream = OssCheckpoint(**site.arguments).reader(URI)
    elif request.param == "file":
        (tmp_path / "k").write_bytes(DATA)
        stream = LocalStore().open_reader(str(tmp_path / "k"))
    else:
        stream = ObjectReader.of_bytes(DATA, "/bucket/k")
    with stream:
        yield stream


def check(reader, ranges):
    """Read the ranges (offset, size) and compare bytes and checksums."""
    buffers = [bytearray(size) for _, size in ranges]
    sums = reader.readinto_ranges(
        [(offset, buffer) for (offset, _), buffer in zip(ranges, buffers, strict=True)]
    )
    for (offset, size), buffer, checksum in zip(ranges, buffers, sums, strict=True):
        assert buffer == DATA[offset : offset + size]
        assert checksum == crc64(buffer)


def test_every_buffer_gets_its_bytes_and_its_checksum(reader):
    reader.seek(5)
    check(reader, [(8 * MIB, MIB), (0, 7), (7, 0), (7, 3 * MIB), (100, 50), (9 * MIB, 17), (len(DATA), 0)])
    assert reader.tell() == 5
    assert reader.read(3) == DATA[5:8]
    assert reader.readinto_ranges([]) == []
    random_ranges = random.Random(3)
    starts = [random_ranges.randrange(len(DATA) - 70_000) for _ in range(60)]
    check(reader, [(start, random_ranges.randrange(70_000)) for start in starts])


def test_any_kind_of_writable_memory_is_filled(reader):
    numbers, tensor = array.array("d", bytes(800)), np.zeros((10, 20), dtype=np.int16)
    ranges = ((offset, buffer) for offset, buffer in [(100, numbers), (5000, tensor)])
    assert reader.readinto_ranges(ranges) == [crc64(DATA[100:900]), crc64(DATA[5000:5400])]
    assert numbers.tobytes() == DATA[100:900]
    assert tensor.tobytes() == DATA[5000:5400]


def test_a_range_outside_the_object_is_refused(reader):
    buffer = bytearray(20)
    for offset in (-1, len(DATA) - 19, 1 << 62):
        with pytest.raises(ValueError, match=r"offset|bytes"):
            reader.readinto_ranges([(0, bytearray(3)), (offset, buffer)])
    assert buffer == bytes(20)


def test_a_buffer_that_cannot_be_filled_is_refused(reader):
    for wrong in (b"read only", np.zeros((10, 10))[:, ::2]):
        with pytest.raises(BufferError):
            reader.readinto_ranges([(0, wrong)])
    with pytest.raises(TypeError):
        reader.readinto_ranges([(0, 17)])


def test_after_an_error_the_buffers_are_free(site):
    site.fill({"k": DATA})
    with OssCheckpoint(**site.arguments).reader(URI) as reader:
        buffer = bytearray(10)
        with pytest.raises(ConfigError, match="were asked for") as refused:
            reader.readinto_ranges([(0, buffer), (len(DATA), bytearray(1))])
        buffer.extend(b"it can be resized")
        assert refused.value.uri == URI
        with pytest.raises(ValueError, match="share memory"):
            reader.readinto_ranges([(0, memoryview(buffer)[:8]), (9, memoryview(buffer)[7:])])
    assert not site.oss.requests("GetObject")


def test_parts_of_one_buffer_may_be_filled_apart(reader):
    buffer = bytearray(300)
    parts = [memoryview(buffer)[at : at + 100] for at in (200, 0, 100)]
    reader.readinto_ranges([(at, part) for at, part in zip((7000, 50, 9000), parts, strict=True)])
    assert buffer == DATA[50:150] + DATA[9000:9100] + DATA[7000:7100]


@pytest.mark.parametrize(
    "action", [{"reset_after_bytes": 100_000}, {"truncate_body": 70_000}, {"status": 503}]
)
def test_faults_in_mid_body_are_survived(action, site):
    site.fill({"k": DATA})
    site.oss.rules([{"match": {"op": "GetObject", "nth": [1, 2]}, "action": action}])
    with OssCheckpoint(**site.configured(network={"retryBaseSeconds": 0.002})).reader(URI) as reader:
        check(reader, [(0, 50_000), (50_000, 5 * MIB), (8 * MIB, 100), (8 * MIB + 5000, 500_000)])


def test_damage_is_never_handed_over(site):
    site.fill({"k": DATA})
    ranges = [(0, 100), (100, 5 * MIB), (100 + 5 * MIB, len(DATA) - 100 - 5 * MIB)]
    checkpoint = OssCheckpoint(**site.configured(network={"retryBaseSeconds": 0.002}))
    site.oss.rules([{"match": {"op": "GetObject", "nth": [2]}, "action": {"flip_bit": 77}}])
    with checkpoint.reader(URI) as reader:
        check(reader, ranges)
    assert checkpoint.stats()["crc_mismatched"] == 1
    site.oss.rules([{"match": {"op": "GetObject"}, "action": {"flip_bit": 77}}])
    with checkpoint.reader(URI) as reader, pytest.raises(IntegrityError, match="CRC-64"):
        check(reader, ranges)


def test_a_replaced_object_is_an_error_and_never_a_mix(site):
    site.fill({"k": DATA})
    with OssCheckpoint(**site.arguments).reader(URI) as reader:
        check(reader, [(0, 100)])
        site.fill({"k": DATA[::-1]})
        with pytest.raises(ObjectChangedError):
            check(reader, [(5 * MIB, 100), (8 * MIB, MIB)])


def test_an_interrupt_ends_it_at_once_and_frees_the_buffers(site):
    site.fill({"k": DATA})
    site.oss.rules([{"match": {"op": "GetObject"}, "action": {"stall_after_bytes": 1000}}])
    script = textwrap.dedent(
        """
        import sys, time
        from osstorchconnector import OssCheckpoint

        endpoint, region, cred_path, config_path = sys.argv[1:]
        reader = OssCheckpoint(endpoint, cred_path, config_path, region=region).reader("oss://bucket/k")
        buffers = [bytearray(1 << 20) for _ in range(9)]
        print(reader.size, flush=True)
        try:
            reader.readinto_ranges([(at << 20, buffer) for at, buffer in enumerate(buffers)])
        except KeyboardInterrupt:
            for buffer in buffers:
                buffer.clear()
            print(time.monotonic(), flush=True)
        """
    )
    arguments = [site.arguments[name] for name in ("endpoint", "region", "cred_path", "config_path")]
    with subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline().strip() == str(len(DATA))
        while not site.oss.rule_hits()[0]["hits"]:
            assert process.poll() is None
        sent = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        assert float(process.stdout.readline()) - sent < 0.2
    assert process.returncode == 0


def test_the_source_is_a_plain_stream_to_others(reader):
    check(reader, [(10, 10)])
    assert io.BufferedReader(reader).read(10) == DATA[:10]
