"""The programs that are measured with: Debian's, installed where that is possible."""

from __future__ import annotations

import os
import shutil
import subprocess

PACKAGES = {"nginx": "nginx-light", "openssl": "openssl", "wrk": "wrk"}


def need(*names: str) -> None:
    """Install what is missing of these; where that cannot be, say in one line how to."""
    packages = [PACKAGES[name] for name in names if shutil.which(name) is None]
    if not packages:
        return
    command = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *packages]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise SystemExit(f"error: {' and '.join(packages)} not installed; install: sudo {' '.join(command)}")
    print(f"bench: fetching {' and '.join(packages)} with apt-get (about 2 MB)", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for step in (["apt-get", "update", "--quiet"], command):
        subprocess.run(step, check=True, env=environment, stdout=subprocess.DEVNULL)
