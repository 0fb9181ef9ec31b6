"""`get_slice`: what torch would select, and only its bytes travel."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from osstorchconnector import OssSafetensor
from osstorchconnector.safetensors import memory
from osstorchconnector.safetensors.file import HEAD_BYTES
from osstorchconnector.safetensors.runs import NEAR_BYTES, RUN_BYTES, RunQueue, runs
from tensor_samples import DTYPES, PACKED, bits, received, sample

URI = "oss://bucket/m"


@pytest.fixture
def connector(site):
    return OssSafetensor(**site.arguments)


def put(site, **tensors):
    file = safetensors.torch.save(tensors)
    site.fill({"m": file})
    return file


def received_of(site, use, wanted_bytes):
    """Bytes of the answers to GETs that `use` makes."""
    before = len(site.oss.requests("GetObject"))
    use()
    return received(site, "m", wanted_bytes, before)


FULL = slice(None)
INDICES = [
    (), ..., None, 0, -1, FULL, slice(0, 0), slice(5, 2), slice(-2, None), slice(None, None, 2), slice(1, 100, 3),
    (0, 1), (0, ...), (..., 1), (..., slice(1, 3)), (FULL, 1), (FULL, FULL, 2), (FULL, FULL, slice(0, 4, 3)),
    (0, 1, 2), (None, 0, ..., None), (slice(1, None), slice(None, None, 2), slice(1, 2)), (..., slice(0, 0)),
    (1, FULL, slice(None, None, 5)), torch.tensor(1), True, False, [0, 1], [], torch.tensor([True, False, True]),
    (..., ...), (FULL, [0, 2]), torch.tensor([[0, 1], [2, 0]]),
    np.int64(1), np.uint8(2), (FULL, np.int32(-1)), (..., np.int64(3), None), np.array(1), np.array([0, 2]),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
def test_every_index_selects_what_torch_selects(site, connector):
    tensor = sample("float32", (3, 4, 5))
    put(site, a=tensor)
    with connector.safe_open(URI) as opened:
        part = opened.get_slice("a")
        assert (part.get_shape(), part.get_dtype()) == ([3, 4, 5], "F32")
        for index in INDICES:
            assert bits(part[index]) == bits(tensor[index]), index
            assert part[index].is_contiguous()


@pytest.mark.parametrize("stage_bytes", [1, 7, 64, 4096])
def test_a_slice_for_a_gpu_passes_through_the_stages(stage_bytes, site, connector, monkeypatch):
    """The targets are here in host memory too."""
    sent = []

    def deliver(fill, landings, device):
        sent.extend(target.numel() for _, target in landings)
        memory.deliver_staged(fill, landings, device, stage_bytes)

    monkeypatch.setattr(memory, "deliver", deliver)
    tensor = sample("float32", (3, 4, 5))
    put(site, a=tensor)
    indices = [index for index in INDICES if all_basic(index)]
    with connector.safe_open(URI) as opened:
        for index in indices:
            assert bits(opened.get_slice("a")[index]) == bits(tensor[index]), index
    assert sum(sent) == sum(tensor[index].numel() * tensor.element_size() for index in indices)


def all_basic(index):
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or part is ... or type(part) in (int, slice) for part in parts)


WRONG = [3, -4, (0, 0, 0, 0), slice(None, None, -1), slice(None, None, 0), slice(0, 1.5), "x", 1.5]


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
def test_a_wrong_index_is_torchs_own_error(site, connector):
    tensor = sample("float32", (3, 4, 5))
    put(site, a=tensor, scalar=torch.tensor(1))
    with connector.safe_open(URI) as opened:
        for name, index in [("a", index) for index in WRONG] + [("scalar", 0), ("scalar", FULL)]:
            with pytest.raises((IndexError, TypeError, ValueError)) as expected:
                (tensor if name == "a" else torch.tensor(1))[index]
            with pytest.raises(expected.type):
                opened.get_slice(name)[index]
        assert opened.get_slice("scalar")[()] == opened.get_slice("scalar")[...] == 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_is_sliced(dtype, site, connector):
    tensor = sample(dtype, (6, 4))
    put(site, a=tensor)
    with connector.safe_open(URI) as opened:
        part = opened.get_slice("a")
        # The packed type is sliced by the elements that torch has, of two values each.
        assert part.get_shape() == ([6, 8] if dtype == PACKED else [6, 4])
        for index in (slice(1, 3), (FULL, slice(1, 3)), 5):
            # Torch cannot copy every dtype: bytes are compared.
            width = tensor.element_size()
            expected = tensor.view(torch.uint8).view(6, 4, width)[index].contiguous()
            assert bits(part[index])[2] == bits(expected)[2]
            assert part[index].dtype == tensor.dtype


def dimension(length):
    """An index into one dimension."""
    bounds = st.one_of(st.none(), st.integers(-length - 2, length + 2))
    steps = st.one_of(st.none(), st.integers(1, length + 1))
    slices = st.builds(slice, bounds, bounds, steps)
    return st.one_of(slices, st.integers(-length, length - 1)) if length else slices


@st.composite
def views(draw):
    shape = tuple(draw(st.lists(st.integers(0, 6), min_size=1, max_size=4)))
    parts = [draw(dimension(length)) for length in shape]
    kept = draw(st.integers(0, len(parts)))
    index = [*parts[:kept], ...] if draw(st.booleans()) else parts[:kept]
    index.insert(draw(st.integers(0, len(index))), None)
    return shape, tuple(index)


@settings(max_examples=200, deadline=None)
@given(view=views(), item_bytes=st.sampled_from([1, 2, 8, NEAR_BYTES // 2, RUN_BYTES]))
def test_runs_are_the_bytes_of_a_view_in_its_order(view, item_bytes):
    shape, index = view
    elements = torch.arange(torch.Size(shape).numel()).view(shape)
    chosen = elements[index]
    if chosen.numel() == 0:
        return
    found = []
    for run in runs(int(chosen.storage_offset()), chosen.shape, chosen.stride(), item_bytes):
        assert run.blocks == 1 or run.pitch_bytes - run.block_bytes <= NEAR_BYTES
        assert run.blocks == 1 or run.span_bytes <= RUN_BYTES
        for block in range(run.blocks):
            begin = run.offset + block * run.pitch_bytes
            assert begin % item_bytes == run.block_bytes % item_bytes == 0
            found += range(begin // item_bytes, (begin + run.block_bytes) // item_bytes)
    assert found == chosen.flatten().tolist()


@settings(max_examples=200, deadline=None)
@given(view=views(), item_bytes=st.sampled_from([1, 2, 8, NEAR_BYTES // 2]), cut_bytes=st.integers(1, 40_000))
def test_runs_that_are_cut_are_the_same_bytes(view, item_bytes, cut_bytes):
    shape, index = view
    chosen = torch.empty(shape, device="meta")[index]
    if chosen.numel() == 0:
        return
    whole = list(runs(int(chosen.storage_offset()), chosen.shape, chosen.stride(), item_bytes))
    queue, cut, left_bytes = RunQueue(iter(whole)), [], chosen.numel() * item_bytes
    while left_bytes:
        taken = list(queue.take(min(cut_bytes, left_bytes)))
        assert sum(run.wanted_bytes for run in taken) == min(cut_bytes, left_bytes)
        cut += taken
        left_bytes -= min(cut_bytes, left_bytes)
    assert joined(cut) == joined(whole)


def joined(some):
    """Return the stretches of wanted bytes, those that touch made one."""
    stretches = []
    for run in some:
        for block in range(run.blocks):
            begin = run.offset + block * run.pitch_bytes
            if stretches and stretches[-1][1] == begin:
                begin = stretches.pop()[0]
            stretches.append((begin, run.offset + block * run.pitch_bytes + run.block_bytes))
    return stretches


ROWS, COLUMNS = 32, 64 * 1024


def test_only_the_bytes_of_a_slice_travel(site, connector):
    # Rows of 256 KiB: what is beside a slice is far from it, and the first row came with the head.
    tensor = sample("float32", (ROWS, COLUMNS))
    put(site, a=tensor)
    with connector.safe_open(URI) as opened:
        received(site, "m", HEAD_BYTES)
        part, found = opened.get_slice("a"), []
        for index, wanted_bytes in [
            (slice(10, 20), 10 * 4 * COLUMNS),
            (-1, 4 * COLUMNS),
            (np.int64(20), 4 * COLUMNS),
            ((20, slice(100, 200)), 400),
            ((slice(10, 30, 7), ...), 3 * 4 * COLUMNS),
            ((slice(10, None), slice(100, 200)), 22 * 400),
            ((slice(10, 30, 7), 7), 3 * 4),
            ((slice(20, 20), ...), 0),
        ]:
            assert (
                received_of(site, lambda index=index: found.append(part[index]), wanted_bytes) == wanted_bytes
            ), index
            assert bits(found.pop()) == bits(tensor[index])


def test_columns_cost_at_most_the_rows_they_are_in(site, connector):
    tensor = sample("float32", (ROWS, COLUMNS))
    put(site, a=tensor)
    with connector.safe_open(URI) as opened:
        received(site, "m", HEAD_BYTES)
        part, found = opened.get_slice("a"), []
        travelled = received_of(site, lambda: found.append(part[16:, 1000:50_000]), 16 * 49_000 * 4)
        assert bits(found[0]) == bits(tensor[16:, 1000:50_000])
        assert 16 * 49_000 * 4 <= travelled <= 16 * COLUMNS * 4


def test_a_step_over_near_neighbours_is_read_with_them_in_bounded_memory(site, connector):
    tensor = sample("int16", (3 * RUN_BYTES // 2 + 5,))
    put(site, a=tensor)
    with connector.safe_open(URI) as opened:
        part = opened.get_slice("a")
        assert bits(part[::2]) == bits(tensor[::2])
        assert bits(part[1::7]) == bits(tensor[1::7])
        assert bits(part[:: RUN_BYTES // 4]) == bits(tensor[:: RUN_BYTES // 4])


def test_many_short_runs_are_gathered(site, connector):
    tensor = sample("uint8", (40_000, 3, 2))
    put(site, a=tensor)
    with connector.safe_open(URI) as opened:
        assert bits(opened.get_slice("a")[:, 1]) == bits(tensor[:, 1])


def test_what_came_with_the_head_is_not_asked_for_again(site, connector):
    tensor = sample("uint8", (2 * HEAD_BYTES,))
    put(site, a=tensor)
    with connector.safe_open(URI) as opened:
        received(site, "m", HEAD_BYTES)
        part = opened.get_slice("a")
        assert received_of(site, lambda: part[:1000], 0) == 0
        assert received_of(site, lambda: part[: HEAD_BYTES + 1000], 1) < 2000
