"""THIRD-PARTY-LICENSES.txt names what Cargo.lock brings into the wheel, and nothing in it may not be there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

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
