"""Checkpoints in several files: one index, the needed bytes of each shard, and nothing without all of them."""

from __future__ import annotations

import json

import pytest
import safetensors.torch
import torch

from osstorchconnector import OssSafetensor
from osstorchconnector.errors import FormatError, NotFoundError
from osstorchconnector.safetensors.file import HEAD_BYTES
from tensor_samples import bits, received, same, sample

MIB = 1 << 20
INDEX = "model.safetensors.index.json"
DIRECTORY = "oss://bucket/llm/"
NAMES = [f"model-{number:05}-of-00003.safetensors" for number in (1, 2, 3)]
SHARDS = {
    NAMES[0]: {"a": sample("uint8", (2 * MIB,), 1), "b": sample("bfloat16", (100,), 2)},
    NAMES[1]: {"c": sample("float32", (3, 3), 3)},
    NAMES[2]: {"d": sample("uint8", (MIB,), 4), "e": sample("uint8", (MIB,), 5), "extra": torch.ones(3)},
}
TENSORS = {name: tensor for shard in SHARDS.values() for name, tensor in shard.items() if name != "extra"}
WEIGHT_MAP = {name: shard for shard, held in SHARDS.items() for name in held if name != "extra"}


@pytest.fixture
def connector(site):
    return OssSafetensor(**site.arguments)


def put(site, left_out=(), **index):
    files = {
        f"llm/{shard}": safetensors.torch.save(tensors, {"format": "pt", "shard": shard})
        for shard, tensors in SHARDS.items()
        if shard not in left_out
    }
    document = {"metadata": {"total_size": 5}, "weight_map": WEIGHT_MAP, **index}
    site.fill({**files, f"llm/{INDEX}": json.dumps(document).encode()})


@pytest.mark.parametrize("uri", [DIRECTORY, DIRECTORY[:-1], DIRECTORY + INDEX, "/bucket/llm/"])
def test_a_checkpoint_is_loaded_by_its_index_or_its_directory(uri, site, connector):
    put(site)
    assert same(connector.load_file(uri), TENSORS)


def test_names_come_from_the_index_and_metadata_from_the_shards(site, connector):
    weight_map = dict(reversed(WEIGHT_MAP.items()))
    put(site, weight_map=weight_map)
    with connector.safe_open(DIRECTORY) as opened:
        assert opened.keys() == list(weight_map)
        # Shard by shard, as the index names them first; within one the widest type comes first.
        assert opened.offset_keys() == ["d", "e", "c", "b", "a"]
        assert opened.metadata() == {"format": "pt", "shard": NAMES[2]}
        with pytest.raises(KeyError, match="no tensor 'extra'"):
            opened.get_tensor("extra")


def test_one_tensor_costs_its_bytes_and_the_heads_of_the_shards(site, connector):
    put(site)
    with connector.safe_open(DIRECTORY) as opened:
        assert bits(opened.get_tensor("e")) == bits(TENSORS["e"])
        assert bits(opened.get_slice("a")[MIB : MIB + 100]) == bits(TENSORS["a"][MIB : MIB + 100])
    assert received(site, f"llm/{NAMES[0]}", HEAD_BYTES + 100) == HEAD_BYTES + 100
    assert received(site, f"llm/{NAMES[1]}", 1) < 1000
    assert received(site, f"llm/{NAMES[2]}", HEAD_BYTES + MIB) == HEAD_BYTES + MIB


def test_a_large_tensor_that_the_index_leaves_out_does_not_travel(site, connector):
    held = {
        name: sample("uint8", (size,), size) for name, size in (("a", MIB), ("large", 4 * MIB), ("z", MIB))
    }
    file = safetensors.torch.save(held)
    weight_map = {"a": "part", "z": "part"}
    site.fill({"part/part": file, f"part/{INDEX}": json.dumps({"weight_map": weight_map}).encode()})
    assert same(connector.load_file("oss://bucket/part/"), {name: held[name] for name in weight_map})
    gets = [entry for entry in journal_at_rest(site) if entry.get("operation") == "GetObject"]
    reads = [entry for entry in gets if entry["key"] == "part/part"]
    assert sum(entry["bytes_out"] for entry in reads) == len(file) - 4 * MIB, "the header, and two tensors"


def journal_at_rest(site):
    """Wait until the service has ended every request that it began; a long answer is the last to be told."""
    while True:
        journal = site.oss.journal()
        if all(entry["elapsed_ms"] is not None for entry in journal if "operation" in entry):
            return journal
        site.oss.wait_for_journal(len(journal) + 1, timeout_seconds=0.05)


def test_a_directory_with_one_file_is_that_file(site, connector):
    site.fill({"small/model.safetensors": safetensors.torch.save({"a": torch.ones(3)})})
    assert connector.load_file("oss://bucket/small/")["a"].sum() == 3


@pytest.mark.parametrize("uri", [DIRECTORY, DIRECTORY[:-1], DIRECTORY + INDEX])
@pytest.mark.parametrize("missing", NAMES)
def test_a_missing_shard_is_named_before_any_tensor_is_read(missing, uri, site, connector):
    put(site, left_out=[missing])
    for use in (connector.load_file, connector.safe_open):
        with pytest.raises(NotFoundError) as refused:
            use(uri)
        assert f"{DIRECTORY}{missing}: " in str(refused.value)
        assert f"{DIRECTORY}{INDEX} names it" in str(refused.value)
        assert "\n" not in str(refused.value)
    assert all(received(site, f"llm/{name}", 0) <= 2 * HEAD_BYTES for name in NAMES)


def test_nothing_there_is_named(site, connector):
    site.fill({"exists": b"x"})
    with pytest.raises(
        NotFoundError, match=r"oss://bucket/llm/model.safetensors: .*or model.safetensors.index.json"
    ):
        connector.load_file(DIRECTORY)
    with pytest.raises(NotFoundError, match="oss://bucket/llm: "):
        connector.load_file(DIRECTORY[:-1])
    with pytest.raises(NotFoundError, match=INDEX):
        connector.load_file(DIRECTORY + INDEX)


def test_a_damaged_shard_is_named(site, connector):
    put(site)
    site.fill({f"llm/{NAMES[1]}": b"no tensors"})
    with pytest.raises(FormatError, match=f"{NAMES[1]}: not a safetensors file"):
        connector.load_file(DIRECTORY)


def test_a_tensor_that_is_not_in_its_shard_is_named(site, connector):
    put(site, weight_map={**WEIGHT_MAP, "f": NAMES[1]})
    with pytest.raises(FormatError, match=f"tensor 'f' is not in {DIRECTORY}{NAMES[1]}"):
        connector.safe_open(DIRECTORY)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{", b"[]", b"null", b"{}", b'{"weight_map": []}', b'{"weight_map": {"a": 1}}', b"\xff\xfe",
        b'{"weight_map": {"a": "../secret"}}', b'{"weight_map": {"a": "/bucket/other"}}', b'{"weight_map": {"a": ""}}',
        b'{"weight_map": {"a": "oss://other/x"}}', b'{"weight_map": {"a": "x", "a": "y"}}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_an_index_that_is_none_is_a_format_error(text, site, connector):
    site.fill({f"llm/{INDEX}": text})
    with pytest.raises(FormatError, match=f"safe_open {DIRECTORY}{INDEX}: not an index") as refused:
        connector.load_file(DIRECTORY)
    assert "\n" not in str(refused.value)
    assert len(site.oss.requests("GetObject")) <= 1


def test_a_checkpoint_of_many_shards_is_whole(site, connector):
    tensors = {f"t{number}": torch.tensor([number]) for number in range(40)}
    weight_map = {name: f"part-{name}" for name in tensors}
    site.fill(
        {f"many/part-{name}": safetensors.torch.save({name: tensor}) for name, tensor in tensors.items()}
    )
    site.fill({f"many/{INDEX}": json.dumps({"weight_map": weight_map}).encode()})
    loaded = connector.load_file("oss://bucket/many/")
    assert list(loaded) == list(tensors)
    assert same(loaded, tensors)
