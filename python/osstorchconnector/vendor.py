"""Notices the vendor's package where both packages lie on the path of one Python.

Both have one import name, so which of them runs depends on the order of the path, or on which was installed last.
"""

from __future__ import annotations

import functools
import logging
import os
import sys

_log = logging.getLogger(__name__)

# A directory that only the vendor's package has.
_MARK = os.path.join("osstorchconnector", "_oss_connector")


def places(path: list[str]) -> list[str]:
    """Return the directories of `path` in which files of the vendor's package lie, each once."""
    real = dict.fromkeys(os.path.realpath(entry or os.curdir) for entry in path)
    return [entry for entry in real if os.path.isdir(os.path.join(entry, _MARK))]


@functools.cache
def warn_once() -> None:
    """Log one warning of this process if the vendor's package is there too; name both places and the remedy."""
    found = places(sys.path)
    if found:
        _log.warning(
            "the vendor's osstorchconnector lies in %s, this package in %s: which of the two is imported depends on "
            "the order of the path; pip uninstall osstorchconnector until none is left, then install one",
            " and ".join(found),
            os.path.dirname(os.path.dirname(os.path.realpath(__file__))),
        )
