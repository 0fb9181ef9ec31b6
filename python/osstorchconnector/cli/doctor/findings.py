"""What the doctor finds: one line each, and how lines are printed."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import click

from osstorchconnector.cli.failing import said_in_one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Status = Literal["ok", "look", "wrong", "skipped"]
_COLOURS = {"ok": "green", "look": "yellow", "wrong": "red", "skipped": "bright_black"}
_NAME_WIDTH = 12
_STATUS_WIDTH = 7


@dataclass(frozen=True)
class Finding:
    """One line.

    Attributes:
        name: what was looked at.
        status: `look` works, and may surprise; `wrong` does not work.
        text: what was found.
        remedy: what to do; "" where there is nothing.
        facts: the same for programs.
    """

    name: str
    status: Status
    text: str
    remedy: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)

    def show(self) -> None:
        """Print it."""
        status = click.style(f"{self.status:{_STATUS_WIDTH}}", fg=_COLOURS[self.status])
        click.echo(f"{status} {self.name:{_NAME_WIDTH}} {self.text}")
        if self.remedy:
            indent = " " * (_STATUS_WIDTH + _NAME_WIDTH + 2)
            click.echo(textwrap.indent(f"-> {self.remedy}", indent))


def wrong(name: str, failure: Exception, remedy: str = "") -> Finding:
    """Make the line of a failure, which mostly says itself what to do."""
    return Finding(name, "wrong", said_in_one_line(failure), remedy)


def skipped(names: Iterable[str], because: str) -> Iterator[Finding]:
    """Make the lines of what was not looked at."""
    for name in names:
        yield Finding(name, "skipped", because)


def tried(name: str, look: Callable[[], Finding]) -> Finding:
    """Look; an error of ours or of the system is the finding."""
    try:
        return look()
    except OSError as failure:
        return wrong(name, failure)
