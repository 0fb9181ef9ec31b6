"""What goes wrong in an act."""

from __future__ import annotations


class DemoError(Exception):
    """An act did not show what it promises; the text is one line."""


def one_line(failure: BaseException) -> str:
    """Reduce an exception to one line: a worker's error carries a whole traceback, and ends with what matters."""
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    text = lines[-1] if lines else "no details"
    return text if isinstance(failure, DemoError) else f"{type(failure).__name__}: {text}"
