"""The command `ossconnector`.

Each command is a module of its own, loaded when it is called; `command.py` puts them together.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status.

    Args:
        arguments: those after the command's name; None takes the process's.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["emulator"]:
        # The native side reads these itself, `--help` included; and it starts without the library of commands.
        from osstorchconnector.emulator import main as emulator

        return emulator(given[1:])
    try:
        from osstorchconnector.cli.command import run

        return run(given)
    except ModuleNotFoundError as missing:
        if missing.name != "click":
            raise
        print(
            "ossconnector: the library click is not installed: pip install 'click>=8.1,<9'", file=sys.stderr
        )
        return 1
    except KeyboardInterrupt:
        # While things are still imported.
        return 130
