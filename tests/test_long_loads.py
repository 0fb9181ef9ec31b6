"""What the log says of a load that takes long, however the object is read: its progress, and its time at the end."""

from __future__ import annotations

import io
import logging
import re

import pytest
import torch

from osstorchconnector import OssCheckpoint, OssSafetensor

MIB = 1 << 20
URI = "oss://bucket/ckpt/e0"
LINE = re.compile(r"load(ed)? (oss://\S+): (\d+) bytes in (\d+\.\d) s \(\d+\.\d{3} GB/s\)")
SLOW = [{"match": {"op": "GetObject"}, "action": {"rate_bytes_per_second": 8 * MIB}}]


@pytest.fixture
def quick_timers(site, caplog):
    """Give arguments whose ticks are 10 ms: what is said every ten seconds is said ten times a second."""
    site.fill({"there": b"an object"})
    caplog.set_level(logging.INFO, "osstorchconnector.read")
    return site.configured(network={"tickSeconds": 0.01})


def lines(caplog):
    """Return what was said of loads: (whether it is the end, uri, bytes, seconds)."""
    said = [LINE.fullmatch(record.getMessage()) for record in caplog.records if record.name.endswith(".read")]
    assert None not in said
    return [(bool(line[1]), line[2], int(line[3]), float(line[4])) for line in said if line is not None]


def read_at_once(reader, size):
    assert len(reader.read()) == size


def read_into(reader, size):
    assert reader.readinto(bytearray(size)) == size


def read_ranges(reader, size):
    half = size // 2
    reader.readinto_ranges([(half, bytearray(size - half)), (0, bytearray(half))])


def read_bit_by_bit(reader, size):
    assert sum(len(piece) for piece in iter(lambda: reader.read(100_000), b"")) == size


@pytest.mark.parametrize("read", [read_at_once, read_into, read_ranges, read_bit_by_bit])
def test_a_long_load_logs_its_progress_while_it_lasts_and_its_time_at_the_end(
    read, site, quick_timers, caplog
):
    size = 8 * MIB + 5
    site.fill({"ckpt/e0": bytes(size)})
    site.oss.rules(SLOW)
    with OssCheckpoint(**quick_timers).reader(URI) as reader:
        read(reader, size)
        # Who reads everything at once often closes nothing.
        if read is read_at_once:
            assert any(is_end for is_end, *_ in lines(caplog))
    *during, last = lines(caplog)
    assert during
    assert not any(is_end for is_end, *_ in during)
    assert [uri for _, uri, *_ in (*during, last)] == [URI] * (len(during) + 1)
    moved, seconds = [line[2] for line in during], [line[3] for line in during]
    assert moved == sorted(moved)
    assert seconds == sorted(seconds)
    is_end, _, size_bytes, took = last
    assert (is_end, size_bytes) == (True, size)
    assert took >= seconds[-1]


@pytest.mark.usefixtures("quick_timers")
def test_the_program_s_own_time_is_no_time_of_a_load(site, caplog):
    site.fill({"ckpt/e0": bytes(MIB)})
    arguments = site.configured(network={"tickSeconds": 0.05})
    with OssCheckpoint(**arguments).reader(URI) as reader:
        reader.read(10)
        site.oss.rules([{"match": {"op": "HeadObject"}, "action": {"delay_ms": 700}}])
        # The program does something else for as long as would be told of.
        assert OssCheckpoint(**site.arguments).reader("oss://bucket/there").size == len(b"an object")
        reader.read(10)
    assert lines(caplog) == []


def test_torch_and_safetensors_tell_of_their_loads(site, quick_timers, caplog):
    state = {"weights": torch.arange(2 * MIB).float()}
    packed = io.BytesIO()
    torch.save(state, packed)
    saving = OssSafetensor(**site.arguments)
    saving.save_file(state, "oss://bucket/model.safetensors")
    site.fill({"ckpt/e0": packed.getvalue()})
    site.oss.rules(SLOW)
    with OssCheckpoint(**quick_timers).reader(URI) as reader:
        assert torch.equal(torch.load(reader, weights_only=True)["weights"], state["weights"])
    loaded = OssSafetensor(**quick_timers).load_file("oss://bucket/model.safetensors")
    assert torch.equal(loaded["weights"], state["weights"])
    ends = [(uri, size_bytes) for is_end, uri, size_bytes, _ in lines(caplog) if is_end]
    assert [uri for uri, _ in ends] == [URI, "oss://bucket/model.safetensors"]
    assert all(size_bytes >= 8 * MIB for _, size_bytes in ends)
