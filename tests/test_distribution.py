"""What is installed under which name: documented extras and requirements, and a pinned install that gets ours alone."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import osstorchconnector
from osstorchconnector import _native

ROOT = Path(__file__).parents[1]
NAME = "osstorchconnector"
# Requirements of the package and of its extras: whatever else an install brings has to be decided here.
KNOWN = {"click", "fsspec", "numpy", "opentelemetry-api", "prometheus-client", "torch"}


@pytest.fixture(scope="module")
def metadata():
    """Return the metadata that the build backend made, as it stands in every wheel."""
    return importlib.metadata.metadata(NAME)


def requirements(metadata):
    """Return (name, extra or "") of each requirement."""
    read = []
    for line in metadata.get_all("Requires-Dist"):
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        read.append((re.match(r"[\w-]+", line)[0].lower(), extra[1] if extra else ""))
    return read


def test_s22_the_distribution_has_one_name_and_asks_for_what_is_known(metadata):
    assert metadata["Name"] == NAME
    assert {name for name, _ in requirements(metadata)} == KNOWN
    assert [name for name, extra in requirements(metadata) if not extra] == ["click"]


def test_s22_every_extra_is_documented_with_what_it_brings(metadata):
    page = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    documented = dict(re.findall(r"^\| `([\w-]+)` \| (.+?) \|", page, re.MULTILINE))
    assert set(documented) == set(metadata.get_all("Provides-Extra"))
    for name, extra in requirements(metadata):
        assert not extra or f"`{name}`" in documented[extra]


def wheel_of(files, directory, version):
    """Write a wheel, as the format asks: every file in RECORD with its hash."""
    directory.mkdir()
    tag = f"py3-none-{'linux_x86_64' if version.startswith('2') else 'any'}"
    info = f"{NAME}-{version}.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(),
    }
    rows = []
    path = directory / f"{NAME}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, octets in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(octets).digest()).rstrip(b"=").decode()
            rows.append(f"{name},sha256={digest},{len(octets)}")
            wheel.writestr(name, octets)
        wheel.writestr(f"{info}/RECORD", "\n".join([*rows, f"{info}/RECORD,,", ""]))
    return path


@pytest.fixture
def ours(tmp_path, metadata):
    """Make a wheel of the package under test: its modules, and the native one that they run with."""
    home = Path(osstorchconnector.__file__).parent
    sources = [*home.rglob("*.py"), home / "py.typed", Path(_native.__file__)]
    files = {f"{NAME}/{source.relative_to(home)}": source.read_bytes() for source in sources}
    return wheel_of(files, tmp_path / "ours", metadata["Version"])


@pytest.fixture
def theirs(tmp_path):
    """Make a wheel of the same name and a higher version, as a stranger would upload."""
    return wheel_of({f"{NAME}/__init__.py": b"raise SystemExit('a stranger')"}, tmp_path / "theirs", "99.0")


def pip(*arguments, **kwargs):
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--isolated", "--no-index", "--no-deps"]
    command += ["--disable-pip-version-check", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)


USE = """
import logging, sys
logging.basicConfig(stream=sys.stderr)
import osstorchconnector
from osstorchconnector import OssClient
from osstorchconnector.emulator import Emulator
print(osstorchconnector.__file__)
with Emulator(buckets=["bucket"]) as oss:
    client = OssClient(**oss.arguments())
    with client.put_object("bucket", "k") as writer:
        writer.write(b"there")
    print(client.get_object("bucket", "k").read().decode())
"""


# Starting pip and a Python takes some seconds; all of it is one story.
def test_s22_a_pinned_install_gets_ours_and_nothing_else(ours, theirs, tmp_path):
    places = ["--find-links", ours.parent, "--find-links", theirs.parent]
    digest = hashlib.sha256(ours.read_bytes()).hexdigest()
    pinned, loose = tmp_path / "pinned.txt", tmp_path / "loose.txt"
    version = ours.name.split("-")[1]
    pinned.write_text(f"{NAME}=={version} --hash=sha256:{digest}\n")
    loose.write_text(f"{NAME}==99.0 --hash=sha256:{digest}\n")
    report, target = tmp_path / "report.json", tmp_path / "target"
    done = pip("--target", target, "--report", report, "--require-hashes", "-r", pinned, *places)
    assert done.returncode == 0, done.stderr
    installed = [entry["metadata"]["name"] for entry in json.loads(report.read_text())["install"]]
    assert installed == [NAME]
    # What a stranger puts in under the same name has another hash, whatever its version.
    refused = pip("--target", tmp_path / "other", "--require-hashes", "-r", loose, *places)
    assert refused.returncode != 0
    assert "DO NOT MATCH THE HASHES" in refused.stderr
    # The vendor's package further down the path: ours runs, and names both.
    vendor = tmp_path / "vendor" / NAME / "_oss_connector"
    vendor.mkdir(parents=True)
    path = os.pathsep.join([str(target), str(vendor.parents[1])])
    ran = subprocess.run(
        [sys.executable, "-c", USE],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    where, said = ran.stdout.split()
    assert Path(where).is_relative_to(target)
    assert said == "there"
    assert str(vendor.parents[1]) in ran.stderr
    assert "pip uninstall osstorchconnector" in ran.stderr
