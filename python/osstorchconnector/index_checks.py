"""Which index a dataset goes on with: not every one that could be listed or read is its own."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from osstorchconnector.errors import ConfigError, EmptyDatasetError, ObjectChangedError
from osstorchconnector.sources import PrefixSource

if TYPE_CHECKING:
    from osstorchconnector.store import RowIndex, RowSource

_log = logging.getLogger(__name__)


def demand_expected(index: RowIndex, source: RowSource, expected: str | None) -> None:
    """Refuse an index that was listed anew and is another than where the dataset was pickled.

    Args:
        expected: the fingerprint there; None if nothing had been listed.

    Raises:
        ObjectChangedError: it is another: the processes of a job would not read each object once.
    """
    if expected is None or index.fingerprint == expected:
        return
    raise ObjectChangedError(
        f"list {source.name}: the index file of the process that pickled this dataset is gone, and what is listed now is "
        f"not what was listed there (fingerprint {index.fingerprint}, there {expected}); make the dataset anew, or give "
        "all processes one index by save_index and index=",
        operation="list",
        uri=_uri(source),
    )


def demand_own(index: RowIndex, source: RowSource, location: str) -> None:
    """Refuse a saved index of another prefix.

    Args:
        location: where it was saved.

    Raises:
        ConfigError: it names what is not below the prefix.
    """
    if not isinstance(source, PrefixSource):
        return
    for row in (0, len(index) - 1):
        path = index.row(row)[0]
        if not path.startswith(source.path):
            raise ConfigError(
                f"index {location} names oss:/{path}, which is not below {source.name}; pass its own"
            )


def refuse_empty(source: RowSource, left_out: int, *, allow_empty: bool) -> None:
    """Refuse an index without objects, unless that is allowed.

    Args:
        left_out: zero-byte objects that were found.

    Raises:
        EmptyDatasetError: it is not.
    """
    if allow_empty:
        _log.warning("%s: no objects", source.name)
        return
    found = (
        f"only {left_out} zero-byte objects (include_empty=True delivers them)" if left_out else "no objects"
    )
    named = "the prefix" if isinstance(source, PrefixSource) else "what names them"
    raise EmptyDatasetError(
        f"list {source.name}: {found}; check {named}, or pass allow_empty=True "
        '(compatibility.emptyPrefix = "allow" in the config file)',
        operation="list",
        uri=_uri(source),
    )


def _uri(source: RowSource) -> str:
    return source.name if isinstance(source, PrefixSource) else ""
