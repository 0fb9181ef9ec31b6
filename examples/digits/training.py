"""Acts 1 and 2: the same epochs from the same seed, over whatever network the emulator gives."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

from digits.failure import DemoError
from digits.model import State, Training, accuracy, weights_hash
from digits.pictures import HELD_OUT_COUNT, TRAIN_COUNT
from digits.progress import Figures, Meter, Stats

if TYPE_CHECKING:
    from digits.bucket import Bucket

EPOCHS = 2
# Guessing gives 0.1; this network reaches 0.93 to 0.97 in two epochs.
LEAST_ACCURACY = 0.85

_BATCH = 64
_WORKERS = 2


@dataclass(frozen=True)
class Trained:
    """What a run of all epochs came to.

    Attributes:
        first_epoch: the checkpoint after the first epoch.
        last_epoch: the checkpoint after the last one.
        accuracy: on the held-out pictures, from 0 to 1.
        weights: hash of the final weights.
        figures: how fast the training pictures came.
        stats: counters of both datasets and their workers.
    """

    first_epoch: State
    last_epoch: State
    accuracy: float
    weights: str
    figures: Figures
    stats: Stats


def train(bucket: Bucket) -> Trained:
    """Train from the seed for all epochs, then measure on the held-out pictures.

    Raises:
        DemoError: the network did not learn, or pictures were lost or doubled.
    """
    pictures = bucket.train_dataset()
    loader = _loader(pictures)
    meter = Meter(EPOCHS * TRAIN_COUNT, pictures.stats)
    training = Training()
    checkpoints = []
    for _ in range(EPOCHS):
        for pixels, labels in meter.follow(loader):
            training.learn(pixels, labels)
        checkpoints.append(copy.deepcopy(training.state()))
    figures = meter.finish()
    if figures.samples != EPOCHS * TRAIN_COUNT:
        raise DemoError(f"{figures.samples} pictures came, {EPOCHS * TRAIN_COUNT} were due")

    held_out = bucket.held_out_dataset()
    reached = accuracy(training.model, _loader(held_out))
    if reached < LEAST_ACCURACY:
        raise DemoError(f"the network learned too little: {reached:.1%} right, {LEAST_ACCURACY:.0%} expected")
    return Trained(
        first_epoch=checkpoints[0],
        last_epoch=checkpoints[-1],
        accuracy=reached,
        weights=weights_hash(checkpoints[-1]),
        figures=figures,
        stats=added(pictures.stats(), held_out.stats()),
    )


def measure(bucket: Bucket, training: Training) -> float:
    """Return the accuracy on the held-out pictures, streamed anew."""
    return accuracy(training.model, _loader(bucket.held_out_dataset()))


def added(one: Stats, other: Stats) -> Stats:
    """Add counters name by name."""
    return {name: one.get(name, 0) + other.get(name, 0) for name in {*one, *other}}


def describe(trained: Trained) -> str:
    """Say in one line what was learned from how much."""
    return (
        f"{EPOCHS} epochs of {TRAIN_COUNT:,} pictures over {_WORKERS} workers: {trained.figures.describe()}\n"
        f"{trained.accuracy:.1%} of {HELD_OUT_COUNT} held-out pictures named right; "
        f"weights {trained.weights[:16]}"
    )


def _loader(dataset: Any) -> DataLoader[Any]:
    return DataLoader(dataset, batch_size=_BATCH, num_workers=_WORKERS, persistent_workers=True)
