"""A small convolutional network, trained so that the same data in the same order give the same bits."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterable

SEED = 11
CLASSES = 10
PIXELS = 56  # a quarter of a picture's side: the JPEG decoder scales by 4 almost for nothing

State = dict[str, Any]


def decode(sample: Any) -> tuple[torch.Tensor, int]:
    """Turn one object into (grey pixels as uint8 of shape 1 x 56 x 56, label); the datasets' transform."""
    image = Image.open(io.BytesIO(sample.read()))
    image.draft("L", (PIXELS, PIXELS))
    grey = np.array(image.convert("L"))
    return torch.from_numpy(grey)[None], int(sample.label)


class Digits(nn.Sequential):
    """Three strided convolutions and two dense layers: 2.2 million weights, nearly all in the first dense layer."""

    def __init__(self) -> None:
        super().__init__(
            *_convolution(1, 16, 5),
            *_convolution(16, 32, 3),
            *_convolution(32, 64, 3),
            nn.Flatten(),
            nn.Linear(64 * 7 * 7, 704),
            nn.BatchNorm1d(704),
            nn.ReLU(),
            nn.Linear(704, CLASSES),
        )


def _convolution(inputs: int, outputs: int, width: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, width, stride=2, padding=width // 2),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]


class Training:
    """A network and its optimiser, from a fixed seed.

    Attributes:
        model: the network.
        optimizer: Adam over its weights.
    """

    def __init__(self) -> None:
        # One thread adds in one order; the second core decodes JPEGs.
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        torch.manual_seed(SEED)
        self.model = Digits()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)

    def learn(self, pixels: torch.Tensor, labels: torch.Tensor) -> None:
        """Take one step on one batch."""
        self.model.train()
        loss = nn.functional.cross_entropy(self.model(_scaled(pixels)), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def state(self) -> State:
        """Return what a checkpoint holds: weights and optimiser."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load(self, state: State) -> None:
        """Take over a checkpoint."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])


def accuracy(model: nn.Module, batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Return the share of pictures whose digit the network names, from 0 to 1."""
    model.eval()
    right = seen = 0
    with torch.inference_mode():
        for pixels, labels in batches:
            right += int((model(_scaled(pixels)).argmax(1) == labels).sum())
            seen += len(labels)
    return right / seen if seen else 0.0


def weights_hash(state: State) -> str:
    """Return the SHA-256 of all weights, names and bits, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state["model"].items()):
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _scaled(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.float().div(127.5).sub(1)
