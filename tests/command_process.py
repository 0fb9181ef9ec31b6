"""`ossconnector` in a process of its own, in an environment that leads it to an emulator."""

from __future__ import annotations

import json
import os
import subprocess
import sys

COMMAND = [sys.executable, "-m", "osstorchconnector.cli"]


class Shell:
    """Types commands where a user would.

    Attributes:
        variables: the environment of the commands.
    """

    def __init__(self, site, directory):
        self.oss = site.oss
        self.directory = directory
        home = {"XDG_CACHE_HOME": str(site.directory / "cache")}
        self.variables = {**os.environ, **site.oss.environ(), **home, "COLUMNS": "100"}

    def run(self, *arguments, **options):
        """Run a command to its end."""
        given = {"capture_output": True, "text": True, "timeout": 50, **options}
        return subprocess.run(
            [*COMMAND, *map(str, arguments)], check=False, env=self.variables, cwd=self.directory, **given
        )

    def printed(self, *arguments, **options):
        """Run a command that succeeds in silence on stderr; return its output."""
        done = self.run(*arguments, **options)
        assert (done.returncode, done.stderr) == (0, "" if options.get("text", True) else b""), done
        return done.stdout

    def document(self, *arguments):
        """Run a command with --json; return what it says."""
        return json.loads(self.printed(*arguments, "--json"))

    def refused(self, *arguments, status=1):
        """Run a command that fails; return the one line it says."""
        done = self.run(*arguments)
        assert done.returncode == status, done
        assert done.stderr.count("\n") == 1, done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr.rstrip()

    def begun(self, *arguments, **options):
        """Begin a command."""
        return subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            env=self.variables,
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
