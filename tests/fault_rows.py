"""How many rows of the fault matrix a run injected, in Python and in Rust, and which rows nothing injected.

A row is injected by a test that is named after it. Rows that only tests in Rust inject are counted when those tests
passed on the sources as they are, which `make test-rust` writes down.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# The same in the Makefile.
RUST_PASSED = ROOT / ".cache" / "rust-tests-passed"

_IN_PYTHON = re.compile(r"::test_(f\d\d)_")
_IN_RUST = re.compile(r"((?:#\[[^\n]*\]\s*)*)(?:async )?fn test_(f\d\d)_")
_ON_THE_PAGE = re.compile(r"^\| (F\d\d) \| .+? \| (.+?) \|$", re.MULTILINE)


def demanded(page: str) -> set[str]:
    """Return the rows of docs/faults.md but those that do not apply."""
    return {row for row, held in _ON_THE_PAGE.findall(page) if not held.startswith("does not apply: ")}


def named_in(source: str) -> set[str]:
    """Return the rows of the tests of a Rust source that are run."""
    return {row.upper() for marks, row in _IN_RUST.findall(source) if "#[ignore" not in marks}


def rust_sources() -> list[Path]:
    """Return where Rust tests are; the native module's own cannot be linked, and has none."""
    return [path for path in (ROOT / "crates").rglob("*.rs") if "oss-python" not in path.parts]


def rust_has_passed(stamp: Path, sources: list[Path]) -> bool:
    """Say whether the tests of these sources passed since the last of them was changed."""
    return stamp.exists() and stamp.stat().st_mtime >= max(path.stat().st_mtime for path in sources)


@dataclass
class Rows:
    """What a run says of the rows.

    Attributes:
        injected: by tests in Python that ran.
        failed: those of them of which a test failed.
        rust: by tests in Rust, `is_rust_passed` if they are known to have passed.
    """

    demanded: set[str]
    rust: set[str]
    is_rust_passed: bool
    injected: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)

    def count(self, nodeid: str, outcome: str) -> None:
        """Take the outcome of a test; one that was skipped injected nothing."""
        row = _IN_PYTHON.search(nodeid)
        if row and outcome in ("passed", "failed", "error"):
            self.injected.add(row[1].upper())
            if outcome != "passed":
                self.failed.add(row[1].upper())

    @property
    def missing(self) -> set[str]:
        """Rows that no test injected, in either language."""
        return self.demanded - self.injected - self.rust

    def line(self, *, is_whole: bool) -> str:
        """Write it as one line; of a part of the tests Rust's say nothing."""
        alone = self.rust - self.injected if is_whole else set()
        injected = self.injected | (alone if self.is_rust_passed else set())
        text = f"faults survived {len(injected - self.failed)} / injected {len(injected)}"
        if self.failed:
            text += f" (lost: {_listed(self.failed)})"
        if alone:
            said = (
                ""
                if self.is_rust_passed
                else ", not counted: `make test-rust` has not passed on these sources"
            )
            text += f"; {len(alone)} in Rust alone{said}: {_listed(alone)}"
        return text


def _listed(rows: set[str]) -> str:
    return ", ".join(sorted(rows))


def is_whole(config: pytest.Config) -> bool:
    """Say whether a run is of all tests, so that no row may be missing."""
    option = config.option
    chosen = (
        option.keyword,
        option.deselect,
        option.ignore,
        option.ignore_glob,
        option.maxfail,
        option.collectonly,
    )
    return (
        config.args_source is not pytest.Config.ArgsSource.ARGS
        and option.markexpr in ("", "not soak")
        and not any(chosen)
        and not (getattr(option, "lf", False) or option.rows_may_be_missing)
    )


def of_session(config: pytest.Config) -> Rows:
    """Return the rows of a run that ended."""
    sources = rust_sources()
    rows = Rows(
        demanded((ROOT / "docs" / "faults.md").read_text(encoding="utf-8")),
        {row for path in sources for row in named_in(path.read_text(encoding="utf-8"))},
        rust_has_passed(RUST_PASSED, sources),
    )
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    for outcome, reports in (reporter.stats if reporter else {}).items():
        for report in reports:
            rows.count(getattr(report, "nodeid", ""), outcome)
    return rows
