"""The command `ossconnector`."""

from __future__ import annotations

import argparse
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
        # The native side reads these itself, `--help` included.
        from osstorchconnector.emulator import main as emulator

        return emulator(given[1:])
    options = _parser().parse_args(given or ["--help"])
    try:
        status: int = options.run(options)
    except OSError as failure:
        # One line: whoever wants the traceback has the same call in Python.
        print(f"ossconnector: {failure}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as missing:
        library = (missing.name or "").partition(".")[0]
        if library not in ("numpy", "torch"):
            raise
        print(
            f"ossconnector: this command needs {library}: pip install 'osstorchconnector[torch]'",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    from osstorchconnector import __version__
    from osstorchconnector.cli import checkpoints, index, uploads

    parser = argparse.ArgumentParser(
        prog="ossconnector", description="Tools between PyTorch and Alibaba Cloud OSS."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    commands.add_parser("emulator", help="run a local OSS; `ossconnector emulator --help` lists its options")
    index.add_to(commands)
    uploads.add_to(commands)
    checkpoints.add_to(commands)
    return parser
