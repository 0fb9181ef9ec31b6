"""Programs that use the package pass a strict type check, against the package as it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PROGRAM = """
import io
import zipfile

import torch
from torch.utils.data import DataLoader

from osstorchconnector import DataObject, OssCheckpoint, OssClient, OssIterableDataset, OssMapDataset, OssSafetensor
from osstorchconnector import imagenet_manifest_parser, new_data_object, stats
from osstorchconnector.errors import NotFoundError, OssError, UploadError


def decode(sample: DataObject) -> tuple[bytes, str]:
    return sample.read(), sample.label


images = OssMapDataset.from_prefix("oss://bucket/p/", transform=decode, on_missing="skip")
numbers = OssIterableDataset.from_objects(["oss://bucket/a"], "http://127.0.0.1:9000", region="cn-local")
labelled = OssMapDataset.from_manifest_file("m", imagenet_manifest_parser, "oss://bucket/", allow_empty=True)
reveal_type(images)
reveal_type(numbers)
loader = DataLoader(images, batch_size=2)
count: int = len(images) + labelled.prepare()
checkpoint = OssCheckpoint(cred_path="/c", config_path=None)
with checkpoint.writer("oss://bucket/e0", size_hint_bytes=10) as writer:
    torch.save({"step": 1}, writer)
with checkpoint.reader("oss://bucket/e0") as reader:
    torch.load(reader, weights_only=True)
    text = io.TextIOWrapper(reader, encoding="utf-8")
    zipfile.ZipFile(reader)
try:
    OssClient("http://127.0.0.1:9000").head_object("bucket", "key")
except NotFoundError as missing:
    status: int | None = missing.status
except UploadError as failed:
    state: str = failed.state
except OssError as failure:
    code: str = failure.code
tensors = OssSafetensor()
tensors.save_file({"weight": torch.ones(3)}, "oss://bucket/m", metadata={"epoch": "1"})
weights: dict[str, torch.Tensor] = tensors.load_file("oss://bucket/m", device=0)
with tensors.safe_open("oss://bucket/m", device="cpu") as opened:
    part: torch.Tensor = opened.get_slice(opened.keys()[0])[1:, ...]
named: DataObject = new_data_object("oss://bucket/key", label="x")
total: int | float = stats()["requests"]
"""


@pytest.mark.timeout(180)
def test_a_program_that_uses_everything_is_typed(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--cache-dir", ROOT / ".mypy_cache", program],
        env={"MYPYPATH": str(ROOT / "python"), "PATH": ""},
        cwd=tmp_path, capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    # `make check` looks at the package itself, against the types of the torch that it is written for.
    said = [line for line in checked.stdout.splitlines() if line.startswith("program.py:")]
    assert [line for line in said if ": error:" in line] == [], checked.stderr
    assert 'Revealed type is "osstorchconnector.dataset.OssMapDataset"' in said[0]
    assert 'Revealed type is "osstorchconnector.dataset.OssIterableDataset"' in said[1]
