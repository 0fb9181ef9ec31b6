"""`ossconnector` itself: which commands there are, and what becomes of their failures.

A command returns its exit status: 0, or 1 for a failure or a difference. Wrong arguments are 2, Ctrl-C is 130, and a
reader of the output that went away is 141, as in a shell.
"""

from __future__ import annotations

import difflib
import importlib
import os
import re
import sys
from typing import TYPE_CHECKING

import click

from osstorchconnector.cli.failing import BROKEN_PIPE, INTERRUPTED, USAGE, complain, said_in_one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

# In the order in which the help lists them.
_COMMANDS = (
    "ls",
    "cp",
    "cat",
    "stat",
    "rm",
    "du",
    "doctor",
    "index",
    "checkpoints",
    "uploads",
    "dump",
    "emulator",
    "completion",
)


class _Commands(click.Group):
    """Commands that are imported when they are called; their failures become a line and a status."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"osstorchconnector.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            hint = f". Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"there is no command {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> int:
        try:
            status: int = super().invoke(ctx)
            sys.stdout.flush()
        except KeyboardInterrupt:
            return INTERRUPTED
        except BrokenPipeError:
            return _reader_went_away()
        except (click.ClickException, click.exceptions.Exit):
            raise
        except Exception as failure:  # noqa: BLE001  (a user sees one line, never a traceback)
            complain(said_in_one_line(failure))
            return 1
        return status


def _show_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted:
        from osstorchconnector import __version__

        click.echo(f"ossconnector {__version__}")
        ctx.exit()


@click.command(cls=_Commands, help="Tools between PyTorch and Alibaba Cloud OSS.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version.",
)
def command() -> None:
    """Do nothing: its commands do."""


def run(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status.

    Raises:
        SystemExit: the arguments are wrong; it was said in one line.
    """
    if "_OSSCONNECTOR_COMPLETE" in os.environ:
        from osstorchconnector.cli.completion import prepare

        prepare()
    if hasattr(sys.stdout, "reconfigure"):
        # A key may hold what the terminal's encoding does not.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status: int = command.main(list(arguments) or ["--help"], "ossconnector", standalone_mode=False)
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as wrong:
        click.echo(_what_is_wrong(wrong), err=True)
        raise SystemExit(USAGE) from None
    return status


def _what_is_wrong(wrong: click.ClickException) -> str:
    """Say in one line what is wrong with the arguments, and where the right ones are."""
    context = getattr(wrong, "ctx", None)
    path = "ossconnector" if context is None else context.command_path
    text = re.sub(r"\. Did (you mean .*\?)$", r" (did \1)", wrong.format_message()).rstrip(".")
    return f"{path}: {text[:1].lower()}{text[1:]}; see {path} --help"


def _reader_went_away() -> int:
    """End quietly; what Python would still flush at its exit goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE
