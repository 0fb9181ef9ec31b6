"""The demo's data: real handwritten digits on crops of real photographs, as JPEGs with labels in manifests.

The digits are scikit-learn's `load_digits` (1,797 scans of 8 x 8 pixels, from the UCI repository), the photographs its
`load_sample_images` (china.jpg and flower.jpg, 640 x 427 pixels). Both come inside scikit-learn's wheel. Which digit
goes where on which crop is drawn from a seed, so every machine with the same libraries makes the same bytes. A digit
that is drawn in a training picture is never drawn in a held-out one.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from PIL import Image

SIDE = 224  # pixels: what an ImageNet pipeline feeds its network
QUALITY = 91  # with full colour resolution this makes about 21 KB
SEED = 20240517
TRAIN_COUNT = 4608
HELD_OUT_COUNT = 640

_HELD_OUT_DIGITS = 360  # a fifth of the scans
_DIGIT_SIDES = (170, 216)  # pixels, half-open
_MAX_TURN_DEGREES = 8
_REACH = 7  # pixels that the shadow reaches beyond the ink
# Parts draw from streams of their own.
_STREAMS = {"train": 0, "held-out": 1}
_VERSION = 1  # raise it when what is drawn changes


@dataclass(frozen=True)
class Pictures:
    """A folder with `images/train/*.jpg`, `images/held-out/*.jpg` and two manifests.

    Attributes:
        folder: where it is.
        files: paths of the JPEGs relative to it, which are their keys in the bucket.
        size_bytes: of all JPEGs together.
    """

    folder: Path
    files: list[str]
    size_bytes: int

    def manifest(self, part: str) -> bytes:
        """Return the lines `key TAB label` of "train" or "held-out"."""
        return (self.folder / f"{part}.tsv").read_bytes()

    def describe(self) -> str:
        """Say what the data are, in two lines."""
        each = self.size_bytes / len(self.files) / 1000
        return (
            f"{len(self.files):,} JPEGs of {SIDE} x {SIDE} pixels, {each:.1f} KB each, {self.size_bytes / 1e6:.0f} MB: "
            "scikit-learn's\nhandwritten digits (1,797 real scans) on crops of its photographs china.jpg and flower.jpg"
        )


def prepare(cache: Path, say: Callable[[str], None]) -> Pictures:
    """Draw the pictures, or take them from `cache` if this machine drew them before.

    Args:
        say: told when drawing begins, as it takes about half a minute.
    """
    folder = cache / f"digits-{_fingerprint()}"
    if not folder.is_dir():
        say(f"drawing {TRAIN_COUNT + HELD_OUT_COUNT:,} pictures into {cache} (once; about half a minute)")
        _draw_all(folder)
    files = sorted(str(path.relative_to(folder)) for path in folder.glob("images/*/*.jpg"))
    return Pictures(folder, files, sum((folder / file).stat().st_size for file in files))


def digits_of(part: str, count: int) -> list[int]:
    """Choose which scans a part shows: `count` numbers of scans, every scan of that part about equally often."""
    order = np.random.default_rng(SEED).permutation(_digits_count())
    scans = order[:_HELD_OUT_DIGITS] if part == "held-out" else order[_HELD_OUT_DIGITS:]
    rounds = -(-count // len(scans))
    generator = np.random.default_rng([SEED, _STREAMS[part]])
    return [int(scan) for _ in range(rounds) for scan in generator.permutation(scans)][:count]


def _fingerprint() -> str:
    """Name what the bytes depend on: what is drawn, and the libraries that draw."""
    import PIL
    import sklearn

    parts = [_VERSION, SEED, SIDE, QUALITY, TRAIN_COUNT, HELD_OUT_COUNT]
    versions = [PIL.__version__, sklearn.__version__, np.__version__]
    return hashlib.sha256(repr((parts, versions)).encode()).hexdigest()[:12]


def _digits_count() -> int:
    return len(_load_digits().target)


def _load_digits() -> Any:
    from sklearn.datasets import load_digits

    return load_digits()


def _draw_all(folder: Path) -> None:
    """Draw into a folder beside, and rename it when it is whole."""
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(unfinished, ignore_errors=True)
    for part, count in (("train", TRAIN_COUNT), ("held-out", HELD_OUT_COUNT)):
        (unfinished / "images" / part).mkdir(parents=True)
        lines = []
        for name, label, jpeg in _drawn(part, count):
            (unfinished / name).write_bytes(jpeg)
            lines.append(f"{name}\t{label}\n")
        (unfinished / f"{part}.tsv").write_text("".join(lines), encoding="utf-8")
    try:
        unfinished.rename(folder)
    except OSError:
        # Another run was faster; its pictures are the same.
        shutil.rmtree(unfinished)


def _drawn(part: str, count: int) -> Iterator[tuple[str, int, bytes]]:
    """Yield (key, label, JPEG) in manifest order."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    digits = _load_digits()
    for number, scan in enumerate(digits_of(part, count)):
        generator = np.random.default_rng([SEED, _STREAMS[part], number])
        picture = compose(digits.images[scan], photographs[number % len(photographs)], generator)
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=QUALITY, subsampling=0)
        yield f"images/{part}/{number:05}.jpg", int(digits.target[scan]), file.getvalue()


def compose(
    scan: np.ndarray[Any, Any], photograph: Image.Image, generator: np.random.Generator
) -> Image.Image:
    """Draw one scan in light ink with a soft shadow on a crop of a photograph.

    Args:
        scan: 8 x 8 ink values from 0 to 16.
        photograph: larger than `SIDE` both ways.
        generator: decides on crop, size, place, turn and colour.

    Returns:
        An RGB picture of `SIDE` x `SIDE` pixels.
    """
    from PIL import Image, ImageFilter

    left = int(generator.integers(0, photograph.width - SIDE))
    top = int(generator.integers(0, photograph.height - SIDE))
    ground = np.asarray(photograph.crop((left, top, left + SIDE, top + SIDE)), np.float32)

    side = int(generator.integers(*_DIGIT_SIDES))
    turn = float(generator.uniform(-_MAX_TURN_DEGREES, _MAX_TURN_DEGREES))
    # A rim without ink around the 8 x 8 pixels, so that no stroke ends at a straight edge.
    scanned = Image.fromarray(np.pad(scan * (255 / 16), 1).astype(np.uint8))
    glyph = scanned.resize((side, side), Image.Resampling.BICUBIC).rotate(turn, Image.Resampling.BILINEAR)
    stencil = Image.new("L", (SIDE, SIDE))
    at = generator.integers(0, SIDE - side + 1, size=2)
    stencil.paste(glyph, (int(at[0]), int(at[1])))

    ink = _sharpened(np.asarray(stencil, np.float32)[..., None] / 255)
    spread = Image.fromarray(_grown(np.asarray(stencil))).filter(ImageFilter.GaussianBlur(8))
    shadow = np.asarray(spread, np.float32)[..., None] / 255
    colour = generator.uniform(200, 255, size=3).astype(np.float32)
    mixed = ground * (1 - 0.85 * shadow) * (1 - ink) + colour * ink
    return Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8))


def _grown(ink: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Let ink reach `_REACH` pixels further each way: the largest value around, rows first, then columns.

    Pillow's MaxFilter gives the same, thirty times slower: it looks at all 225 neighbours of each pixel.
    """
    grown = np.pad(ink, _REACH)
    for axis in (0, 1):
        around = np.lib.stride_tricks.sliding_window_view(grown, 2 * _REACH + 1, axis=axis)
        grown = np.ascontiguousarray(around.max(axis=-1))
    return grown


def _sharpened(ink: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Give the enlarged strokes an edge: below 0.3 no ink, above 0.6 full ink, a smooth step between."""
    step = ((ink - 0.3) / 0.3).clip(0, 1)
    smooth: np.ndarray[Any, Any] = step * step * (3 - 2 * step)
    return smooth
