"""Act 3: a process is killed while it saves; the old checkpoint stays, and the next save works."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from digits import saver
from digits.bucket import NAME
from digits.failure import DemoError
from digits.model import State, Training, weights_hash
from digits.training import Trained, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from digits.bucket import Bucket
    from osstorchconnector import OssCheckpoint

KEY = "checkpoints/digits.pt"
URI = f"oss://{NAME}/{KEY}"

_HELD_UP_PART = 2
# Part 1 (16 MiB) is stored at full speed; at this rate the rest takes minutes, so the kill cannot come too late.
_SLOW_PART = {
    "match": {"op": "UploadPart", "part": _HELD_UP_PART},
    "action": {"rate_bytes_per_second": 65536, "direction": "in"},
}
_CHILD_SECONDS = 30
_VISIBLE_CHANGES = {"put", "complete", "delete"}

Entries = list[dict[str, Any]]


@dataclass(frozen=True)
class Saved:
    """What the act measured.

    Attributes:
        size_bytes: of a checkpoint.
        save_seconds: of the save that went through.
        load_seconds: of reading it back into a fresh network.
        accuracy: of that network.
    """

    size_bytes: int
    save_seconds: float
    load_seconds: float
    accuracy: float

    def describe(self) -> str:
        """Say in one phrase how big a checkpoint is and how fast it went and came."""
        megabytes = self.size_bytes / 1e6
        return (
            f"{megabytes:.1f} MB; saved in {self.save_seconds:.2f} s ({megabytes / self.save_seconds:.0f} MB/s), "
            f"loaded in {self.load_seconds:.2f} s ({megabytes / self.load_seconds:.0f} MB/s)"
        )


def run(bucket: Bucket, trained: Trained, home: Path, say: Callable[[str], None]) -> Saved:
    """Save, kill a second save in the middle, load the first, save again, load that.

    Args:
        trained: gives the old checkpoint (first epoch), the new one (last epoch) and what it must reach.
        home: a private folder for the state that the child saves.

    Raises:
        DemoError: the old checkpoint changed, or the new one is not what was saved.
    """
    checkpoints = bucket.checkpoints()
    _save(checkpoints, trained.first_epoch)
    old = _bytes(checkpoints)
    say(f"saved {URI} after epoch 1: {len(old) / 1e6:.1f} MB, sha256 {_digest(old)[:16]}")

    entries = _kill_in_the_middle(bucket, trained.last_epoch, home)
    say(f"a child saves epoch 2 over it; killed with SIGKILL: {progress(entries)}")
    _check_unchanged(bucket, old, weights_hash(trained.first_epoch))
    say("the old checkpoint: every byte as before, and torch.load(weights_only=True) gives epoch 1")

    bucket.behave()
    began = time.perf_counter()
    _save(checkpoints, trained.last_epoch)
    save_seconds = time.perf_counter() - began
    fresh, load_seconds = _loaded(checkpoints)
    reached = measure(bucket, fresh)
    if weights_hash(fresh.state()) != trained.weights or reached != trained.accuracy:
        raise DemoError(f"the loaded network reaches {reached:.1%}, the saved one {trained.accuracy:.1%}")
    say(f"saved again in {save_seconds:.2f} s; a fresh network loads it and reaches {reached:.1%} again")
    return Saved(len(old), save_seconds, load_seconds, reached)


def is_half_saved(entries: Sequence[dict[str, Any]]) -> bool:
    """Say whether the journal shows a part that is stored and another one on its way."""
    stored = any(entry.get("change") == "part" and entry["key"] == KEY for entry in entries)
    on_its_way = any(
        entry.get("operation") == "UploadPart"
        and entry["part"] == _HELD_UP_PART
        and entry["elapsed_ms"] is None
        for entry in entries
    )
    return stored and on_its_way


def progress(entries: Sequence[dict[str, Any]]) -> str:
    """Say how far the journal shows a save."""
    stored = [entry for entry in entries if entry.get("change") == "part"]
    size = sum(entry["size"] or 0 for entry in stored)
    return f"{len(stored)} part of {size / 1e6:.1f} MB stored, the next on its way, nothing completed"


def _kill_in_the_middle(bucket: Bucket, state: State, home: Path) -> Entries:
    """Let a child save, kill it as soon as the journal shows it half way, return the journal as it was then."""
    state_file = home / "state.pt"
    torch.save(state, state_file)
    bucket.oss.reset(keep_objects=True)
    bucket.behave([_SLOW_PART])
    access = [str(bucket.access[name]) for name in ("endpoint", "region", "cred_path")]
    command = [sys.executable, str(saver.__file__), *access, URI, str(state_file)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
        try:
            entries = _wait_until_half_saved(bucket, child)
        finally:
            child.kill()
        said = child.communicate()[1]
    if child.returncode != -signal.SIGKILL:
        raise DemoError(f"the child was not killed but ended with {child.returncode}: {_last_line(said)}")
    return entries


def _wait_until_half_saved(bucket: Bucket, child: subprocess.Popen[str]) -> Entries:
    deadline = time.monotonic() + _CHILD_SECONDS
    entries = bucket.oss.journal()
    while not is_half_saved(entries) and child.poll() is None:
        if time.monotonic() > deadline:
            raise DemoError(f"the child's save was not half way after {_CHILD_SECONDS} s")
        entries = bucket.oss.wait_for_journal(len(entries) + 1, timeout_seconds=1)
    return entries


def _check_unchanged(bucket: Bucket, old: bytes, weights: str) -> None:
    """Demand that the bucket still holds the old checkpoint, and that no change of it was ever visible."""
    changes = [
        entry["change"]
        for entry in bucket.oss.journal()
        if entry.get("key") == KEY and entry.get("change") in _VISIBLE_CHANGES
    ]
    if changes:
        raise DemoError(f"the killed save changed the old checkpoint: {', '.join(changes)}")
    checkpoints = bucket.checkpoints()
    if _digest(_bytes(checkpoints)) != _digest(old):
        raise DemoError("the old checkpoint's bytes are not what they were")
    if weights_hash(_loaded(checkpoints)[0].state()) != weights:
        raise DemoError("the old checkpoint loads, but not with the weights of epoch 1")


def _save(checkpoints: OssCheckpoint, state: State) -> None:
    with checkpoints.writer(URI) as writer:
        torch.save(state, writer)


def _loaded(checkpoints: OssCheckpoint) -> tuple[Training, float]:
    """Load into a fresh network; return it and the seconds of the load."""
    fresh = Training()
    began = time.perf_counter()
    with checkpoints.reader(URI) as reader:
        fresh.load(torch.load(reader, weights_only=True))
    return fresh, time.perf_counter() - began


def _bytes(checkpoints: OssCheckpoint) -> bytes:
    with checkpoints.reader(URI) as reader:
        return bytes(reader.read())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2] or "it said nothing"
