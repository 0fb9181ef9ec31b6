"""Five acts against a local OSS: stream images into a training, break the network, kill a save, kill a training, go far.

Run it with `make demo`. It needs no account and no network; an act that fails ends the command with 1.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from digits import checkpoint, distance, faults, going_on, pictures, report, training
from digits.bucket import FIRST_BYTE_MS, NAME, READ_AHEAD_MIB, Bucket
from digits.failure import DemoError, one_line
from osstorchconnector.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from digits.checkpoint import Saved
    from digits.faults import Row
    from digits.training import Trained

_CACHE = Path(__file__).resolve().parent.parent / ".cache" / "demo"


def main() -> int:
    """Play the five acts; return the exit status."""
    try:
        _play()
    except KeyboardInterrupt:
        print("\ndemo: interrupted", file=sys.stderr)
        return 130
    except DemoError as failure:
        print(f"\ndemo: {failure}", file=sys.stderr)
        return 1
    return 0


def _play() -> None:
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="oss-demo-")))
        with _act("Setting the stage"):
            data = pictures.prepare(_CACHE, _say)
            _say(data.describe())
            bucket = Bucket(stack.enter_context(Emulator(buckets=[NAME])), home)
            bucket.fill(data)
            _say(
                f"put into oss://{NAME} of an OSS emulator at {bucket.oss.endpoint}, with PutObject, over HTTP"
            )
        with _act("Act 1, stream: train over two DataLoader workers"):
            bucket.behave()
            _say(
                f"first byte after {FIRST_BYTE_MS} ms, at most {READ_AHEAD_MIB} MiB read ahead by each worker"
            )
            streamed = training.train(bucket)
            _say(training.describe(streamed))
        with _act("Act 2, break it: the same epochs on a bad network"):
            broken, rows = _break_it(bucket, streamed)
        with _act("Act 3, kill it: SIGKILL in the middle of a checkpoint save"):
            saved = checkpoint.run(bucket, streamed, home, _say)
        with _act("Act 4, go on: SIGKILL in the middle of an epoch, resumed with other workers"):
            bucket.behave()
            going_on.run(bucket, _say)
        with _act("Act 5, go far: how many requests are in flight is found, not configured"):
            bucket.behave()
            far = distance.run(bucket, home, _say)
        _close(data, streamed, broken, rows, saved, far)


def _break_it(bucket: Bucket, streamed: Trained) -> tuple[Trained, list[Row]]:
    """Train again under faults and demand the very same weights."""
    bucket.behave(faults.rules(), faults.SEED)
    broken = training.train(bucket)
    rows = faults.account(bucket.oss.rule_hits(), broken.stats)
    bucket.behave()
    _say(training.describe(broken))
    _say(report.columns(faults.table(rows)))
    if broken.weights != streamed.weights:
        raise DemoError(f"the weights differ from act 1: {broken.weights[:16]}, not {streamed.weights[:16]}")
    _say(f"sha256 of the final weights: {broken.weights}, the same as in act 1")
    return broken, rows


def _close(
    data: pictures.Pictures,
    streamed: Trained,
    broken: Trained,
    rows: list[Row],
    saved: Saved,
    far: distance.Run,
) -> None:
    print(report.heading("This run"))
    injected, survived = (sum(getattr(row, count) for row in rows) for count in ("injected", "survived"))
    reached = f"{streamed.accuracy:.1%}; with faults {broken.accuracy:.1%}; loaded {saved.accuracy:.1%}"
    figures = [
        ("data", f"{len(data.files):,} objects, {data.size_bytes / 1e6:.0f} MB"),
        ("stream", streamed.figures.describe()),
        ("with faults", broken.figures.describe()),
        ("faults", f"{injected:,} injected, {survived:,} survived"),
        ("accuracy", reached),
        ("checkpoint", saved.describe()),
        (f"{FIRST_BYTE_MS} ms away", far.describe()),
        ("machine", report.machine()),
    ]
    print(report.pairs(figures))
    print(report.heading("Your own bucket, with OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET set"))
    print(report.OWN_BUCKET)


@contextlib.contextmanager
def _act(title: str) -> Iterator[None]:
    """Print a heading, and at the end the time; whatever fails names the act."""
    print(report.heading(title), flush=True)
    began = time.perf_counter()
    try:
        yield
    except Exception as failure:
        raise DemoError(f"{title.partition(':')[0]} failed: {one_line(failure)}") from failure
    _say(f"({time.perf_counter() - began:.1f} s)")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
