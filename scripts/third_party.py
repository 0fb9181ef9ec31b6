"""Licences of what is compiled into the wheel: written into THIRD-PARTY-LICENSES.txt, or compared with it.

The crates are those that `Cargo.lock` brings into the native module on Linux; what only runs while it is built is left
out. Each must have a licence that deny.toml allows and come from crates.io. The wheel carries the file, and beside it the
bill of materials that maturin writes (`*.dist-info/sboms/`).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
FILE = ROOT / "THIRD-PARTY-LICENSES.txt"
TARGET = "x86_64-unknown-linux-gnu"
REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"

_LICENCE_FILE = re.compile(r"(?i)(licen[cs]e|copying|unlicense|notice)")
_HEAD = """Third-party software in this package
====================================

Made by `make licences`. The native module contains the crates below, each under the licence that it names; where a
crate gives MIT as a choice, it is taken. The numbers are those of the texts below, equal texts once.

"""


def main() -> None:
    """Write the file with `--write`, else compare."""
    crates = compiled_in()
    allowed = allowed_licences()
    refused = [said for crate in crates if (said := why_not(crate, allowed))]
    if refused:
        raise SystemExit("error: " + "; ".join(refused))
    if sys.argv[1:] == ["--write"]:
        FILE.write_text(_file(crates), encoding="utf-8")
    elif listed() != [_title(crate) for crate in crates]:
        raise SystemExit(f"error: {FILE.name} is not of this Cargo.lock; run `make licences`")
    print(f"licences: {len(crates)} crates, all allowed")


def compiled_in() -> list[dict[str, Any]]:
    """Return cargo's description of each crate that the native module contains, by name and version."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", TARGET]
    said = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    packages = {package["id"]: package for package in said["packages"]}
    needs = {node["id"]: node["deps"] for node in said["resolve"]["nodes"]}
    waiting = [crate for crate, package in packages.items() if package["name"] == "oss-python"]
    found: set[str] = set()
    while waiting:
        crate = waiting.pop()
        if crate in found or _runs_at_build_time(packages[crate]):
            continue
        found.add(crate)
        waiting += [
            need["pkg"] for need in needs[crate] if any(kind["kind"] is None for kind in need["dep_kinds"])
        ]
    others = [packages[crate] for crate in found if packages[crate]["source"] is not None]
    return sorted(others, key=lambda crate: (crate["name"], crate["version"]))


def allowed_licences() -> set[str]:
    """Return the names that deny.toml allows."""
    (names,) = re.findall(r"^allow = \[(.*?)\]", (ROOT / "deny.toml").read_text(), re.DOTALL | re.MULTILINE)
    return set(re.findall(r'"([^"]+)"', names))


def why_not(crate: dict[str, Any], allowed: set[str]) -> str:
    """Say why a crate may not be in the wheel; nothing if it may."""
    if crate["source"] != REGISTRY:
        return f"{_title(crate)} does not come from crates.io"
    # An expression is a conjunction of choices here; one allowed name in each choice is enough.
    for choice in re.split(r"\bAND\b", (crate["license"] or "").replace("/", " OR ")):
        names = {name.strip(" ()") for name in re.split(r"\bOR\b", choice)}
        if not names & allowed:
            return f"{_title(crate)} has the licence {crate['license']!r}, which deny.toml does not allow"
    return ""


def listed() -> list[str]:
    """Return the crates of the file, as `name version (licence)`."""
    if not FILE.exists():
        return []
    return re.findall(r"^\* (.+\)): text ", FILE.read_text(encoding="utf-8"), re.MULTILINE)


def _runs_at_build_time(crate: dict[str, Any]) -> bool:
    return any("proc-macro" in target["kind"] for target in crate["targets"])


def _title(crate: dict[str, Any]) -> str:
    return f"{crate['name']} {crate['version']} ({crate['license']})"


def _file(crates: list[dict[str, Any]]) -> str:
    """Return the file: the crates with the numbers of their texts, then the texts."""
    numbers: dict[str, int] = {}
    lines = []
    for crate in crates:
        own = sorted({numbers.setdefault(text, len(numbers) + 1) for text in _texts(crate)})
        lines.append(f"* {_title(crate)}: text {', '.join(map(str, own))}\n")
    rule = "=" * 80
    texts = [f"\n{rule}\nText {number}\n{rule}\n\n{text}\n" for text, number in numbers.items()]
    return _HEAD + "".join(lines) + "".join(texts)


def _texts(crate: dict[str, Any]) -> list[str]:
    """Return the texts of a crate's licence: of MIT alone where that is a choice, else all."""
    home = Path(crate["manifest_path"]).parent
    named = [path for path in sorted(home.iterdir()) if path.is_file() and _LICENCE_FILE.match(path.name)]
    of_mit = [path for path in named if "mit" in path.name.lower()]
    is_choice = "AND" not in crate["license"] and "MIT" in re.split(r" OR |/", crate["license"])
    chosen = of_mit if is_choice and of_mit else named
    texts = [path.read_text(encoding="utf-8", errors="replace").strip() for path in chosen]
    return texts or [f"{_title(crate)}: see {crate['repository']}"]


if __name__ == "__main__":
    main()
