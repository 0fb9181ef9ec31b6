"""Act 4: a training is killed in mid-epoch and goes on with another number of workers, sample for sample."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from digits import trainee
from digits.bucket import NAME
from digits.failure import DemoError

if TYPE_CHECKING:
    from collections.abc import Callable

    from digits.bucket import Bucket

BATCH = 64
SAVE_EVERY = 8
_WORKERS_BEFORE = 1
_WORKERS_AFTER = 2


@dataclass(frozen=True)
class Epoch:
    """What a child said of its epoch.

    Attributes:
        begun_at: samples that were used before it began.
        batches: the keys of each batch.
        weights: hash of the final weights; "" if it was killed.
    """

    begun_at: int
    batches: list[list[str]]
    weights: str

    def used(self) -> int:
        """Count the samples of the epoch that were used in the end."""
        return self.begun_at + sum(map(len, self.batches))


def run(bucket: Bucket, say: Callable[[str], None]) -> None:
    """Train an epoch undisturbed; train it again, kill it between two checkpoints, go on with other workers.

    Raises:
        DemoError: the samples or the weights are not those of the undisturbed run.
    """
    whole = _train(bucket, "undisturbed", _WORKERS_BEFORE)
    say(f"undisturbed: {whole.used():,} pictures, shuffled, {_WORKERS_BEFORE} worker; {_described(whole)}")
    kill_after = _kill_after(len(whole.batches))
    killed = _train(bucket, "killed", _WORKERS_BEFORE, kill_after)
    say(f"the same again, killed with SIGKILL after {killed.used():,} pictures")
    resumed = _train(bucket, "killed", _WORKERS_AFTER)
    if not 0 < resumed.begun_at < killed.used():
        raise DemoError(
            f"the resumed run began at {resumed.begun_at}, the killed one had used {killed.used()}"
        )
    say(f"resumed from its checkpoint at {resumed.begun_at:,}, with {_WORKERS_AFTER} workers")
    kept = killed.batches[: resumed.begun_at // BATCH]
    together = Epoch(0, [*kept, *resumed.batches], resumed.weights)
    if _digest(together) != _digest(whole) or together.weights != whole.weights:
        raise DemoError(f"the resumed run has {_described(together)}; undisturbed it was {_described(whole)}")
    say(f"killed and resumed: {_described(together)}: the same")


def _kill_after(batches: int) -> int:
    """Choose the batch after which to kill: beyond the first checkpoint, and not at one."""
    if batches <= SAVE_EVERY + 1:
        raise DemoError(f"{batches} batches are too few to be killed between two checkpoints")
    return max(SAVE_EVERY + 1, batches // 2 // SAVE_EVERY * SAVE_EVERY + 3)


def _train(bucket: Bucket, name: str, workers: int, kill_after: int | None = None) -> Epoch:
    """Let a child train; kill it after so many batches, if that is asked for."""
    uri = f"oss://{NAME}/checkpoints/{name}.pt"
    sizes = [str(number) for number in (workers, BATCH, SAVE_EVERY)]
    command = [sys.executable, str(trainee.__file__), *bucket.access_arguments(), uri, *sizes]
    # The child finds its rooms as this process did.
    rooms = os.pathsep.join([str(Path(__file__).parent.parent), *filter(None, sys.path)])
    batches: list[list[str]] = []
    weights, used = "", 0
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": rooms},
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        for line in child.stdout:
            said = json.loads(line)
            used = said["used"]
            weights = said.get("weights", "")
            if not weights:
                batches.append(said["keys"])
            if len(batches) == kill_after:
                child.kill()
                break
            if not weights:
                child.stdin.write("\n")
                child.stdin.flush()
    if kill_after is None and child.returncode != 0:
        raise DemoError(f"the training of {name}.pt ended with {child.returncode}")
    return Epoch(used - sum(map(len, batches)), batches, weights)


def _described(epoch: Epoch) -> str:
    return f"sequence {_digest(epoch)[:16]}, weights {epoch.weights[:16]}"


def _digest(epoch: Epoch) -> str:
    """Hash the sequence of samples."""
    return hashlib.sha256("\n".join(key for batch in epoch.batches for key in batch).encode()).hexdigest()
