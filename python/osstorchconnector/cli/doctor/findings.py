"""What the doctor finds: one line each, and how lines are printed."""

from __future__ import annotations

import re
import textwrap
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import click

from osstorchconnector.cli.failing import said_in_one_line
from osstorchconnector.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Status = Literal["ok", "look", "wrong", "skipped"]
_COLOURS = {"ok": "green", "look": "yellow", "wrong": "red", "skipped": "bright_black"}
# How an error of ours is said: what happened, what to do, and what OSS answered.
_SAID = re.compile(r"(?P<what>.*); (?P<remedy>.+?)(?P<tail>(?: \[status=.*\])?)")
_GO_ON = "docs/troubleshooting.md goes on from here; the support desk of OSS asks for the request id"
_NAME_WIDTH = 12
_STATUS_WIDTH = 7


@dataclass(frozen=True)
class Finding:
    """One line.

    Attributes:
        name: what was looked at.
        status: `look` works, and may surprise; `wrong` does not work.
        text: what was found.
        remedy: what to do; "" only where nothing is to be done: ok, or skipped.
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
    """Make the line of a failure; without a remedy, what the failure itself says to do is taken from its line."""
    line = said_in_one_line(failure)
    if remedy:
        return Finding(name, "wrong", line, remedy)
    said = _SAID.fullmatch(line)
    if said is not None:
        return Finding(name, "wrong", said["what"] + said["tail"], said["remedy"])
    return Finding(name, "wrong", line, "correct it" if isinstance(failure, ConfigError) else _GO_ON)


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
