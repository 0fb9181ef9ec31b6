"""The table of counters: how numbers of several processes become one, and what is shown of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osstorchconnector import measures

PAGE = Path(__file__).parent.parent / "docs" / "stats.md"
KINDS = {"sum": "now", "max": "now, the most", "min": "now, the least", "widest": "now, the widest"}


def test_the_page_is_the_table():
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    written = {
        name: (unit, kind, text)
        for names, unit, kind, text in rows
        for name in re.findall(r"`([^`]+)`", names)
    }
    assert written == {
        name: (one.unit, KINDS[one.merge] if one.is_state else "sum", one.text)
        for name, one in measures.MEASURES.items()
    }


def test_sums_are_added_and_states_merged_by_their_kind():
    parts = [
        {"requests": 1, "clock_offset_seconds": -7.0, "credentials_expire_seconds": 90.0, "in_flight": 2},
        {"requests": 2, "clock_offset_seconds": 3.0, "credentials_expire_seconds": 60.0, "in_flight": 3},
        {"pause_left_seconds": 4.0},
        {"pause_left_seconds": 2.0, "requests.GetObject.ok": 1},
    ]
    assert measures.total(parts) == {
        "requests": 3,
        "clock_offset_seconds": -7.0,
        "credentials_expire_seconds": 60.0,
        "in_flight": 5,
        "pause_left_seconds": 4.0,
        "requests.GetObject.ok": 1,
    }


@given(st.lists(st.floats(0, 1e5), max_size=12), st.randoms(use_true_random=False))
def test_a_sum_is_the_same_in_whatever_order_and_groups_it_comes(seconds, dice):
    parts = [{"request_seconds": value} for value in seconds]
    expected = measures.total(parts)
    while len(parts) > 1:
        dice.shuffle(parts)
        parts[:2] = [measures.total(parts[:2])]
    assert measures.total(parts) == expected


def test_what_is_gone_leaves_its_sums():
    stats = {"requests": 1, "in_flight": 2, "credentials_source.file x": 1, "first_byte#3": 1, "threads": 9}
    assert measures.lasting(stats) == {"requests": 1, "first_byte#3": 1}


@pytest.mark.parametrize(
    ("microseconds", "number"),
    # stats/histogram.rs has the same table
    [(0, 0), (7, 7), (8, 8), (15, 15), (16, 16), (18, 17), (1000, 63), (1_000_000, 143)],
)
def test_classes_are_those_in_which_the_native_side_counts(microseconds, number):
    assert measures.class_of((microseconds + 0.5) / 1e6) == number


@given(st.integers(8, 4_000_000_000))
def test_a_quantile_is_off_by_a_sixteenth_at_most(microseconds):
    number = measures.class_of((microseconds + 0.5) / 1e6)
    shown = measures.shown({f"first_byte#{number}": 1})["first_byte_p50_seconds"]
    assert abs(shown * 1e6 - microseconds) <= microseconds / 16 + 1


def test_quantiles_count_from_the_quick_end():
    classes = {0.001: 500, 0.010: 490, 0.100: 9, 1.0: 1}
    raw = {f"whole_object#{measures.class_of(seconds)}": count for seconds, count in classes.items()}
    shown = measures.shown(raw)
    assert shown["whole_object_p50_seconds"] == pytest.approx(0.001, rel=1 / 16)
    assert shown["whole_object_p99_seconds"] == pytest.approx(0.010, rel=1 / 16)
    assert shown["whole_object_p999_seconds"] == pytest.approx(0.100, rel=1 / 16)
    assert not [name for name in shown if "#" in name]


def test_what_follows_from_other_numbers_is_shown():
    raw = {"requests_per_second": 2500.0, "index_listed_keys": 1000, "index_listing_seconds": 4.0}
    shown = measures.shown(raw)
    assert shown["account_quota_share"] == 0.25
    assert shown["index_listing_keys_per_second"] == 250.0
