"""The house itself: its sizes, and that its front doors say what they do."""

from __future__ import annotations

import re
import subprocess
import warnings
from pathlib import Path

ROOT = Path(__file__).parent.parent
# Lines at which a file is asked whether it holds two nouns.
ASK_RUST, ASK_PYTHON = 400, 350


def _rust_lines(path):
    return len(path.read_text().split("#[cfg(test)]")[0].splitlines())


def test_files_beyond_the_ask_mark_are_printed():
    rust = {path: _rust_lines(path) for path in sorted(ROOT.glob("crates/*/src/**/*.rs"))}
    python = {path: len(path.read_text().splitlines()) for path in sorted(ROOT.glob("python/**/*.py"))}
    assert rust
    assert python
    large = {path: lines for path, lines in rust.items() if lines > ASK_RUST}
    large |= {path: lines for path, lines in python.items() if lines > ASK_PYTHON}
    if large:
        named = ", ".join(f"{path.relative_to(ROOT)} ({lines})" for path, lines in large.items())
        warnings.warn(f"files beyond the mark at which to ask for two nouns: {named}", stacklevel=1)


def test_every_target_that_contributing_and_readme_name_is_in_help():
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = set(re.findall(r"^  make ([a-z-]+) ", shown, re.MULTILINE))
    named = set()
    for page in ("README.md", "CONTRIBUTING.md", "benches/README.md"):
        named |= set(re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / page).read_text(), re.MULTILINE))
    assert named - listed == set()
    assert {"demo", "test", "check", "bench", "soak", "wheel", "docs"} <= listed


def test_development_requirements_are_locked_with_hashes():
    lock = (ROOT / "requirements" / "dev.txt").read_text()
    pinned = re.findall(r"^([a-z0-9-]+)==\S+.*\\\n    --hash=sha256:", lock, re.MULTILINE)
    assert len(pinned) == len(re.findall(r"^[a-z0-9-]+==", lock, re.MULTILINE))
    wanted = re.findall(r"^([a-z0-9-]+)", (ROOT / "requirements" / "dev.in").read_text(), re.MULTILINE)
    assert set(wanted) <= set(pinned)


def test_links_of_the_pages_lead_somewhere():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benches/*.md")]
    for page in pages:
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page.relative_to(ROOT)} links to {link}"
