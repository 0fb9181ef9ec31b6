"""A thread that ticks: what other Python threads feel while one waits for OSS."""

from __future__ import annotations

import threading
import time


class Ticking:
    """Tick every few milliseconds beside a block; `longest_gap` is the longest pause in seconds."""

    def __enter__(self):
        self.longest_gap = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)
        self._thread.start()
        return self

    def _tick(self):
        last = time.monotonic()
        while not self._stop.wait(0.005):
            now = time.monotonic()
            self.longest_gap = max(self.longest_gap, now - last)
            last = now

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


def smallest_gap_of(attempt, most=0.1, tries=4):
    """Run `attempt` beside a ticking thread until no gap was longer than `most` seconds; return the smallest gap.

    A busy machine may make one run gasp; a lock that is held while waiting makes every run gasp.
    """
    gaps = []
    for _ in range(tries):
        with Ticking() as ticking:
            attempt()
        gaps.append(ticking.longest_gap)
        if gaps[-1] <= most:
            break
    return min(gaps)
