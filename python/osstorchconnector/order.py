"""Which row of an index comes at which position of an epoch: native arithmetic, no list.

The sequence of an epoch is a function of (fingerprint of the index, seed, epoch) and of nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from osstorchconnector import _native

if TYPE_CHECKING:
    from osstorchconnector.sharding import Rest

Order = _native.Order


def order_of(rows: int, fingerprint: str, seed: int | None, epoch: int) -> Order:
    """Return the order of an epoch over an index of `rows` rows; that of the index if `seed` is None."""
    return Order(rows) if seed is None else Order(rows, fingerprint, seed, epoch)


def native_positions(rest: Rest) -> _native.Share:
    """Hand what is left of a share to the native side as numbers."""
    share = rest.share
    return _native.Share(
        share.first,
        share.step,
        share.run,
        share.worker,
        share.workers,
        rest.start,
        share.count,
        tuple(rest.without),
    )
