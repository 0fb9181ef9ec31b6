"""Bill of materials of this tree, as CycloneDX: what is compiled into the wheel, what it needs, what it is developed with.

    python scripts/sbom.py FILE

Made of Cargo.lock, pyproject.toml and requirements/dev.txt alone: the same tree gives the same bytes. The crates are those
of THIRD-PARTY-LICENSES.txt, with Cargo.lock's checksums. A Python package that the wheel requires is named with the
version that the tests run with, as the range lets users choose; what only development needs has the scope `excluded`.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
from pathlib import Path
from typing import Any

import third_party

ROOT = Path(__file__).parent.parent
# A licence's own text stands in some packages' metadata in place of its name.
_LONGEST_NAME = 60


def main() -> None:
    """Write the bill into the file that is named."""
    (path,) = sys.argv[1:]
    document = bill()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    scopes = [component["scope"] for component in document["components"]]
    said = ", ".join(f"{scopes.count(scope)} {scope}" for scope in ("required", "optional", "excluded"))
    print(f"sbom: {path}: {len(scopes)} components ({said})")


def bill() -> dict[str, Any]:
    """Return the bill of materials."""
    crates = [_crate(crate) for crate in third_party.compiled_in()]
    packages = [_package(name, version, hashes) for name, version, hashes in _locked()]
    components = sorted([*crates, *packages], key=lambda component: component["bom-ref"])
    own = _own()
    needed = [component["bom-ref"] for component in components if component["scope"] == "required"]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": own},
        "components": components,
        "dependencies": [{"ref": own["bom-ref"], "dependsOn": needed}],
    }


def _own() -> dict[str, Any]:
    cargo = (ROOT / "Cargo.toml").read_text(encoding="utf-8")
    (version,) = re.findall(r'^\[workspace\.package\]\nversion = "([^"]+)"', cargo, re.MULTILINE)
    # Without a link: on PyPI the name is another package's.
    name = "osstorchconnector"
    return {"type": "library", "bom-ref": name, "name": name, "version": version} | _licence("MIT")


def _crate(crate: dict[str, Any]) -> dict[str, Any]:
    component = _component("cargo", crate["name"], crate["version"], "required")
    checksum = _checksums()[crate["name"], crate["version"]]
    return component | _licence(crate["license"].replace("/", " OR ")) | _hashes([checksum])


def _checksums() -> dict[tuple[str, str], str]:
    lock = (ROOT / "Cargo.lock").read_text(encoding="utf-8")
    found = re.findall(
        r'^name = "([^"]+)"\nversion = "([^"]+)"\nsource = "[^"]+"\nchecksum = "([0-9a-f]{64})"',
        lock,
        re.MULTILINE,
    )
    return {(name, version): checksum for name, version, checksum in found}


def _locked() -> list[tuple[str, str, list[str]]]:
    """Return name, version and hashes of what the requirements lock; torch is locked without hashes."""
    files = [ROOT / "requirements" / name for name in ("dev.txt", "torch.txt")]
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    entries = re.findall(r"^([a-z0-9._-]+)==([^\s;]+)(.*(?:\n    --hash=\S+.*)*)", text, re.MULTILINE)
    return [
        (name, version, re.findall(r"--hash=sha256:([0-9a-f]{64})", hashes))
        for name, version, hashes in entries
    ]


def _package(name: str, version: str, hashes: list[str]) -> dict[str, Any]:
    return _component("pypi", name, version, _scope(name)) | _licence_of(name) | _hashes(hashes)


def _scope(name: str) -> str:
    """Say whether the wheel needs a package always, with one of its extras, or not at all."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (always,) = re.findall(r"^dependencies = (\[.*\])$", project, re.MULTILINE)
    extras = project.partition("[project.optional-dependencies]\n")[2].partition("\n\n")[0]
    for scope, wanted in (("required", always), ("optional", extras)):
        if name in re.findall(r'"([a-z0-9-]+)', wanted):
            return scope
    return "excluded"


def _licence_of(name: str) -> dict[str, Any]:
    """Return what an installed package calls its licence; nothing where it is not installed on this platform."""
    try:
        said = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return {}
    if expression := said.get_all("License-Expression"):
        return _licence(expression[0])
    classifiers = [text for text in said.get_all("Classifier", []) if text.startswith("License ::")]
    names = [*said.get_all("License", []), *(text.rpartition(" :: ")[2] for text in classifiers)]
    short = [text for text in names if text and len(text) <= _LONGEST_NAME and "\n" not in text]
    return {"licenses": [{"license": {"name": short[0]}}]} if short else {}


def _component(kind: str, name: str, version: str, scope: str) -> dict[str, Any]:
    link = f"pkg:{kind}/{name}@{version}"
    return {
        "type": "library",
        "bom-ref": link,
        "name": name,
        "version": version,
        "scope": scope,
        "purl": link,
    }


def _licence(expression: str) -> dict[str, Any]:
    return {"licenses": [{"expression": expression}]}


def _hashes(hashes: list[str]) -> dict[str, Any]:
    if not hashes:
        return {}
    return {"hashes": [{"alg": "SHA-256", "content": content} for content in hashes]}


if __name__ == "__main__":
    main()
