"""`ossconnector completion SHELL`: the lines with which a shell completes commands, options and locations."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import (
    BashComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from osstorchconnector.cli.tables import json_option

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_VARIABLE = "_OSSCONNECTOR_COMPLETE"

# A word that goes on after a slash is not ended with a blank.
_BASH = """\
%(complete_func)s() {
    local type value
    COMPREPLY=()
    while IFS=',' read -r type value; do
        if [[ $type == plain ]]; then
            COMPREPLY+=("$value")
            [[ $value != */ ]] || compopt -o nospace
        else
            compopt -o default
        fi
    done < <(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORD="${COMP_WORDS[COMP_CWORD]}" \\
%(complete_var)s=bash_complete "$1")
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class Bash(BashComplete):
    """Bash, whose words end at colons and equals signs, as those of locations do not."""

    source_template = _BASH
    _behind = ""
    _is_quoted = True

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one that is typed, and as much as there is of that."""
        line = os.environ.get("COMP_LINE")
        if line is None:
            return super().get_completion_args()
        words = split_arg_string(line)
        is_new = len(split_arg_string(f"{line}x")) > len(words)
        before, typed = (words, "") if is_new else (words[:-1], words[-1])
        self._take_apart(typed, os.environ.get("COMP_WORD", ""))
        return before[1:], typed

    def _take_apart(self, typed: str, word: str) -> None:
        """Find out what Bash has put behind it of what was typed, and does not want again."""
        self._is_quoted = word[:1] in ("'", '"')
        own = "".join(split_arg_string(word)).lstrip(":=@")
        self._behind = typed[: len(typed) - len(own)] if typed.endswith(own) else ""

    def format_completion(self, item: CompletionItem) -> str:
        """Write one as it is to stand on the line."""
        value = item.value.removeprefix(self._behind)
        if not self._is_quoted:
            value = re.sub(r"([^\w@%+=:,./~-])", r"\\\1", value)
        return f"{item.type},{value}"


def prepare() -> None:
    """Let the library of commands answer Bash so."""
    add_completion_class(Bash)


@click.command("completion", short_help="print what makes a shell complete commands, options and locations")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@json_option
def command(*, shell: str, as_json: bool) -> int:
    """Print what SHELL is to evaluate at its start, such as `eval "$(ossconnector completion bash)"` in ~/.bashrc."""
    prepare()
    kind: type[Any] | None = get_completion_class(shell)
    assert kind is not None, "click knows the shells that are offered"
    root = click.get_current_context().find_root().command
    script = kind(root, {}, "ossconnector", _VARIABLE).source()
    click.echo(json.dumps({"shell": shell, "script": script}) if as_json else script)
    return 0
