"""A process in which one of the two packages works: the original wheel, or ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import private_names
import pytest

import torch_versions

ROOT = Path(__file__).parents[2]
ORIGINAL = ROOT / ".cache" / "original"
OURS = ROOT / "python"
HOST = "oss-cn-local.test"
ANSWER, CHILD = "ANSWER ", "CHILD "

# The waits of our policy, short: an endpoint that never answers is told apart within a second.
TIMERS = {
    "deadlineSeconds": 2,
    "firstContactSeconds": 1,
    "retryBaseSeconds": 0.002,
    "retryCapSeconds": 0.1,
    "tickSeconds": 0.05,
}

# The longest task takes seconds; the first one waits for torch to be imported.
SILENCE_SECONDS = 90


def cannot_witness(why):
    """Skip, and leave a warning in the summary: a witness that stays away must not go unnoticed."""
    reason = f"NOT WITNESSED by the original wheel: {why}"
    warnings.warn(reason, stacklevel=2)
    pytest.skip(reason)


def way_to_names(buckets, directory):
    """Return what to put before a command so that the buckets' host names lead to loopback in it."""
    if not (ORIGINAL / "osstorchconnector").is_dir():
        cannot_witness("it is not installed; `make original` fetches it where it can be had")
    if torch_versions.THIS < (2, 3):
        cannot_witness("it needs torch 2.3")
    prefix = private_names.command_prefix([f"{bucket}.{HOST}" for bucket in buckets], directory)
    if prefix is None:
        cannot_witness("its host names cannot be made to resolve here (no user namespaces, no root)")
    return prefix


def endpoint_of(oss_emulator):
    """Return the emulator's endpoint under the name that the original can speak to."""
    return f"http://{HOST}:{oss_emulator.endpoint.rpartition(':')[2]}"


def place_of(oss_emulator, directory, config, closed_port):
    """Return where a program of `same_programs` is: an empty directory in the one given, a config file beside it."""
    files = directory / "files"
    files.mkdir(parents=True)
    document = {"logPath": f"{directory}/log", "auditPath": "", "network": TIMERS, **config}
    endpoint = endpoint_of(oss_emulator)
    arguments = {
        "endpoint": endpoint,
        "region": oss_emulator.region,
        "cred_path": oss_emulator.write_credentials(directory),
        "config_path": oss_emulator.write_config(directory, document),
    }
    closed = f"{endpoint.rpartition(':')[0]}:{closed_port}"
    return {"arguments": arguments, "directory": str(files), "closed": closed}


class PackageProcess:
    """A process that does one task after the other with the package that lies in `home`."""

    def __init__(self, program, home, prefix, directory):
        self._log = open(directory / "stderr", "w+b")  # noqa: SIM115 -- closed with the process
        self._process = subprocess.Popen(
            [*prefix, sys.executable, program, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, "PYTHONPATH": str(home), "PYTHONNOUSERSITE": "1"},
        )

    def ask(self, question, meet_child=None):
        """Return the answer; a process that ends or stays silent instead fails the test.

        Args:
            meet_child: is given the number of the process that the program will run in, before it does.
        """
        guard = threading.Timer(SILENCE_SECONDS, self._process.kill)
        guard.start()
        try:
            self._write(json.dumps(question))
            for line in self._process.stdout:
                if line.startswith(ANSWER):
                    return json.loads(line.removeprefix(ANSWER))
                if line.startswith(CHILD):
                    meet_child(json.loads(line.removeprefix(CHILD)))
                    self._write("go")
        finally:
            guard.cancel()
        return pytest.fail(f"the package's process ended with {self._process.wait()}: {self.said()}")

    def _write(self, line):
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def said(self):
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-4000:]

    def is_alive(self):
        return self._process.poll() is None

    def end(self):
        self._process.kill()
        self._process.communicate()
        self._log.close()
