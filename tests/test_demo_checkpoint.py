"""The demo kills a save when, and only when, the journal shows it half way."""

from __future__ import annotations

from digits.checkpoint import KEY, Saved, is_half_saved, progress

INITIATE = {"operation": "InitiateMultipartUpload", "key": KEY, "part": None, "elapsed_ms": 1}
FIRST = {"operation": "UploadPart", "key": KEY, "part": 1, "elapsed_ms": 20}
STORED = {"change": "part", "key": KEY, "part": 1, "size": 16_777_216}
SECOND = {"operation": "UploadPart", "key": KEY, "part": 2, "elapsed_ms": None}


def test_a_save_is_half_way_when_one_part_is_stored_and_the_next_on_its_way():
    assert is_half_saved([INITIATE, FIRST, STORED, SECOND])


def test_a_save_that_only_began_or_that_ended_is_not_half_way():
    assert not is_half_saved([])
    assert not is_half_saved([INITIATE, FIRST, STORED])
    assert not is_half_saved([INITIATE, FIRST, SECOND])
    assert not is_half_saved([INITIATE, FIRST, STORED, {**SECOND, "elapsed_ms": 90}])


def test_the_progress_of_a_save_is_told_in_bytes():
    assert progress([INITIATE, FIRST, STORED, SECOND]).startswith("1 part of 16.8 MB stored")


def test_a_checkpoint_is_described_with_its_rates():
    saved = Saved(size_bytes=20_000_000, save_seconds=0.5, load_seconds=0.25, accuracy=0.9)
    assert saved.describe() == "20.0 MB; saved in 0.50 s (40 MB/s), loaded in 0.25 s (80 MB/s)"
