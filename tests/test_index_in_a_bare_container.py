"""An index where nearly nothing is allowed: no writable root, nobody's uid, no HOME, little shared memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import osstorchconnector

STRANGER = 54_321
PACKAGE = str(Path(osstorchconnector.__file__).parents[1])

LISTING = """
import os, pickle
from torch.utils.data import DataLoader
from osstorchconnector import OssMapDataset
assert "HOME" not in os.environ
dataset = OssMapDataset.from_prefix("oss://bucket/p/")
assert dataset.prepare() == 20_000
assert len(pickle.dumps(dataset)) <= 4096
assert sum(len(item) for item in DataLoader([dataset[0].read()], num_workers=1)) == 1
print(os.getuid(), len(os.listdir(os.path.join(os.environ["TMPDIR"], f"osstorchconnector-{os.getuid()}"))))
"""

# A mount namespace of its own: everything read-only but one directory, and the /dev/shm that Docker gives.
CONFINED = """
mount -t tmpfs -o size=64m tmpfs /dev/shm
mount -t tmpfs -o mode=1777 tmpfs "$TMPDIR"
mount -o remount,bind,ro /
if touch /root-is-writable 2>/dev/null; then rm /root-is-writable; exit 77; fi
exec setpriv --reuid="$1" --regid="$1" --clear-groups "$2" -c "$3"
"""


@pytest.fixture
def writable():
    """Give the one directory that may be written; its parents are open to everybody."""
    directory = tempfile.mkdtemp(dir="/tmp")
    os.chmod(directory, 0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_index_needs_one_writable_directory_and_nothing_else(site, writable):
    if shutil.which("unshare") is None or shutil.which("setpriv") is None:
        pytest.skip("unshare and setpriv are not installed")
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    look = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
    stranger = ["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups"]
    if subprocess.run([*stranger, sys.executable, "-c", look], check=False, capture_output=True).returncode:
        pytest.skip("this environment lies where nobody else may look")
    site.oss.fill("bucket", "p/", 20_000, 1, synthetic=True)
    environment = {
        **site.oss.environ(),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": PACKAGE,
        "TMPDIR": writable,
    }
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", CONFINED, "sh", str(STRANGER), sys.executable, LISTING],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
        cwd="/",
    )
    if done.returncode == 77:
        pytest.skip("the root file system cannot be made read-only here")
    assert done.returncode == 0, done.stderr
    uid, files = done.stdout.split()
    assert (int(uid), int(files) > 0) == (STRANGER, True)
