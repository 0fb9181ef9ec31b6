"""The line on survived faults: it counts every row that the page of faults demands, and none may be missing."""

from __future__ import annotations

import os
import re

import pytest

import fault_rows
from fault_rows import Rows

PAGE = "| F01 | refused | `f01` |\n| F02 | gone | `f02` |\n| F03 | cache | does not apply: there is none |\n"


def rows(**changed):
    return Rows(**{"demanded": {"F01", "F02"}, "rust": {"F02"}, "is_rust_passed": True, **changed})


def test_rows_that_do_not_apply_are_not_demanded():
    assert fault_rows.demanded(PAGE) == {"F01", "F02"}


def test_a_rust_test_that_is_not_run_counts_for_nothing():
    source = '#[test]\nfn test_f07_a() {}\n\n#[test]\n#[ignore = "a minute"]\nfn test_f08_b() {}\nfn helper_f09_c() {}\n'
    assert fault_rows.named_in(source) == {"F07"}


def test_rows_of_both_languages_are_counted_and_what_is_in_rust_alone_is_named():
    run = rows()
    run.count("tests/x.py::test_f01_it_is_refused[a]", "passed")
    assert run.line(is_whole=True) == "faults survived 2 / injected 2; 1 in Rust alone: F02"
    run.count("tests/x.py::test_f01_it_is_refused[b]", "failed")
    assert run.line(is_whole=True) == "faults survived 1 / injected 2 (lost: F01); 1 in Rust alone: F02"
    assert run.line(is_whole=False) == "faults survived 0 / injected 1 (lost: F01)"
    assert run.missing == set()


def test_rust_tests_that_have_not_passed_are_not_counted():
    run = rows(is_rust_passed=False)
    run.count("tests/x.py::test_f01_it_is_refused", "passed")
    assert run.line(is_whole=True).startswith("faults survived 1 / injected 1; 1 in Rust alone, not counted")


def test_a_row_whose_tests_were_skipped_is_missing():
    run = rows()
    run.count("tests/x.py::test_f01_it_is_refused", "skipped")
    assert run.missing == {"F01"}


def test_sources_that_changed_since_make_a_pass_worthless(tmp_path):
    stamp, source = tmp_path / "stamp", tmp_path / "a.rs"
    source.touch()
    assert not fault_rows.rust_has_passed(stamp, [source])
    stamp.touch()
    os.utime(stamp, (100, 100))
    os.utime(source, (100, 100))
    assert fault_rows.rust_has_passed(stamp, [source])
    os.utime(source, (101, 101))
    assert not fault_rows.rust_has_passed(stamp, [source])


def test_every_row_that_is_demanded_has_a_test_that_is_run():
    """Skips and marks apart; a run of all tests looks at those too."""
    page = (fault_rows.ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    in_rust = {row for path in fault_rows.rust_sources() for row in fault_rows.named_in(path.read_text())}
    texts = [path.read_text(encoding="utf-8") for path in (fault_rows.ROOT / "tests").rglob("*.py")]
    in_python = {row.upper() for text in texts for row in re.findall(r"def test_(f\d\d)_", text)}
    demanded = fault_rows.demanded(page)
    assert len(demanded) > 90
    assert demanded <= in_rust | in_python


pytest_plugins = ["pytester"]


@pytest.mark.parametrize(("arguments", "fails"), [((), True), (("-k", "f01"), False)])
def test_a_run_of_all_tests_fails_where_a_row_is_missing_and_a_part_does_not(pytester, arguments, fails):
    pytester.makeini("[pytest]\ntestpaths = .\n")
    pytester.makeconftest(
        f"""
import sys
sys.path.insert(0, {str(fault_rows.ROOT / "tests")!r})
import fault_rows
from conftest_of_ours import pytest_addoption, pytest_sessionfinish, pytest_terminal_summary
fault_rows.rust_sources = lambda: [fault_rows.Path(__file__)]
"""
    )
    pytester.makepyfile(
        conftest_of_ours=(fault_rows.ROOT / "tests" / "conftest.py").read_text(encoding="utf-8"),
        test_it="def test_f01_it_is_refused(): pass",
    )
    ran = pytester.runpytest_subprocess("-p", "no:xdist", *arguments, timeout=50)
    assert (ran.ret != 0) == fails
    ran.stdout.fnmatch_lines("faults survived 1 / injected 1*")
    assert ("no test injected F02, " in ran.stdout.str()) == fails
