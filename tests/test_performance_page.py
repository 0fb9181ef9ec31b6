"""docs/performance.md shows what was measured, and nothing else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "performance.md"
MEASURED = ROOT / "docs" / "performance" / "measured.json"
PARTS = ("when", "shares", "raw", "costs", "models", "behaviour", "all")


@pytest.fixture(autouse=True)
def benches(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benches"))


def _run(number, seconds, size_bytes=1000, **more):
    return {"round": number, "bytes": size_bytes, "seconds": seconds, **more}


def _measured(**parts):
    """What a bench leaves behind that measured next to nothing."""
    return {
        "machine": {"cpus": 2, "cpu": "a processor", "memory_gib": 24, "kernel": "6", "python": "3.11"},
        "date": "2026-11-23 05:26 UTC",
        "took_seconds": 1,
        "load_average_before": 0.1,
        "is_tiny": False,
        "described": "10 objects",
        "round_count": 3,
        "rounds": {},
        "behaviours": {},
        "curves": {"size": [], "in_flight": [], "workers": [], "latency": []},
        "timeline": {
            "objects": 10,
            "step_seconds": 0.02,
            "requests": {"ours": [1, 2, 0], "original": [1] * 20},
        },
        **parts,
    }


def _iterable(*, ours, seeds):
    """Three rounds of which the limit drifts; shares of it, in each round."""
    limits = [1.0, 2.0, 4.0]
    return {
        "raw objects, beside iterable": [_run(number, took) for number, took in enumerate(limits)],
        "iterable": [
            _run(number, limit / share, cpu_seconds=1.0, peak_bytes=39_000_000)
            for number, (limit, share) in enumerate(zip(limits, ours, strict=True))
        ],
        "iterable, seed's config": [
            _run(number, limit / share, cpu_seconds=1.1, peak_bytes=41_000_000)
            for number, (limit, share) in enumerate(zip(limits, seeds, strict=True))
        ],
        "original iterable": [
            _run(number, 5 * limit, cpu_seconds=5.0, peak_bytes=20_000_000)
            for number, limit in enumerate(limits)
        ],
    }


def _written(measured, directory):
    import page

    copy = directory / "performance.md"
    copy.write_text("".join(f"<!-- measured: {name} -->\n<!-- end -->\n" for name in PARTS))
    page.write(measured, copy)
    return copy.read_text()


def _cells(text, what):
    """Return the cells of the first row of a table that names it."""
    line = next(line for line in text.splitlines() if line.startswith("|") and what in line)
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_tables_are_those_of_what_was_measured(tmp_path):
    import page

    measured = json.loads(MEASURED.read_text())
    if "rounds" not in measured:
        pytest.skip("what was measured is older than the page's tables, and keeps no rounds")
    copy = tmp_path / "performance.md"
    shutil.copy(PAGE, copy)
    page.write(measured, copy)
    assert copy.read_text() == PAGE.read_text()


def test_a_page_without_its_marks_is_not_written(tmp_path):
    import page

    copy = tmp_path / "performance.md"
    copy.write_text("no marks")
    with pytest.raises(SystemExit, match="put the marks back"):
        page.write(_measured(), copy)
    assert copy.read_text() == "no marks"


def test_every_part_has_its_marks_on_the_page_once():
    assert re.findall(r"<!-- measured: (\w+) -->", PAGE.read_text()) == list(PARTS)


def test_every_picture_is_there():
    pictures = re.findall(r"\]\((performance/\w+\.svg)\)", PAGE.read_text())
    assert len(pictures) == 3
    assert all((ROOT / "docs" / picture).stat().st_size > 1000 for picture in pictures)


def test_a_share_is_the_median_of_the_shares_of_each_round(tmp_path):
    rounds = _iterable(ours=(0.7, 0.8, 0.9), seeds=(0.76, 0.77, 0.78))
    cells = _cells(_written(_measured(rounds=rounds), tmp_path), "`iterable`")
    assert cells[1:5] == ["0.80 (0.70..0.90)", "0.77 (0.76..0.78)", ">= 0.75", "0.20"]
    assert cells[5:] == ["4.0x / 3.9x", ">= 3.5x", "met"]


def test_only_runs_of_the_same_round_are_compared():
    from figures import against, speed

    rounds = {"ours": [_run(0, 1), _run(2, 1)], "limit": [_run(1, 100), _run(2, 2)]}
    assert against(rounds, "ours", "limit", speed) == [2.0]


def test_a_goal_is_met_only_where_both_configurations_meet_it(tmp_path):
    rounds = _iterable(ours=(0.8, 0.8, 0.8), seeds=(0.7, 0.7, 0.7))
    text = _written(_measured(rounds=rounds), tmp_path)
    assert _cells(text, "`iterable`")[-1] == "**not met**: share"
    assert _cells(text, "CPU time")[1:] == ["0.20", "0.22", "<= 0.25", "1.00", "met"]
    assert _cells(text, "peak memory")[1:] == ["39 MB", "41 MB", "<= 40 MB", "20 MB", "**not met**"]
    assert "Of 4 goals 2 are met" in text


def test_a_figure_is_written_with_so_many_digits_that_it_does_not_look_better_than_it_is(tmp_path):
    rounds = _iterable(ours=(0.7496, 0.7496, 0.7496), seeds=(0.8, 0.8, 0.8))
    cells = _cells(_written(_measured(rounds=rounds), tmp_path), "`iterable`")
    assert cells[1] == "0.7496"
    assert cells[-1] == "**not met**: share"


def test_no_row_of_a_goal_is_left_out_where_it_was_not_measured(tmp_path):
    import goals

    text = _written(_measured(), tmp_path)
    shown = [line for line in text.splitlines() if line.endswith("| not measured |")]
    assert len(shown) == len([row for row in goals.raw_rows() if row.goal]) + len(
        [line for line in (*goals.costs(), *goals.BEHAVIOURS) if line.bound]
    )
    assert "Of 0 goals 0 are met" in text


def test_the_goals_are_those_that_were_asked_for():
    import goals

    shares = {row.name: (row.goal, row.times_original) for row in goals.raw_rows()}
    assert shares == {
        "iterable": (0.75, 3.5),
        "map": (0.65, 4),
        "iterable, 2 workers": (0.65, None),
        "map, 2 workers": (0.6, None),
        "labelled": (0.65, None),
        "iterable, 1 KB": (0.5, None),
        "iterable, https": (0.85, None),
        "checkpoint_pieces": (0.9, 3),
        "checkpoint_whole": (0.9, 3),
        "checkpoint_read": (0.8, None),
        "checkpoint_write": (0.8, None),
        "safetensors_load": (0.8, None),
    }
    assert [line.goal() for line in goals.costs()] == ["<= 0.25", "<= 40 MB", "<= 350 MB"]
    asked = [line.goal() for line in goals.BEHAVIOURS if line.bound]
    assert asked == [
        ">= 5,000 objects/s",
        ">= 90 %",
        "<= 2 %",
        ">= 90 %",
        "<= 5 %",
        ">= 0.5",
        "<= 3x",
        "<= 5 %",
        ">= 85 %",
        ">= 10x",
        ">= 10x",
        "<= 2 %",
        "<= 20 ms",
        "<= 100 %",
        "<= 3 us",
        "<= 0.1 s",
    ]


def test_behaviour_shows_the_median_of_its_rounds_and_the_original_beside(tmp_path):
    distant = {
        "ours": [{"objects_per_second": rate} for rate in (6000, 7000, 4000)],
        "seeds": [{"objects_per_second": 5500}],
        "original": [{"objects_per_second": 700}],
    }
    cells = _cells(_written(_measured(behaviours={"distant": distant}), tmp_path), "30 ms to the first byte")
    assert cells[1:] == [
        "6,000 objects/s (4,000..7,000)",
        "5,500 objects/s",
        ">= 5,000 objects/s",
        "700 objects/s",
        "met",
    ]


def test_saving_a_model_shows_its_stages_and_the_originals_seconds(tmp_path):
    stages = {"serialise": 0.5, "upload": 1.0}
    rounds = {
        "model_save": [_run(0, 2.0, stages=stages), _run(1, 4.0, stages=stages)],
        "original model_save": [_run(0, 4.0), _run(1, 8.0)],
    }
    cells = _cells(_written(_measured(rounds=rounds), tmp_path), "torch.save")
    assert cells[2:] == ["3.00 (2.00..4.00)", "serialise 0.50, upload 1.00", "6.00 (4.00..8.00)", "-", "2.0x"]


def test_a_speed_is_written_with_three_digits_that_count():
    import report

    speeds = (0.03374, 2.5, 4.049, 1234.5)
    rounds = {f"{speed}": [_run(0, 1 / speed, 1e9)] for speed in speeds}
    assert [cells[3] for cells in report.cells(rounds, {})] == ["0.0337", "2.5", "4.05", "1,230"]


def test_what_was_measured_is_kept_a_line_for_each_run():
    import report

    content = _measured(rounds=_iterable(ours=(1, 1, 1), seeds=(1, 1, 1)))
    text = report.text(content)
    assert json.loads(text) == content
    runs = [line for line in text.splitlines() if '"round": ' in line]
    assert len(runs) == 12


def test_pictures_are_drawn_of_the_rounds_and_follow_a_dark_scheme(tmp_path):
    import plots

    runs = [_run(number, took, objects=100) for number, took in enumerate((1.0, 2.0, 3.0))]
    curves = {
        "size": [{"x": 1024, "limit": runs, "ours": runs}, {"x": 1 << 20, "limit": runs, "ours": runs}],
        "in_flight": [{"x": 8, "ours": runs}],
        "workers": [{"x": 1, "iterable": runs, "map": runs, "original": runs[:1]}],
        "latency": [{"x": 0, "ours": runs}, {"x": 30, "ours": runs, "original": runs}],
    }
    measured = _measured(rounds=_iterable(ours=(0.7, 0.8, 0.9), seeds=(0.7, 0.7, 0.7)), curves=curves)
    plots.draw(measured, tmp_path)
    first = {path.name: path.read_text() for path in tmp_path.glob("*.svg")}
    assert set(first) == {"rows.svg", "curves.svg", "level.svg"}
    for svg in first.values():
        assert "prefers-color-scheme:dark" in svg
        for colour in (plots.PAPER, plots.INK):
            assert f": {colour}" in svg.partition("</style>")[2], "the rule finds what it recolours"
    plots.draw(measured, tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.glob("*.svg")} == first


def test_requests_in_flight_are_counted_from_the_journal():
    import curves

    entries = [
        {"started_ms": 1000, "elapsed_ms": 30},
        {"started_ms": 1010, "elapsed_ms": 30},
        {"started_ms": 1050, "elapsed_ms": None},
    ]
    assert curves.in_flight(entries, step_ms=20) == [1, 2, 0, 0]


def test_contenders_of_a_curve_run_in_turn_and_one_that_cannot_is_not_asked_again():
    import curves

    asked = []

    def run(name, took):
        asked.append(name)
        return None if took is None else _run(0, took, stats={"much": 1})

    found = curves._in_turn(3, ours=lambda: run("ours", 1.0), original=lambda: run("original", None))
    assert asked == ["ours", "original", "ours", "ours"]
    assert found == {"ours": [{"round": number, "bytes": 1000, "seconds": 1.0} for number in range(3)]}


def test_a_forked_run_is_measured_and_one_that_fails_is_told(tmp_path):
    from measure import Target
    from starter import Starter

    (tmp_path / "four_bytes.py").write_text(
        "class Workload:\n    def __init__(self, target): pass\n    def run(self): print('noise'); return 4\n"
    )
    target = Target("", "", "", "", str(tmp_path), objects=1, big_bytes=0, expected_bytes=4)
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT / 'python'}", "PATH": "/usr/bin:/bin"}
    starter = Starter([], environment, tmp_path / "result.json")
    try:
        assert starter.run("four_bytes", target)["bytes"] == 4
        with pytest.raises(subprocess.CalledProcessError):
            starter.run("four_bytes", Target(**{**vars(target), "expected_bytes": 5}))
        assert starter.run("four_bytes", target)["bytes"] == 4
    finally:
        starter.close()


@pytest.mark.parametrize(
    ("line", "at", "column"),
    [
        ("oss-worker  ffffffff81a0 _copy_to_iter ([kernel.kallsyms])", "_copy_to_iter", "requests: kernel"),
        ("oss-worker 7f00 [unknown] (/a/_native.cpython-311.so)", "[unknown]", "requests: code of ours"),
        ("oss-worker 7f00 malloc (/lib/libc.so.6)", "malloc", "requests: libraries"),
        ("oss-list 7f00 memchr::find (/a/_native.abi3.so)", "memchr::find", "listing"),
        (
            "python 7f00 PyObject_Free (/lib/libpython3.11.so.1.0)",
            "PyObject_Free",
            "Python's threads: interpreter",
        ),
        ("pt data worker 7f00 memcpy (/lib/libc.so.6)", "memcpy", "Python's threads: libraries"),
    ],
)
def test_a_sample_of_a_profile_stands_in_its_column(line, at, column):
    import where

    thread, library, symbol = where.sample(line)
    assert symbol == at
    assert where.column(thread, library) == column
    assert column in where.COLUMNS
