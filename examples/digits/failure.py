"""What goes wrong in an act."""

from __future__ import annotations

import re

_RAISED = re.compile(r"[\w.]+(Error|Exception): ")


class DemoError(Exception):
    """An act did not show what it promises; the text is one line."""


def one_line(failure: BaseException) -> str:
    """Reduce an exception to one line.

    The text of a DataLoader worker's error is a whole traceback, in which the line that names the exception is what
    matters; notes on earlier attempts may follow it.
    """
    if isinstance(failure, DemoError):
        return str(failure)
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    raised = [line for line in lines if _RAISED.match(line)]
    if raised:
        return raised[-1].removeprefix("osstorchconnector.errors.")
    return f"{type(failure).__name__}: {lines[-1] if lines else 'no details'}"
