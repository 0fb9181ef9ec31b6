"""Programs of the pages, run as a reader runs them: where the environment points at an emulator."""

from __future__ import annotations

import os
import subprocess
import sys


def run_python(text, directory, site, timeout_seconds=50):
    """Run a program in a directory; return what came of it."""
    script = directory / "example.py"
    script.write_text(text)
    return subprocess.run(
        [sys.executable, script],
        cwd=directory,
        env={**os.environ, **site.oss.environ()},
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )
