"""A process with torch imported that forks for each run: it spares a second or two of import where only time counts.

Rows of tables, whose memory and CPU time are shown, run in processes of their own instead: a forked process finds the
pages of libraries unmapped and would count them as its own, and copies what it writes to (some 25 ms of CPU time in an
epoch of 4,000 objects). Neither ours nor any other package is imported before the fork.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measure import Target, measured

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Starter:
    """Start runs, one after the other, each in a process of its own; what they told goes through `result`."""

    def __init__(self, prefix: Sequence[str], environment: Mapping[str, str] | None, result: Path) -> None:
        command = [*prefix, sys.executable, __file__]
        self._result = result
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def run(self, module: str, target: Target) -> dict[str, Any]:
        """Measure one workload.

        Raises:
            subprocess.CalledProcessError: its process failed.
        """
        asked, told = self._process.stdin, self._process.stdout
        assert asked is not None, "both are pipes"
        assert told is not None, "both are pipes"
        asked.write(json.dumps([module, asdict(target), str(self._result)]) + "\n")
        asked.flush()
        status = int(told.readline() or 1)
        if status != 0:
            raise subprocess.CalledProcessError(status, module)
        result: dict[str, Any] = json.loads(self._result.read_text())
        return result

    def close(self) -> None:
        """Let it end, which it does with its input."""
        self._process.communicate()


def serve() -> None:
    """Fork for each line of standard input, wait, and answer with the exit status."""
    importlib.import_module("torch.utils.data")
    answers, silence = os.fdopen(os.dup(1), "w"), os.open(os.devnull, os.O_RDWR)
    os.dup2(silence, 1)  # the original says there what it sets up
    gc.freeze()  # or a child's first collection would copy all that is here
    for line in iter(sys.stdin.readline, ""):
        child = os.fork()
        if child == 0:
            os.dup2(silence, 0)
            module, target, result = json.loads(line)
            Path(result).write_text(json.dumps(measured(module, Target(**target))))
            return  # and ends as every process does, its workers stopped and its threads joined
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


if __name__ == "__main__":
    serve()
