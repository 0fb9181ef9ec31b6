"""`OssSafetensor`: files of the official library and of the original come back as they are, or not at all."""

from __future__ import annotations

import gc
import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import safetensors.torch
import torch

from osstorchconnector import OssSafetensor
from osstorchconnector.errors import (
    ClosedError,
    ConfigError,
    FormatError,
    IntegrityError,
    NotFoundError,
    ObjectChangedError,
)
from osstorchconnector.safetensors.file import HEAD_BYTES
from osstorchconnector.safetensors.memory import deliver_staged
from tensor_samples import DTYPES, PACKED, bits, received, same, sample

KEY = "m.safetensors"
URI = f"oss://bucket/{KEY}"
KIB, MIB = 1 << 10, 1 << 20


@pytest.fixture
def connector(site):
    return OssSafetensor(**site.arguments)


def state():
    """Tensors of every dtype, and of sizes around what is read at first."""
    tensors = {f"of {dtype}": sample(dtype, (3, 4)) for dtype in DTYPES}
    tensors |= {f"large {number}": sample("bfloat16", (300 + number, 512), number) for number in range(4)}
    return tensors | {"scalar": torch.tensor(7), "nothing": torch.zeros(2, 0)}


def put(site, tensors, metadata=None, key=KEY):
    file = safetensors.torch.save(tensors, metadata)
    site.fill({key: file})
    return file


def test_a_file_of_the_official_library_comes_home(site, connector):
    tensors = state()
    put(site, tensors, {"format": "pt"})
    loaded = connector.load_file(URI)
    assert same(loaded, tensors)
    with connector.safe_open(URI) as opened:
        assert list(loaded) == opened.offset_keys()
        assert sorted(opened.keys()) == sorted(tensors)
        assert opened.metadata() == {"format": "pt"}
        assert same({name: opened.get_tensor(name) for name in opened.keys()}, tensors)  # noqa: SIM118
        assert same(opened.get_tensors(), tensors)


def test_it_does_what_the_official_safe_open_does(site, connector, tmp_path):
    (tmp_path / "m").write_bytes(put(site, state()))
    with connector.safe_open(URI) as ours, safetensors.safe_open(tmp_path / "m", "pt") as theirs:
        # The order of tensors without bytes among their equals is nobody's promise.
        assert [name for name in ours.offset_keys() if name != "nothing"] == [
            name for name in theirs.offset_keys() if name != "nothing"
        ]
        assert set(ours.keys()) == set(theirs.keys())
        for name in theirs.keys():  # noqa: SIM118
            assert bits(ours.get_tensor(name)) == bits(theirs.get_tensor(name))
            assert ours.get_slice(name).get_shape() == theirs.get_slice(name).get_shape()
            assert ours.get_slice(name).get_dtype() == theirs.get_slice(name).get_dtype()


def as_the_original(tensors, metadata):
    """Write what the original writes: its own order, metadata last, no padding."""
    header, offset = {}, 0
    names = {torch.float32: "F32", torch.uint8: "U8", torch.int64: "I64"}
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, offset + size]
        }  # fmt: skip
        offset += size
    text = json.dumps({**header, "__metadata__": metadata}, separators=(",", ":")).encode()
    assert len(text) % 8, "a header that would be padded"
    return len(text).to_bytes(8, "little") + text + b"".join(t.numpy().tobytes() for t in tensors.values())


def test_a_file_of_the_original_comes_home(site, connector):
    tensors = {"b": torch.arange(5, dtype=torch.uint8), "a": torch.randn(3, 3), "c": torch.arange(4)}
    site.fill({KEY: as_the_original(tensors, {"epoch": "4"})})
    with connector.safe_open(URI) as opened:
        assert (opened.keys(), opened.offset_keys()) == (["b", "a", "c"], ["b", "a", "c"])
        assert opened.metadata() == {"epoch": "4"}
    loaded = connector.load_file(URI)
    assert list(loaded) == ["b", "a", "c"]
    assert same(loaded, tensors)


def test_keys_are_in_the_headers_order_and_offset_keys_in_that_of_the_bytes(site, connector):
    header = {
        "last": {"dtype": "U8", "shape": [2], "data_offsets": [1, 3]},
        "first": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
    }
    text = json.dumps(header).encode()
    site.fill({KEY: len(text).to_bytes(8, "little") + text + b"abc"})
    with connector.safe_open(URI) as opened:
        assert (opened.keys(), opened.offset_keys()) == (["last", "first"], ["first", "last"])
        assert bytes(opened.get_tensor("last").numpy()) == b"bc"
        assert opened.metadata() == {}
    assert list(connector.load_file(URI)) == ["first", "last"]


def test_a_small_file_takes_one_get_and_opening_a_large_one_reads_its_head_only(site, connector):
    file = put(site, {"a": torch.zeros(100)})
    connector.load_file(URI)
    assert received(site, KEY, len(file)) == len(file)
    assert len(site.oss.requests("GetObject")) == 1
    put(site, state(), key="large")
    with connector.safe_open("oss://bucket/large"):
        assert received(site, "large", HEAD_BYTES) == HEAD_BYTES


def test_a_long_header_is_read_to_its_end(site, connector):
    tensors = {
        f"a tensor with quite a long name, as they come in models, number {n}": torch.tensor(n)
        for n in range(3000)
    }
    file = put(site, tensors)
    assert int.from_bytes(file[:8], "little") > 2 * HEAD_BYTES
    assert same(connector.load_file(URI), tensors)
    assert received(site, KEY, len(file)) == len(file)


def test_one_tensor_costs_its_bytes_and_the_head(site, connector):
    tensors = {name: sample("uint8", (2 * MIB,), seed) for seed, name in enumerate("abcd")}
    put(site, tensors)
    with connector.safe_open(URI) as opened:
        assert bits(opened.get_tensor("c")) == bits(tensors["c"])
    assert received(site, KEY, HEAD_BYTES + 2 * MIB) == HEAD_BYTES + 2 * MIB


def test_a_whole_load_gets_every_byte_once_and_checks_the_crc(site, connector):
    file = put(site, state())
    connector.load_file(URI)
    assert received(site, KEY, len(file)) == len(file)
    assert connector.stats()["crc_checked"] == 1


@pytest.mark.parametrize("answer", [1, 2])
def test_f18_a_bit_flipped_on_the_way_is_loaded_again(answer, site, connector, caplog):
    tensors = {"a": sample("uint8", (2 * MIB,))}
    put(site, tensors)
    site.oss.rules(
        [{"match": {"op": "GetObject", "nth": [answer]}, "action": {"flip_bit": 100_000}, "times": 1}]
    )
    assert same(connector.load_file(URI), tensors)
    # What came with the head was handed over before anything could be compared: that takes another load.
    assert ("loading it again" in caplog.text) == (answer == 1)
    assert connector.stats()["crc_mismatched"] == 1


def test_f18_bits_flipped_for_ever_are_an_integrity_error(site, connector):
    put(site, {"a": sample("uint8", (2 * MIB,))})
    site.oss.rules([{"match": {"op": "GetObject", "range": "any"}, "action": {"flip_bit": 120_000}}])
    with pytest.raises(IntegrityError, match=URI):
        connector.load_file(URI)
    assert connector.stats()["crc_mismatched"] >= 3


@pytest.mark.parametrize("action", [{"reset_after_bytes": 70_000}, {"truncate_body": 1000}, {"status": 503}])
def test_faults_in_mid_body_are_survived(action, site):
    connector = OssSafetensor(**site.configured(network={"retryBaseSeconds": 0.002}))
    tensors = state()
    put(site, tensors)
    site.oss.rules([{"match": {"op": "GetObject", "nth": [1, 2, 3]}, "action": action, "times": 5}])
    assert same(connector.load_file(URI), tensors)
    assert site.oss.rule_hits()[0]["hits"] > 0


def test_f38_an_object_replaced_between_tensors_is_an_error_and_never_a_mix(site, connector):
    put(site, {name: torch.full((MIB,), 1.0) for name in "ab"})
    with connector.safe_open(URI) as opened:
        assert opened.get_tensor("a").unique().tolist() == [1.0]
        put(site, {name: torch.full((MIB,), 2.0) for name in "ab"})
        with pytest.raises(ObjectChangedError, match=URI):
            opened.get_tensor("b")


def test_a_name_that_is_not_there_is_a_key_error_that_names_near_ones(site, connector):
    put(site, {"model.norm.weight": torch.ones(2), "lm_head.weight": torch.ones(2)})
    with connector.safe_open(URI) as opened:
        for ask in (opened.get_tensor, opened.get_slice):
            with pytest.raises(KeyError, match=r"near names: 'model\.norm\.weight'") as missing:
                ask("model.norm.wieght")
            assert URI in str(missing.value)
        with pytest.raises(KeyError, match="keys"):
            opened.get_tensor("§")


def test_the_block_closes_also_when_it_raises(site, connector):
    put(site, {"a": torch.ones(MIB)})

    def fail():
        with connector.safe_open(URI) as opened:
            failed.append(opened)
            raise ZeroDivisionError

    failed: list = []
    with pytest.raises(ZeroDivisionError):
        fail()
    (opened,) = failed
    for use in (opened.keys, opened.offset_keys, opened.metadata, opened.get_tensors):
        with pytest.raises(ClosedError, match="it was closed"):
            use()
    with pytest.raises(ClosedError):
        opened.get_tensor("a")
    opened.close()


def test_a_slice_of_a_closed_file_is_an_error(site, connector):
    put(site, {"a": torch.ones(MIB)})
    with connector.safe_open(URI) as opened:
        part = opened.get_slice("a")
    for index in (slice(-10, None), slice(10)):
        with pytest.raises(ClosedError):
            part[index]


def test_a_header_that_lies_is_named_before_anything_is_allocated(site, connector):
    lie = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    site.fill(
        {KEY: len(lie).to_bytes(8, "little") + lie + bytes(16), "empty": b"", "text": b"no tensors at all"}
    )
    for key in (KEY, "empty", "text"):
        for use in (connector.safe_open, connector.load_file):
            with pytest.raises(FormatError, match=f"safe_open oss://bucket/{key}: not a safetensors file"):
                use(f"oss://bucket/{key}")
    assert received(site, "empty", 0) == 0


def test_a_dtype_that_torch_lacks_is_named_before_a_tensor_is_read(site, connector):
    header = {
        "a": {"dtype": "U8", "shape": [MIB], "data_offsets": [0, MIB]},
        "b": {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [MIB, MIB + 3]},
        "c": {"dtype": "F4", "shape": [2, 3], "data_offsets": [MIB + 3, MIB + 6]},
    }
    text = json.dumps(header).encode()
    site.fill({KEY: len(text).to_bytes(8, "little") + text + bytes(MIB + 6)})
    with pytest.raises(FormatError, match="tensor 'b' is F6_E2M3"):
        connector.load_file(URI)
    assert received(site, KEY, HEAD_BYTES) == HEAD_BYTES
    with connector.safe_open(URI) as opened:
        assert opened.get_slice("b").get_shape() == [4]
        assert opened.get_tensor("a").numel() == MIB
        # Older torches have no such numbers at all.
        with pytest.raises(FormatError, match="in pairs" if PACKED in DTYPES else "F4, which torch"):
            opened.get_tensor("c")


def test_a_missing_file_is_named(connector, site):
    site.fill({"exists": b"x"})
    with pytest.raises(NotFoundError, match=URI):
        connector.load_file(URI)


def test_wrong_arguments_are_value_errors_before_any_request(site, connector):
    site.fill({"exists": b"x"})
    before = len(site.oss.requests())
    for uri in ("", "oss://", "oss://bucket", "s3://b/k", "relative"):
        for use in (connector.safe_open, connector.load_file, lambda uri: connector.save_file({}, uri)):
            with pytest.raises(ValueError, match="oss_uri"):
                use(uri)
    for device in ("nowhere", "meta", "cuda:99", object()):
        with pytest.raises(ConfigError, match="device"):
            connector.load_file(URI, device)
    assert len(site.oss.requests()) == before
    with pytest.raises(ValueError, match="endpoint"):
        OssSafetensor("")


@pytest.mark.parametrize("device", [None, "cpu", torch.device("cpu")])
def test_the_cpu_has_several_names(device, site, connector):
    put(site, {"a": torch.ones(2)})
    assert connector.load_file(URI, device)["a"].device.type == "cpu"


@pytest.mark.parametrize("stage_bytes", [1, 7, 64, 4096, 1 << 20])
def test_what_passes_through_stages_arrives_whole(stage_bytes, site, connector):
    """The way to a GPU, whose targets are here in host memory too."""
    tensors = {
        f"t{number}": sample("uint8", (size,), number)
        for number, size in enumerate([5, 1, 0, 700, 64, 3, 1000])
    }
    put(site, tensors)
    with connector.safe_open(URI) as opened:
        (file,) = opened._names
        targets = {name: torch.empty_like(tensor) for name, tensor in tensors.items()}
        landings = [(file.header.tensors[name].begin, targets[name]) for name in opened.offset_keys()]
        deliver_staged(file.fill, landings, torch.device("cpu"), stage_bytes)
    assert same(targets, tensors)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_tensors_arrive_on_a_gpu(site, connector):
    tensors = state() | {"larger than a stage": sample("uint8", (150 * MIB,))}
    put(site, tensors)
    for device in (0, "cuda", "cuda:0"):
        loaded = connector.load_file(URI, device)
        assert {tensor.device.type for tensor in loaded.values()} == {"cuda"}
        assert same(loaded, tensors)
    with connector.safe_open(URI, 0) as opened:
        assert opened.get_slice("large 0")[3:5].device.type == "cuda"
    connector.save_file(loaded, URI)
    assert same(connector.load_file(URI), tensors)


def test_tensors_are_their_owners_and_outlive_the_file(site, connector):
    put(site, {"a": torch.ones(1000), "b": torch.ones(1000)})
    with connector.safe_open(URI) as opened:
        kept, again = opened.get_tensor("a"), opened.get_tensor("a")
    del opened
    gc.collect()
    kept += 1
    assert (kept.sum(), again.sum()) == (2000, 1000)
    assert kept.untyped_storage().nbytes() == 4000
    assert connector.load_file(URI)["b"].untyped_storage().nbytes() == 4000


PEAKS = """
import sys
from pathlib import Path
import torch
from osstorchconnector import OssSafetensor

def figure(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) >> 10

def peak_above(use):
    Path("/proc/self/clear_refs").write_text("5")
    before = figure("VmRSS")
    kept = use()
    return figure("VmHWM") - before

torch.set_num_threads(1)
connector = OssSafetensor(*sys.argv[1:4], region=sys.argv[4])
tensors = {f"t{number}": torch.ones(8 << 20) for number in range(8)}
uri = "oss://bucket/m.safetensors"
print(peak_above(lambda: connector.save_file(tensors, uri)))
del tensors
connector.load_file(uri)
print(peak_above(lambda: connector.load_file(uri)))
"""


def test_memory_is_the_tensors_and_a_window_for_loading_and_a_window_for_saving(site):
    """A file of 256 MiB, in a process of its own."""
    site.fill({"exists": b"x"})
    arguments = [site.arguments[name] for name in ("endpoint", "cred_path", "config_path", "region")]
    ran = subprocess.run(
        [sys.executable, "-c", PEAKS, *arguments], capture_output=True, text=True, timeout=55, check=False
    )
    assert ran.returncode == 0, ran.stderr
    saving, loading = map(int, ran.stdout.split())
    # Of MiB: the write window, or the bytes in flight, and some room for threads.
    assert saving <= 256 + 32
    assert loading <= 256 + 64 + 32


def test_threads_share_an_open_file(site, connector):
    tensors = {f"t{number}": sample("uint8", (200 * KIB,), number) for number in range(16)}
    put(site, tensors)
    with connector.safe_open(URI) as opened, ThreadPoolExecutor(4) as pool:
        loaded = dict(zip(tensors, pool.map(opened.get_tensor, tensors), strict=True))
    assert same(loaded, tensors)


def test_it_pickles_by_value(site, connector):
    put(site, {"a": torch.ones(3)})
    pickled = pickle.dumps(connector)
    assert site.oss.access_key_secret.encode() not in pickled
    assert pickle.loads(pickled).load_file(URI)["a"].sum() == 3
    assert repr(connector) == f"OssSafetensor(endpoint={site.oss.endpoint!r})"
