"""The static site of docs/ builds strictly, holds every page, and its pages fetch nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FETCHED = re.compile(
    r"<(?:script|img|iframe|source)[^>]+src=.?(?:https?:)?//|<link[^>]+href=.?(?:https?:)?//"
)


@pytest.fixture(scope="module")
def site_directory(tmp_path_factory):
    made = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", made],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return made


def test_every_page_is_in_the_site_and_in_its_navigation(site_directory):
    home = (site_directory / "index.html").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        if page.name != "README.md":
            made = page.relative_to(ROOT / "docs").with_suffix(".html")
            assert (site_directory / made).is_file()
            assert f'href="{made}"' in home


def test_no_page_fetches_from_elsewhere(site_directory):
    pages = list(site_directory.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        assert not FETCHED.search(page.read_text(encoding="utf-8")), page
    for sheet in site_directory.rglob("*.css"):
        assert not re.search(r"url\(.?(?:https?:)?//", sheet.read_text(encoding="utf-8")), sheet
