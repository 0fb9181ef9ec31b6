"""Look for known holes in the Python packages that development and users are given: `make audit`.

    python scripts/audit_packages.py PIP-AUDIT [REQUIREMENTS...]

A hole is an error, and so is a file of requirements that says anything but one version of each package. What pip-audit's
data does not know, or that pip-audit or its data cannot be reached, is a warning that says so: it proves nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

ROOT = Path(__file__).parent.parent
# It overrides what others ask for, and names nothing that is installed.
_NOTHING_TO_LOOK_UP = {"apart.txt"}


def main() -> None:
    """Ask pip-audit of each file, and judge what it found."""
    program, *given = sys.argv[1:]
    files = [Path(name) for name in given] or _all_files()
    broken = [wrong for file in files for wrong in broken_in(file)]
    if broken:
        raise SystemExit("error: " + "; ".join(broken))
    packages: dict[tuple[str, str | None], dict[str, Any]] = {}
    failures = []
    for file in files:
        try:
            found = _asked(program, file)
        except OSError as failure:
            failures.append(f"{file.name}: {failure}")
            continue
        packages |= {(package["name"], package.get("version")): package for package in found}
    said, holes = judged(list(packages.values()))
    if packages:
        print("\n".join(said))
    if failures:
        more = f", and {len(failures) - 1} file(s) more" if failures[1:] else ""
        print(f"audit: WARNING: the packages' known holes were not looked for: {failures[0]}{more}")
    if holes:
        raise SystemExit("error: " + "; ".join(holes))


def _all_files() -> list[Path]:
    found = sorted((ROOT / "requirements").glob("*.txt"))
    return [file for file in found if file.name not in _NOTHING_TO_LOOK_UP]


def broken_in(file: Path) -> list[str]:
    """Say what in a file is no package with one version, or lacks the hash that others there have."""
    text = file.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in (whole.partition(" #")[0].strip() for whole in text.splitlines()) if line]
    wrong = []
    for line in lines:
        if line.startswith("#"):
            continue
        named, _, hashes = line.partition(" --hash=")
        try:
            versions = [str(part) for part in Requirement(named.strip()).specifier]
        except InvalidRequirement:
            wrong.append(f"{file.name} has {named.strip()!r}, which is no requirement")
            continue
        if len(versions) != 1 or not versions[0].startswith("=="):
            wrong.append(f"{file.name} does not say which version of {named.strip()!r}")
        elif "--hash=" in text and not hashes:
            wrong.append(f"{file.name} has no hash for {named.strip()!r}")
    return wrong


def _asked(program: str, file: Path) -> list[dict[str, Any]]:
    """Return what pip-audit says of the packages of a file.

    Raises:
        OSError: it is not there, or could not say.
    """
    # The versions are all there: nothing is to be resolved, which would install packages.
    locked = "--require-hashes" if "--hash=" in file.read_text(encoding="utf-8") else "--no-deps"
    with tempfile.TemporaryDirectory() as directory:
        found = Path(directory) / "found.json"
        command = [program, "--disable-pip", locked, "--progress-spinner=off", "--format=json"]
        command += [f"--output={found}", f"--requirement={file}"]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if not found.exists():
            raise OSError((ran.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1])
        report: dict[str, list[dict[str, Any]]] = json.loads(found.read_text(encoding="utf-8"))
    return report["dependencies"]


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
