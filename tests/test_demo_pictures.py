"""The demo's data are what it says they are."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from digits import pictures


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(pictures, "TRAIN_COUNT", 16)
    monkeypatch.setattr(pictures, "HELD_OUT_COUNT", 4)


def test_the_counts_are_those_the_demo_promises():
    assert pictures.TRAIN_COUNT + pictures.HELD_OUT_COUNT >= 5000


def test_no_scan_is_both_trained_on_and_held_out():
    train = set(pictures.digits_of("train", pictures.TRAIN_COUNT))
    held_out = set(pictures.digits_of("held-out", pictures.HELD_OUT_COUNT))
    assert not train & held_out
    assert len(train | held_out) == 1797


def test_every_scan_is_shown_about_equally_often():
    counts = np.bincount(pictures.digits_of("train", pictures.TRAIN_COUNT))
    assert set(counts[counts > 0]) == {3, 4}


def test_the_same_seed_draws_the_same_picture():
    scan = load_digits().images[0]
    photograph = Image.fromarray(load_sample_images().images[0])
    one, again, other = (
        pictures.compose(scan, photograph, np.random.default_rng(seed)).tobytes() for seed in (3, 3, 4)
    )
    assert one == again != other


@pytest.mark.usefixtures("few")
def test_pictures_are_jpegs_of_about_twenty_kilobytes_named_by_the_manifest(tmp_path):
    made = pictures.prepare(tmp_path, lambda _: None)
    rows = [
        line.split("\t")
        for part in ("train", "held-out")
        for line in made.manifest(part).decode().splitlines()
    ]
    assert sorted(key for key, _ in rows) == made.files
    assert len(made.files) == 20
    for key, label in rows:
        assert Image.open(io.BytesIO((made.folder / key).read_bytes())).size == (224, 224)
        assert label in set("0123456789")
    assert 15_000 < made.size_bytes / 20 < 25_000


@pytest.mark.usefixtures("few")
def test_labels_are_those_of_the_scans(tmp_path):
    lines = pictures.prepare(tmp_path, lambda _: None).manifest("train").decode().splitlines()
    expected = load_digits().target[pictures.digits_of("train", 16)]
    assert [int(line.split("\t")[1]) for line in lines] == list(expected)


@pytest.mark.usefixtures("few")
def test_pictures_are_drawn_once_and_taken_from_the_cache_then(tmp_path):
    said: list[str] = []
    first = pictures.prepare(tmp_path, said.append)
    assert pictures.prepare(tmp_path, said.append) == first
    assert len(said) == 1
    assert [path.name for path in tmp_path.iterdir()] == [first.folder.name]


@pytest.mark.usefixtures("few")
def test_what_is_drawn_names_the_cache(tmp_path, monkeypatch):
    first = pictures.prepare(tmp_path, lambda _: None).folder
    monkeypatch.setattr(pictures, "TRAIN_COUNT", 8)
    assert pictures.prepare(tmp_path, lambda _: None).folder != first


@pytest.mark.usefixtures("few")
def test_the_output_says_what_the_data_are(tmp_path):
    text = pictures.prepare(tmp_path, lambda _: None).describe()
    assert "handwritten digits" in text
    assert "china.jpg and flower.jpg" in text
    assert text.startswith("20 JPEGs")
