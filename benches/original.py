"""The original, 1.2.3, running the same workloads through the same public calls: ours is its drop-in successor."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
HOME = ROOT / ".cache" / "original"
HOST = "oss-cn-hangzhou.test"

# The config file as the original's README prints it, and where its files go.
CONFIG = {
    "logLevel": 1,
    "logPath": "connector.log",
    "auditPath": "audit.log",
    "datasetConfig": {"prefetchConcurrency": 24, "prefetchWorker": 2},
    "checkpointConfig": {"prefetchConcurrency": 24, "prefetchWorker": 4, "uploadConcurrency": 64},
}

# Number of the userfaultfd system call on x86-64, where alone the wheel exists.
_USERFAULTFD = 323

_LAY_OVER = 'mount --bind "$1" /etc/hosts && mount --bind "$2" /run && shift 2 && exec "$@"'


def seeds_config(directory: Path) -> dict[str, Any]:
    """Return the config file of the original's README, with its log files in `directory`."""
    logs = {name: str(directory / CONFIG[name]) for name in ("logPath", "auditPath")}  # type: ignore[operator]
    return {**CONFIG, **logs}


def command_prefix(directory: Path) -> list[str] | str:
    """Return what to put in front of a command so that `bucket.HOST` is this machine in it, or why that cannot be."""
    if not (HOME / "osstorchconnector").is_dir():
        return "it is not installed; `make original` fetches it where it can be had"
    if shutil.which("unshare") is None or os.geteuid() != 0:
        return "its host names need root and `unshare` to resolve here"
    hosts, run = directory / "hosts", directory / "run"
    run.mkdir(exist_ok=True)
    hosts.write_text(f"{Path('/etc/hosts').read_text()}\n127.0.0.1 bucket.{HOST}\n")
    prefix = ["unshare", "--mount", "sh", "-c", _LAY_OVER, "sh", str(hosts), str(run)]
    tried = subprocess.run([*prefix, "true"], check=False, capture_output=True)
    return prefix if tried.returncode == 0 else "a mount namespace of its own is refused here"


def environment() -> dict[str, str]:
    """Return variables under which `import osstorchconnector` finds the original."""
    return {**os.environ, "PYTHONPATH": str(HOME), "PYTHONNOUSERSITE": "1"}


def has_user_faults() -> bool:
    """Say whether a process gets a userfaultfd, which the original's prefetching readers need."""
    if sys.platform != "linux":
        return False
    descriptor = ctypes.CDLL(None, use_errno=True).syscall(_USERFAULTFD, os.O_CLOEXEC)
    if descriptor >= 0:
        os.close(descriptor)
    return bool(descriptor >= 0)
