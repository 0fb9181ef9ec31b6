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


def audited(tmp_path, program, *files):
    """Run the audit with a program in the place of pip-audit."""
    stand_in = tmp_path / "pip-audit"
    if program is not None:
        stand_in.write_text(f"#!/bin/sh\n{program}\n")
        stand_in.chmod(0o755)
    command = [sys.executable, ROOT / "scripts" / "audit_packages.py", stand_in, *files]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)


# It writes what it was asked into its report, as a package.
HOLED = """
for word; do case $word in --output=*) out=${word#--output=};; --requirement=*) name=${word##*/};; esac; done
echo '{"dependencies": [{"name": "'$name'", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": []}]}]}' > $out
exit 1
"""


def test_an_audit_looks_at_every_file_of_requirements_and_fails_on_a_hole(tmp_path):
    ran = audited(tmp_path, HOLED)
    assert ran.returncode == 1
    for name in ("dev", "torch", "wheels", "original", "peers", "audit"):
        assert f"{name}.txt 1 has PYSEC-1, mended in none" in ran.stderr


@pytest.mark.parametrize("program", [None, "echo 'no route to host' >&2; exit 1"])
def test_an_audit_without_data_is_one_warning(program, tmp_path):
    ran = audited(tmp_path, program)
    assert (ran.returncode, ran.stderr, ran.stdout.count("\n")) == (0, "", 1)
    assert ran.stdout.startswith("audit: WARNING: the packages' known holes were not looked for: audit.txt: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fine==1.0\n??\n", "'??', which is no requirement"),
        ("torch>=2.0\n", "which version of 'torch>=2.0'"),
        ("torch\n", "which version of 'torch'"),
        ("a==1 \\\n    --hash=sha256:00\nb==2\n", "no hash for 'b==2'"),
    ],
)
def test_a_broken_file_of_requirements_fails_an_audit_with_data_or_without(text, said, tmp_path):
    file = tmp_path / "given.txt"
    file.write_text(text)
    ran = audited(tmp_path, None, file)
    assert ran.returncode == 1
    assert said in ran.stderr


def test_an_audit_tells_holes_from_what_it_does_not_know():
    hole = {"id": "PYSEC-1", "fix_versions": ["1.1"]}
    sound = {"name": "sound", "version": "1", "vulns": []}
    unknown = {"name": "unknown", "skip_reason": "not in the data"}
    said, holes = audit_packages.judged([sound, unknown, {"name": "holed", "version": "1", "vulns": [hole]}])
    assert holes == ["holed 1 has PYSEC-1, mended in 1.1"]
    assert said[0] == "audit: 2 packages looked up, 1 known holes"
    assert said[1].startswith("audit: WARNING: 1 of 3 packages are not in the data")
    assert audit_packages.judged([sound]) == (["audit: 1 packages looked up, 0 known holes"], [])
