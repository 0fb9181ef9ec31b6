"""Look for known holes in the Python packages that development and users are given: `make audit`.

    python scripts/audit_packages.py PIP-AUDIT

A hole is an error. What pip-audit's data does not know, or that the data cannot be reached, is a warning that says so: it
proves nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Ask pip-audit, and judge what it found."""
    (program,) = sys.argv[1:]
    with tempfile.TemporaryDirectory() as directory:
        found = Path(directory) / "found.json"
        command = [program, "--disable-pip", "--require-hashes", "--progress-spinner=off", "--format=json"]
        command += [f"--output={found}", f"--requirement={ROOT / 'requirements' / 'dev.txt'}"]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if not found.exists():
            last = (ran.stderr.strip().splitlines() or ["it said nothing"])[-1]
            print(f"audit: WARNING: the packages' known holes were not looked for: {last}")
            return
        report = json.loads(found.read_text(encoding="utf-8"))
    said, holes = judged(report["dependencies"])
    print("\n".join(said))
    if holes:
        raise SystemExit("error: " + "; ".join(holes))


def judged(packages: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """Return what to say of a report, and the holes that were found."""
    unknown = [package for package in packages if "skip_reason" in package]
    holes = [
        f"{package['name']} {package['version']} has {hole['id']}, mended in {', '.join(hole['fix_versions']) or 'none'}"
        for package in packages
        for hole in package.get("vulns", [])
    ]
    said = [f"audit: {len(packages) - len(unknown)} packages looked up, {len(holes)} known holes"]
    if unknown:
        said.append(
            f"audit: WARNING: {len(unknown)} of {len(packages)} packages are not in the data and were not looked up, such "
            f"as {unknown[0]['name']}: {unknown[0]['skip_reason']}"
        )
    return said, holes


if __name__ == "__main__":
    main()
