"""The requests of this process as a trace that chrome://tracing and Perfetto open."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from osstorchconnector.connection import start_trace, stop_trace
from osstorchconnector.errors import ConfigError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

# Some 20 MiB of memory.
_REQUESTS = 65_536


@contextlib.contextmanager
def traced_to(path: str | os.PathLike[str], *, requests: int = _REQUESTS) -> Iterator[None]:
    """Keep the requests of this process in the block, and write them to a file at its end.

    DataLoader workers are other processes; `ossconnector dump PID --trace SECONDS` traces them all together.

    Args:
        path: written when the block ends, also by an exception.
        requests: as many of the newest are kept.

    Raises:
        ConfigError: requests are traced already.
    """
    if not start_trace(requests):
        raise ConfigError("requests of this process are traced already; end that first")
    try:
        yield
    finally:
        Path(path).write_text(stop_trace(), encoding="utf-8")
