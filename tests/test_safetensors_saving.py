"""`OssSafetensor.save_file`: the official library's file, byte for byte, or nothing at all."""

from __future__ import annotations

import json
from collections import OrderedDict

import pytest
import safetensors.torch
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from osstorchconnector import OssCheckpoint, OssSafetensor
from osstorchconnector.errors import ConfigError, NotFoundError
from osstorchconnector.safetensors.saving import Plan
from tensor_samples import DTYPES, PACKED, same, sample

URI = "oss://bucket/m.safetensors"


@pytest.fixture
def connector(site):
    site.fill({"exists": b"x"})
    return OssSafetensor(**site.arguments)


def stored(site, uri=URI):
    with OssCheckpoint(**site.arguments).reader(uri) as reader:
        return reader.read()


def planned(tensors, metadata=None):
    plan = Plan(tensors, metadata)
    file = b"".join(bytes(piece) for piece in plan.pieces())
    assert plan.size_bytes == len(file)
    return file


EVERY_KIND = {dtype: sample(dtype, (3, 4)) for dtype in DTYPES} | {
    "scalar": torch.tensor(7),
    "nothing": torch.zeros(0, dtype=torch.float64),
    "no rows": torch.zeros(2, 0, 3),
    'é😀"\\/\x7f\u2028\n\x01': torch.ones(3),
    "": torch.ones(1),
}

SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(
    lambda name: name != "__metadata__"
)
METADATA = st.one_of(st.none(), st.dictionaries(NAMES, NAMES, max_size=1))


@st.composite
def tensor_dicts(draw):
    names = draw(st.lists(NAMES, unique=True, max_size=6))
    kinds = [(draw(st.sampled_from(DTYPES)), draw(SHAPES)) for _ in names]
    # Torch has no packed scalar.
    shapes = [(dtype, shape or (1,) if dtype == PACKED else shape) for dtype, shape in kinds]
    return {
        name: sample(*kind, seed=number)
        for number, (name, kind) in enumerate(zip(names, shapes, strict=True))
    }


@settings(max_examples=300, deadline=None)
@given(tensors=tensor_dicts(), metadata=METADATA)
def test_any_tensors_make_the_official_librarys_file(tensors, metadata):
    # Of nothing at all the official library makes a file that it cannot read.
    assume(tensors or metadata != {})
    assert planned(tensors, metadata) == safetensors.torch.save(tensors, metadata)


def test_every_dtype_is_saved_as_the_official_library_saves_it(site, connector):
    connector.save_file(EVERY_KIND, URI, {"format": "pt"})
    assert stored(site) == safetensors.torch.save(EVERY_KIND, {"format": "pt"})
    assert same(connector.load_file(URI), EVERY_KIND)


def test_metadata_keeps_its_order_and_an_empty_one_is_written():
    tensors = {"a": torch.ones(2)}
    metadata = {"z": "1", "a": "2", "é": "3"}
    file = planned(tensors, metadata)
    # The official library writes several in an order that changes from run to run.
    official = safetensors.torch.save(tensors, metadata)
    length = int.from_bytes(file[:8], "little")
    assert file[:8] == official[:8]
    assert file[8 + length :] == official[8 + length :]
    assert json.loads(file[8 : 8 + length]) == json.loads(official[8 : 8 + length])
    assert list(json.loads(file[8 : 8 + length])["__metadata__"]) == ["z", "a", "é"]
    assert planned(tensors, {}) == safetensors.torch.save(tensors, {})


def test_a_file_of_nothing_can_be_read():
    with pytest.raises(safetensors.SafetensorError):
        safetensors.torch.load(safetensors.torch.save({}, {}))
    for metadata in (None, {}, {"epoch": "1"}):
        assert safetensors.torch.load(planned({}, metadata)) == {}


def test_parameters_views_and_state_dicts_are_saved(site, connector):
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    whole = torch.arange(10.0)
    tensors = OrderedDict(
        model.state_dict(), first=whole[:5], second=whole[5:], part=torch.nn.Parameter(whole[2:3])
    )
    del tensors["part"]
    connector.save_file(tensors, URI)
    assert stored(site) == safetensors.torch.save(tensors)
    parameters = dict(model.named_parameters())
    connector.save_file(parameters, URI)
    assert same(connector.load_file(URI), parameters)


def test_a_conjugated_view_is_saved_as_what_it_shows(connector):
    tensor = sample("complex64", (2, 3)).conj()
    connector.save_file({"a": tensor}, URI)
    assert torch.equal(
        torch.view_as_real(connector.load_file(URI)["a"]), torch.view_as_real(tensor.resolve_conj())
    )


def test_a_large_state_goes_in_parts_and_comes_home(site):
    small_parts = {"checkpointConfig": {"uploadIoSizeMB": 1, "uploadBufferSizeMB": 4}}
    connector = OssSafetensor(**site.configured(**small_parts))
    site.fill({"exists": b"x"})
    tensors = {f"layer{number}": torch.randn(600, 700) for number in range(6)}
    assert connector.save_file(tensors, URI) is None
    assert len(site.oss.requests("UploadPart")) > 4
    assert stored(site) == safetensors.torch.save(tensors)


SHARED = torch.arange(12.0).view(3, 4)
QUANTIZED = (
    torch.zeros(2, dtype=torch.uint8).view(torch.bits8)
    if hasattr(torch, "bits8")
    else torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.quint8)
)
REFUSED = {
    "sparse": ({"a": torch.eye(3).to_sparse()}, "sparse"),
    "sparse rows": ({"a": torch.eye(3).to_sparse_csr()}, "sparse"),
    "not contiguous": ({"a": torch.zeros(2, 3).t()}, "contiguous"),
    "a column": ({"a": torch.zeros(4, 4)[:, :2]}, "contiguous"),
    "complex128": ({"a": torch.zeros(2, dtype=torch.complex128)}, "complex128"),
    "complex32": ({"a": torch.zeros(2, dtype=torch.complex32)}, "complex32"),
    "quantized": ({"a": QUANTIZED}, "bits8|quint8"),
    "meta": ({"a": torch.zeros(2, device="meta")}, "meta"),
    "twice the same": ({"a": SHARED, "b": SHARED}, "share memory"),
    "aliased": ({"a": SHARED, "b": SHARED.view(-1)}, "share memory"),
    "overlapping": ({"a": SHARED[:2], "b": SHARED[1:]}, "share memory"),
    "one inside": ({"a": SHARED, "b": SHARED[0, :1], "c": SHARED[2, :1]}, "share memory"),
    "another type": ({"a": SHARED, "b": SHARED.view(torch.int32)}, "share memory"),
    "a number": ({"a": 1.0}, "torch.Tensor"),
    "an array": ({"a": SHARED.numpy()}, "torch.Tensor"),
    "no dict": ([("a", SHARED)], "dict"),
    "half a surrogate pair": ({"\ud800": SHARED}, "ud800"),
    "the metadata's name": ({"__metadata__": SHARED}, "__metadata__"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_format_cannot_hold_is_a_value_error_and_nothing_is_sent(case, site, connector):
    tensors, said = REFUSED[case]
    before = len(site.oss.requests())
    with pytest.raises(ConfigError, match=said) as refused:
        connector.save_file(tensors, URI)
    assert isinstance(refused.value, ValueError)
    # The official library raises it for shared tensors.
    assert isinstance(refused.value, RuntimeError)
    assert "Nothing was sent" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(site.oss.requests()) == before


@pytest.mark.parametrize(
    "case", [case for case in REFUSED if "surrogate" not in case and "metadata" not in case]
)
def test_the_official_library_refuses_it_too(case):
    with pytest.raises((ValueError, RuntimeError, KeyError, NotImplementedError)):
        safetensors.torch.save(REFUSED[case][0])


@pytest.mark.parametrize(
    ("tensors", "metadata"),
    [
        ({1: torch.ones(1)}, None),
        ({"a": torch.ones(1)}, {"epoch": 3}),
        ({"a": torch.ones(1)}, {1: "a"}),
        ({"a": torch.ones(1)}, [("a", "b")]),
        ({"a": torch.ones(1)}, "text"),
    ],
)
def test_names_and_metadata_that_are_no_text_are_type_errors_and_nothing_is_sent(
    tensors, metadata, site, connector
):
    before = len(site.oss.requests())
    with pytest.raises(TypeError, match="save_file"):
        connector.save_file(tensors, URI, metadata)
    assert len(site.oss.requests()) == before


def test_a_header_beyond_the_formats_bound_is_refused(connector):
    with pytest.raises(ConfigError, match="100000000"):
        connector.save_file({"a": torch.ones(1)}, URI, {"very large": "a" * 100_000_000})


def test_a_save_that_fails_leaves_the_old_file(site, connector, monkeypatch):
    connector.save_file({"a": torch.zeros(3)}, URI)
    old = stored(site)

    def pieces(plan):
        yield plan._header
        raise ZeroDivisionError

    monkeypatch.setattr(Plan, "pieces", pieces)
    for uri in (URI, "oss://bucket/new"):
        with pytest.raises(ZeroDivisionError):
            connector.save_file({"a": torch.ones(3)}, uri)
    assert stored(site) == old
    with pytest.raises(NotFoundError):
        stored(site, "oss://bucket/new")
