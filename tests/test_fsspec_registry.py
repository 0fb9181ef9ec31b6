"""Who answers for `oss://`: this package, also where ossfs is installed."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parent.parent
OURS = "osstorchconnector.fsspec:OssFileSystem"

ASK = """
import sys
sys.path[:0] = sys.argv[1:]
import fsspec
assert "osstorchconnector" not in sys.modules, "fsspec imports what it needs when it needs it"
found = fsspec.get_filesystem_class("oss")
print(found.__module__, found.__name__)
print(fsspec.core.url_to_fs("oss://bucket/k")[1])
"""


def distribution(place, name, modules, entry_points=""):
    """Lay a distribution down as pip does."""
    for module, text in modules.items():
        (place / module).parent.mkdir(parents=True, exist_ok=True)
        (place / module).write_text(text)
    info = place / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    return place


def asked(*places):
    command = [sys.executable, "-c", ASK, *map(str, places)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


@pytest.fixture
def ossfs(tmp_path):
    """Give an ossfs as PyPI has it: without entry point, known to fsspec by name."""
    text = "from fsspec import AbstractFileSystem\nclass OSSFileSystem(AbstractFileSystem):\n    protocol = 'oss'\n"
    return distribution(tmp_path / "theirs", "ossfs", {"ossfs/__init__.py": text})


@pytest.fixture
def ours(tmp_path):
    """Give an installation of this package that has the entry points of pyproject.toml."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["fsspec.specs"]
    lines = "".join(f"{name} = {value}\n" for name, value in declared.items())
    return distribution(tmp_path / "ours", "osstorchconnector", {}, f"[fsspec.specs]\n{lines}")


def test_the_installed_package_declares_the_entry_point():
    declared = {point.name: point.value for point in entry_points(group="fsspec.specs")}
    if "oss" not in declared:
        # `make wheel` asks the wheel itself.
        pytest.skip("the environment was set up before the entry point was written: run `make setup`")
    assert declared["oss"] == OURS


def test_ours_takes_over_from_ossfs_wherever_it_is_on_the_path(ours, ossfs):
    for places in ((ours, ossfs), (ossfs, ours)):
        said = asked(*places)
        assert said[0].startswith("osstorchconnector.fsspec")
        assert said[1] == "bucket/k"


def test_the_fake_ossfs_would_answer_without_us(ossfs):
    """The witness of the test above: fsspec knows ossfs by itself, and takes it when nobody else says `oss`."""
    without_ours = "import importlib.metadata as m\nm.entry_points = lambda **wanted: m.EntryPoints()\n"
    command = [sys.executable, "-c", without_ours + ASK, str(ossfs)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.stdout.splitlines()[:1] == ["ossfs OSSFileSystem"], ran.stderr


def test_without_fsspec_the_error_names_the_extra():
    hidden = "import sys; sys.modules['fsspec'] = None\nimport osstorchconnector.fsspec"
    ran = subprocess.run(
        [sys.executable, "-c", hidden], capture_output=True, text=True, timeout=60, check=False
    )
    assert "pip install 'osstorchconnector[fsspec]'" in ran.stderr.splitlines()[-1]
