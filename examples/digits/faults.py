"""Act 2: what the emulator does to the requests, and how the client's counters answer for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from digits.failure import DemoError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SEED = 7

_IMAGES = {"op": "GetObject", "key": "images/*"}


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        name: of its rule.
        what: for the table.
        probability: of a request that meets it.
        action: in the emulator's vocabulary.
        how: what the client does about it, for the table.
        survived_by: counters of `stats()` that grow by one when it does.
    """

    name: str
    what: str
    probability: float
    action: dict[str, Any]
    how: str
    survived_by: tuple[str, ...]

    def rule(self) -> dict[str, Any]:
        """Return the emulator's rule."""
        match = {**_IMAGES, "probability": self.probability}
        return {"name": self.name, "match": match, "action": self.action}


FAULTS = (
    Fault(
        name="reset",
        what="connection reset in mid-body",
        probability=0.02,
        action={"reset_after_bytes": 4096},
        how="resumed where it broke off",
        survived_by=("retries_broken",),
    ),
    Fault(
        name="503",
        what="answered 503",
        probability=0.03,
        action={"status": 503},
        how="asked again after a pause",
        survived_by=("retries_server", "retries_throttled"),
    ),
    Fault(
        name="flip",
        what="one bit of the body flipped",
        probability=0.01,
        action={"flip_bit": True},
        how="caught by CRC-64, read again",
        survived_by=("retries_integrity",),
    ),
)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        noticed: how often the client's counters tell of the fault.
        overtaken: faults of requests that were cut off before they were noticed, because a second request for the
            same object was first.
    """

    fault: Fault
    injected: int
    noticed: int
    overtaken: int = 0

    @property
    def survived(self) -> int:
        """Faults that did no harm."""
        return self.noticed + self.overtaken

    @property
    def how(self) -> str:
        """What the client did."""
        overtaken = f"; {self.overtaken} overtaken by a second request" if self.overtaken else ""
        return f"{self.fault.how}{overtaken}"


def rules() -> list[dict[str, Any]]:
    """Return the rules of all faults."""
    return [fault.rule() for fault in FAULTS]


def account(hits: Sequence[Mapping[str, Any]], stats: Mapping[str, int | float]) -> list[Row]:
    """Set the emulator's count of each fault beside the client's.

    Args:
        hits: the emulator's rules with their `hits`.
        stats: the datasets' counters.

    Raises:
        DemoError: a fault was never injected, or was not accounted for by the client.
    """
    injected = {hit["name"]: int(hit["hits"]) for hit in hits}
    rows = [
        Row(fault, injected.get(fault.name, 0), int(sum(stats.get(name, 0) for name in fault.survived_by)))
        for fault in FAULTS
    ]
    for row in rows:
        if not row.injected:
            raise DemoError(f"no fault was injected: {row.fault.what}")
    # Each second request cuts off one at most, which may have met a fault unseen.
    may_be_overtaken = int(stats.get("hedges_sent", 0))
    answered = []
    for row in rows:
        missing = max(0, row.injected - row.noticed)
        if missing > may_be_overtaken:
            raise DemoError(f"{row.fault.what}: {row.injected} injected, only {row.noticed} noticed")
        may_be_overtaken -= missing
        answered.append(replace(row, overtaken=missing))
    return answered


def table(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return the lines of the table, heading first, sum last."""
    lines = [("fault", "chance", "injected", "survived", "how")]
    lines += [
        (
            row.fault.what,
            f"{row.fault.probability:.0%}",
            f"{row.injected:,}",
            f"{row.survived:,}",
            row.how,
        )
        for row in rows
    ]
    total = (sum(row.injected for row in rows), sum(row.survived for row in rows))
    return [*lines, ("together", "", f"{total[0]:,}", f"{total[1]:,}", "")]
