"""The original's first README: each of its code blocks runs, with only endpoint, paths and URIs changed.

Its own slips are mended: a stray bracket, and imports it forgot.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

README = Path(__file__).parent / "data" / "seed-readme.md"
PREFIX = "EnglistImg/Img/BadImag/Bmp/Sample001/"
IMAGES = [f"{PREFIX}img001-{number:05}.png" for number in range(1, 12)]

# What each block needs to stand alone; the README forgot these.
FORGOTTEN = "import io\nfrom typing import Iterable, Tuple\n"

# The first words of each block, in the README's order, and what its run must have printed or read.
TITLES = {
    "iterable": "from osstorchconnector import OssIterableDataset\n",
    "map": "from osstorchconnector import OssMapDataset\n",
    "manifest": "from osstorchconnector import OssIterableDataset\n",
    "transform": "import sys\nimport io\nimport torchvision",
    "dataloader": "import sys\nimport io\nimport torch\n",
    "checkpoint": "import torch\nfrom osstorchconnector import OssCheckpoint\n",
}
FOLLOWED_BY = (
    "MapDataset\n", "Please note", "Dataset and transform\n", "Pytorch dataloader\n", "When using with", "OssCheckpoint can",
)  # fmt: skip


def blocks():
    """Cut the README, plain text without fences, into its six code blocks."""
    text = README.read_text(encoding="utf-8")
    text = text[text.index("Examples\n") :]
    found, at = {}, 0
    for (name, opening), closing in zip(TITLES.items(), FOLLOWED_BY, strict=True):
        start = text.index(opening, at)
        at = text.index(f"\n{closing}", start)
        found[name] = text[start:at]
    return found


def mended(code, site, monkeypatch):
    """Put in this emulator's endpoint and files, and mend the README's own slips."""
    for name, value in site.oss.environ().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(site.directory)
    changed = re.sub(r'ENDPOINT = ".*"', f'ENDPOINT = "{site.oss.endpoint}"', code)
    changed = re.sub(r'CONFIG_PATH = ".*"', f'CONFIG_PATH = "{site.arguments["config_path"]}"', changed)
    changed = re.sub(r'CRED_PATH = ".*"', f'CRED_PATH = "{site.arguments["cred_path"]}"', changed)
    return FORGOTTEN + changed.replace("config_path=CONFIG_PATH)]", "config_path=CONFIG_PATH)")


def run(name, site, monkeypatch):
    code = mended(blocks()[name], site, monkeypatch)
    names: dict[str, object] = {"__name__": "seed_readme"}
    exec(compile(code, f"{README.name}:{name}", "exec"), names)
    return names


@pytest.fixture
def images(site):
    random = np.random.default_rng(1)
    for key in IMAGES:
        packed = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (260, 300, 3), dtype=np.uint8)).save(
            packed, "PNG", compress_level=1
        )
        site.oss.put_object("ossconnectorbucket", key, packed.getvalue())
    return site


@pytest.fixture
def manifests(images):
    base = "EnglistImg/"
    lines = [f"{key.removeprefix(base)} label{number}" for number, key in enumerate(IMAGES[:3], start=1)]
    (images.directory / "manifest_file").write_text("\n".join(lines))
    images.oss.put_object(
        "ossconnectorbucket", "manifest_file/EnglistImg/manifest_file", "\n".join(lines).encode()
    )
    return images


class _Resize:
    """The short side becomes `size` pixels."""

    def __init__(self, size):
        self.size = size

    def __call__(self, image):
        scale = self.size / min(image.size)
        return image.resize([round(side * scale) for side in image.size], Image.Resampling.BILINEAR)


class _CenterCrop:
    def __init__(self, size):
        self.size = size

    def __call__(self, image):
        left, top = ((side - self.size) // 2 for side in image.size)
        return image.crop((left, top, left + self.size, top + self.size))


class _ToTensor:
    def __call__(self, image):
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


class _Normalize:
    def __init__(self, mean, std):
        self.mean, self.std = (torch.tensor(values)[:, None, None] for values in (mean, std))

    def __call__(self, tensor):
        return (tensor - self.mean) / self.std


class _Compose:
    def __init__(self, steps):
        self.steps = steps

    def __call__(self, value):
        for step in self.steps:
            value = step(value)
        return value


@pytest.fixture
def transforms(monkeypatch):
    """Where torchvision cannot be loaded beside this torch, put four equal transforms in its place."""
    try:
        import torchvision.transforms  # noqa: F401
    except (ImportError, RuntimeError):
        import sys
        import types

        package, module = types.ModuleType("torchvision"), types.ModuleType("torchvision.transforms")
        module.Resize, module.CenterCrop = _Resize, _CenterCrop  # type: ignore[attr-defined]
        module.ToTensor, module.Normalize, module.Compose = _ToTensor, _Normalize, _Compose  # type: ignore[attr-defined]
        package.transforms = module  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "torchvision", package)
        monkeypatch.setitem(sys.modules, "torchvision.transforms", module)


def test_every_block_of_the_readme_is_found():
    found = blocks()
    assert list(found) == list(TITLES)
    for name, code in found.items():
        compile(code.replace("config_path=CONFIG_PATH)]", "config_path=CONFIG_PATH)"), name, "exec")


def test_the_iterable_block(images, monkeypatch, capsys):
    run("iterable", images, monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0::3] == [f"/ossconnectorbucket/{key}" for key in [*IMAGES, *IMAGES[:3]]]
    assert lines[1::3] == lines[2::3]


def test_the_map_block(images, monkeypatch, capsys):
    run("map", images, monkeypatch)
    keys = [line for line in capsys.readouterr().out.splitlines() if line.startswith("/")]
    assert keys == [
        f"/ossconnectorbucket/{key}" for key in [IMAGES[0], IMAGES[5], *IMAGES, IMAGES[1], *IMAGES[:3]]
    ]


def test_the_manifest_block(manifests, monkeypatch, capsys):
    names = run("manifest", manifests, monkeypatch)
    labels = [line for line in capsys.readouterr().out.splitlines() if line.startswith("label")]
    assert labels == ["label1", "label2", "label3"]
    assert [sample.label for sample in names["iterable_dataset"]] == labels


@pytest.mark.usefixtures("transforms")
def test_the_transform_block(images, monkeypatch):
    names = run("transform", images, monkeypatch)
    tensors = [tensor for tensor, _ in names["iterable_dataset"]]
    assert len(tensors) == len(IMAGES)
    assert {tuple(tensor.shape) for tensor in tensors} == {(3, 224, 224)}


@pytest.mark.timeout(180)
@pytest.mark.usefixtures("transforms")
def test_the_dataloader_block_with_its_32_workers(images, monkeypatch, capsys):
    names = run("dataloader", images, monkeypatch)
    printed = capsys.readouterr().out
    for key in IMAGES:
        assert printed.count(f"/ossconnectorbucket/{key}") == 2
    assert names["loader"].num_workers == 32


def test_the_checkpoint_block(images, monkeypatch):
    saved = io.BytesIO()
    torch.save({"weights": torch.arange(10)}, saved)
    images.oss.put_object("ossconnectorbucket", "checkpoint/epoch.0", saved.getvalue())
    names = run("checkpoint", images, monkeypatch)
    with names["checkpoint"].reader("oss://ossconnectorbucket/checkpoint/epoch.1") as reader:
        assert torch.equal(torch.load(reader)["weights"], torch.arange(10))
