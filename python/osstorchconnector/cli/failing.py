"""What a failure looks like: one line on stderr, and an exit status."""

from __future__ import annotations

import os
import sys

import click

from osstorchconnector.cli.tables import printable
from osstorchconnector.errors import OssError

USAGE = 2
INTERRUPTED = 130
BROKEN_PIPE = 141

_TRACEBACK = "OSSCONNECTOR_TRACEBACK"


def misuse(text: str) -> click.UsageError:
    """Make the error of arguments that do not go together; it names the command."""
    return click.UsageError(text, click.get_current_context(silent=True))


def said_in_one_line(failure: Exception) -> str:
    """Say what happened; whoever wants the traceback has the same call in Python.

    Raises:
        Exception: the failure itself, if it is a fault of ours and the environment asks for tracebacks.
    """
    if isinstance(failure, OssError):
        return _line(str(failure))
    if isinstance(failure, OSError):
        reason = failure.strerror or str(failure)
        return _line(f"{failure.filename}: {reason}" if failure.filename else reason)
    if isinstance(failure, ModuleNotFoundError):
        library = (failure.name or "").partition(".")[0]
        if library in ("numpy", "torch"):
            return f"this command needs {library}: pip install 'osstorchconnector[torch]'"
    if isinstance(failure, ImportError) and failure.name is None:
        # Raised by hand, not by an import that found nothing: its text says what to install.
        return _line(str(failure))
    if os.environ.get(_TRACEBACK):
        raise failure
    what = f"{type(failure).__name__}: {failure}"
    return _line(f"{what}; this is a bug, please report it with what {_TRACEBACK}=1 shows")


def complain(text: str) -> None:
    """Say a line on stderr; a terminal is not to obey what a key has in it."""
    print(f"ossconnector: {printable(text, sys.stderr)}", file=sys.stderr)


def _line(text: str) -> str:
    return " ".join(text.splitlines())
