"""The demo's bar measures around the loader and shows what it measured."""

from __future__ import annotations

import io

from digits.progress import Figures, Meter, bar


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


def loader(clock, batches, seconds):
    """Yield batches of four, each after a wait."""
    for _ in range(batches):
        clock.now += seconds
        yield None, [0] * 4


def run(stream, batches=6):
    """Let a loop wait 1 s for and work 3 s on each batch."""
    clock = Clock()
    meter = Meter(batches * 4, lambda: {"dataset_bytes": 96_000_000, "in_flight": 17}, stream, clock)
    for _ in meter.follow(loader(clock, batches, 1.0)):
        clock.now += 3.0
    return meter.finish()


def test_figures_are_rates_and_the_share_of_waiting():
    figures = run(io.StringIO())
    assert figures == Figures(samples=24, size_bytes=96_000_000, seconds=24.0, waited_seconds=6.0)
    assert figures.samples_per_second == 1.0
    assert figures.megabytes_per_second == 4.0
    assert figures.waiting_share == 0.25
    assert figures.describe() == "1 samples/s, 4.0 MB/s, 25% of the time waiting for data"


def test_a_second_epoch_adds_to_the_first():
    clock = Clock()
    meter = Meter(16, lambda: {"dataset_bytes": 0}, io.StringIO(), clock)
    for _ in range(2):
        for _ in meter.follow(loader(clock, 2, 1.0)):
            clock.now += 1.0
        clock.now += 1000  # between epochs nothing is measured
    figures = meter.finish()
    assert (figures.samples, figures.seconds, figures.waited_seconds) == (16, 8.0, 4.0)


def test_a_terminal_gets_one_line_redrawn_in_place():
    stream = Terminal()
    run(stream)
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert text.count("\r") == 7
    assert "17 in flight" in text


def test_a_file_gets_a_line_every_few_seconds():
    stream = io.StringIO()
    run(stream)
    assert "\r" not in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == 4


def test_the_bar_fills_and_never_overflows():
    half = bar(Figures(50, 1_000_000, 1.0, 0.5), total=100, in_flight=3)
    assert half.startswith("[########........]")
    assert "50 samples/s" in half
    assert "1.0 MB/s" in half
    assert "3 in flight" in half
    assert "50% waiting" in half
    assert bar(Figures(300, 0, 0.0, 0.0), total=100, in_flight=0).startswith("[################]")


def test_the_bar_fits_a_terminal_of_eighty_columns():
    assert len("  " + bar(Figures(10**6, 10**9, 100.0, 100.0), total=10**6, in_flight=256)) < 80
