"""`ossconnector completion SHELL`: the lines with which a shell completes commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_VARIABLE = "_OSSCONNECTOR_COMPLETE"


@click.command("completion", short_help="print what makes a shell complete commands and options")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> int:
    """Print what SHELL is to evaluate at its start, such as `eval "$(ossconnector completion bash)"` in ~/.bashrc."""
    kind = get_completion_class(shell)
    assert kind is not None, "click knows the shells that are offered"
    root = click.get_current_context().find_root().command
    click.echo(kind(root, {}, "ossconnector", _VARIABLE).source())
    return 0
