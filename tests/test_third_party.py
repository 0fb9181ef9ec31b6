"""THIRD-PARTY-LICENSES.txt names what Cargo.lock brings into the wheel, and nothing in it may not be there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import audit_packages  # noqa: E402
import third_party  # noqa: E402


def test_the_file_is_of_this_lock():
    ran = subprocess.run(
        [sys.executable, ROOT / "scripts" / "third_party.py"],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def crate(licence, source=third_party.REGISTRY):
    return {"name": "made-up", "version": "1.0.0", "license": licence, "source": source}


@pytest.mark.parametrize(
    "licence", ["MIT", "GPL-3.0 OR MIT", "MIT/Apache-2.0", "(MIT OR Apache-2.0) AND Unicode-3.0"]
)
def test_an_allowed_choice_is_enough(licence):
    assert third_party.why_not(crate(licence), {"MIT", "Unicode-3.0"}) == ""


@pytest.mark.parametrize("licence", ["GPL-3.0", "MIT AND GPL-3.0", None])
def test_what_deny_toml_does_not_allow_is_refused(licence):
    assert "made-up 1.0.0" in third_party.why_not(crate(licence), {"MIT"})


def test_a_crate_from_elsewhere_is_refused():
    assert "crates.io" in third_party.why_not(crate("MIT", "git+https://example.invalid/made-up"), {"MIT"})


def test_the_bill_of_materials_names_what_is_built_in_and_what_is_needed(tmp_path):
    written = tmp_path / "sbom.json"
    ran = subprocess.run(
        [sys.executable, ROOT / "scripts" / "sbom.py", written],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    bill = json.loads(written.read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    named = {component["bom-ref"]: component for component in bill["components"]}
    assert len(named) == len(bill["components"])
    crates = [component for ref, component in named.items() if ref.startswith("pkg:cargo/")]
    titles = [
        f"{crate['name']} {crate['version']} ({crate['licenses'][0]['expression']})" for crate in crates
    ]
    assert sorted(titles) == sorted(title.replace("/", " OR ") for title in third_party.listed())
    assert all(len(crate["hashes"][0]["content"]) == 64 for crate in crates)
    scopes = {component["name"]: component["scope"] for component in named.values()}
    assert (scopes["click"], scopes["torch"], scopes["pytest"]) == ("required", "optional", "excluded")
    needed = {ref for ref, component in named.items() if component["scope"] == "required"}
    assert set(bill["dependencies"][0]["dependsOn"]) == needed
    assert str(ROOT) not in written.read_text()


def test_an_audit_tells_holes_from_what_it_does_not_know():
    hole = {"id": "PYSEC-1", "fix_versions": ["1.1"]}
    sound = {"name": "sound", "version": "1", "vulns": []}
    unknown = {"name": "unknown", "skip_reason": "not in the data"}
    said, holes = audit_packages.judged([sound, unknown, {"name": "holed", "version": "1", "vulns": [hole]}])
    assert holes == ["holed 1 has PYSEC-1, mended in 1.1"]
    assert said[0] == "audit: 2 packages looked up, 1 known holes"
    assert said[1].startswith("audit: WARNING: 1 of 3 packages are not in the data")
    assert audit_packages.judged([sound]) == (["audit: 1 packages looked up, 0 known holes"], [])
