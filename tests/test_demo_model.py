"""The demo's training gives the same bits for the same data in the same order."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image

from digits.model import Training, accuracy, decode, weights_hash


@pytest.fixture(autouse=True)
def torch_as_before():
    """Give back what a `Training` sets for the whole process."""
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
    torch.set_rng_state(state)


def batches(count):
    generator = torch.Generator().manual_seed(5)
    return [
        (
            torch.randint(0, 256, (8, 1, 56, 56), dtype=torch.uint8, generator=generator),
            torch.randint(0, 10, (8,), generator=generator),
        )
        for _ in range(count)
    ]


def trained(data):
    training = Training()
    for pixels, labels in data:
        training.learn(pixels, labels)
    return training


def test_the_same_order_gives_the_same_weights_and_another_order_others():
    data = batches(3)
    one, again, other = (weights_hash(trained(order).state()) for order in (data, data, data[::-1]))
    assert one == again != other


def test_a_checkpoint_brings_a_fresh_network_to_where_the_saved_one_was():
    data = batches(3)
    training = trained(data[:2])
    file = io.BytesIO()
    torch.save(training.state(), file)
    file.seek(0)
    fresh = Training()
    fresh.load(torch.load(file, weights_only=True))
    assert weights_hash(fresh.state()) == weights_hash(training.state())
    for each in (training, fresh):
        each.learn(*data[2])
    assert weights_hash(fresh.state()) == weights_hash(training.state())


def test_a_checkpoint_is_larger_than_one_part():
    file = io.BytesIO()
    torch.save(trained(batches(1)).state(), file)
    assert 16 << 20 < file.tell() < 32 << 20


def test_accuracy_counts_what_is_named_right():
    network = torch.nn.Flatten()
    pixels = torch.zeros(4, 1, 1, 10, dtype=torch.uint8)
    pixels[range(4), 0, 0, [1, 2, 3, 4]] = 255
    assert accuracy(network, [(pixels, torch.tensor([1, 2, 3, 9]))]) == 0.75
    assert accuracy(network, []) == 0.0


def test_a_picture_becomes_grey_pixels_and_a_label():
    class Sample:
        label = "7"

        def read(self):
            file = io.BytesIO()
            Image.new("RGB", (224, 224), (255, 255, 255)).save(file, "JPEG")
            return file.getvalue()

    pixels, label = decode(Sample())
    assert (pixels.shape, pixels.dtype, label) == ((1, 56, 56), torch.uint8, 7)
    assert int(pixels.min()) >= 254
