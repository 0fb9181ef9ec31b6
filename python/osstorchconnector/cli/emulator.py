"""`ossconnector emulator`, for the list of commands: `main` calls it past this library."""

from __future__ import annotations

import click


@click.command(
    "emulator",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True},
    short_help="run a local OSS; `ossconnector emulator --help` lists its options",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> int:
    """Run a local OSS."""
    from osstorchconnector.emulator import main

    return main(arguments)
