"""Ranks of a process group, forked from this process: torch is imported once, and a rank is there in milliseconds."""

from __future__ import annotations

import contextlib
import os
import pickle
import selectors
import signal
import tempfile
import time
import traceback
import warnings
from datetime import timedelta

import torch
import torch.distributed as dist

GROUP_SECONDS = 15


class Ranks:
    """A running world; `with` waits for its end and leaves no process behind."""

    def __init__(self, world_size, function, *arguments, group_seconds=GROUP_SECONDS, waiting=False):
        self._directory = tempfile.TemporaryDirectory()
        self._meeting = os.path.join(self._directory.name, "meeting")
        self._gate, self._opener = os.pipe()
        self.pids, self._pipes = [], []
        for rank in range(world_size):
            self._fork(rank, world_size, function, arguments, group_seconds)
        if not waiting:
            self.go()

    def go(self):
        """Let the ranks begin; with `waiting=True` they wait for it."""
        os.close(self._opener)
        os.close(self._gate)

    def _fork(self, rank, world_size, function, arguments, group_seconds):
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.close(reading)
                os.close(self._opener)
                assert os.read(self._gate, 1) == b"", "the gate is open when its other end is closed"
                outcome = self._be(rank, world_size, function, arguments, group_seconds)
                with os.fdopen(writing, "wb") as pipe:
                    pipe.write(outcome)
                code = 0
            finally:
                os._exit(code)
        os.close(writing)
        self.pids.append(pid)
        self._pipes.append(reading)

    def _be(self, rank, world_size, function, arguments, group_seconds):
        warnings.simplefilter("ignore")
        # The threads of torch's pool stay in the parent.
        torch.set_num_threads(1)
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        try:
            dist.init_process_group(
                "gloo",
                init_method=f"file://{self._meeting}",
                rank=rank,
                world_size=world_size,
                timeout=timedelta(seconds=group_seconds),
            )
            return pickle.dumps(("done", function(rank, *arguments)))
        except BaseException as error:  # noqa: BLE001  (torch's CheckpointException is no Exception)
            text = "".join(traceback.format_exception(error))
            failures = {rank: said for rank, (said, _) in getattr(error, "failures", {}).items()}
            return pickle.dumps(("failed", failures, f"{type(error).__name__}: {error}", text))

    def outcomes(self, limit_seconds=40):
        """Wait for all ranks; return what each said, None for one that was killed."""
        said = dict.fromkeys(self._pipes, b"")
        until = time.monotonic() + limit_seconds
        with selectors.DefaultSelector() as waiting:
            for pipe in self._pipes:
                waiting.register(pipe, selectors.EVENT_READ)
            while waiting.get_map():
                ready = waiting.select(max(0.0, until - time.monotonic()))
                assert ready, f"ranks still run after {limit_seconds} s"
                for key, _ in ready:
                    data = os.read(key.fd, 1 << 20)
                    said[key.fd] += data
                    if not data:
                        waiting.unregister(key.fd)
        return [pickle.loads(said[pipe]) if said[pipe] else None for pipe in self._pipes]

    def __enter__(self):
        """Return itself."""
        return self

    def __exit__(self, *_):
        """Kill what is left, and forget it."""
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        for pipe in self._pipes:
            os.close(pipe)
        self._directory.cleanup()


def on_ranks(world_size, function, *arguments, **options):
    """Run a function of (rank, *arguments) on every rank; return what they returned, or fail with what one said."""
    with Ranks(world_size, function, *arguments, **options) as ranks:
        outcomes = ranks.outcomes()
    for outcome in outcomes:
        assert outcome is not None, "a rank was killed"
        assert outcome[0] == "done", outcome[-1]
    return [outcome[1] for outcome in outcomes]
