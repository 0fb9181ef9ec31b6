"""`ossconnector completion SHELL`: the lines with which a shell completes commands and options."""

from __future__ import annotations

import json

import click
from click.shell_completion import get_completion_class

from osstorchconnector.cli.tables import json_option

_VARIABLE = "_OSSCONNECTOR_COMPLETE"


@click.command("completion", short_help="print what makes a shell complete commands and options")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@json_option
def command(*, shell: str, as_json: bool) -> int:
    """Print what SHELL is to evaluate at its start, such as `eval "$(ossconnector completion bash)"` in ~/.bashrc."""
    kind = get_completion_class(shell)
    assert kind is not None, "click knows the shells that are offered"
    root = click.get_current_context().find_root().command
    script = kind(root, {}, "ossconnector", _VARIABLE).source()
    click.echo(json.dumps({"shell": shell, "script": script}) if as_json else script)
    return 0
