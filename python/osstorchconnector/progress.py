"""How far an iteration has come, and the states that tell it: small values that JSON can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from osstorchconnector.errors import ConfigError

# What a state is made of; one of a worker has `share` besides.
_FIELDS = {"fingerprint": str, "seed": int | None, "epoch": int, "position": int}
_SHARE_FIELDS = ("rank", "world_size", "worker", "workers", "batch_size", "passed")


@dataclass
class Progress:
    """The places of a share that were passed: all below `passed`, and those in `ahead`."""

    passed: int = 0
    ahead: set[int] = field(default_factory=set)

    def mark(self, place: int) -> None:
        """Say that a place was passed."""
        if place != self.passed:
            self.ahead.add(place)
            return
        self.passed += 1
        while self.passed in self.ahead:
            self.ahead.remove(self.passed)
            self.passed += 1


@dataclass(frozen=True)
class State:
    """Where an epoch is to go on.

    Attributes:
        fingerprint: of the index, 16 hexadecimal digits.
        seed: None when the order is that of the index.
        epoch: its number.
        position: all positions of the epoch below were read by the job, before the layout was as in `share`.
        share: which share of the rest, and what of it was read: of one worker. None is free of any layout.
    """

    fingerprint: str
    seed: int | None
    epoch: int
    position: int
    share: Mapping[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as what JSON knows."""
        document = {name: getattr(self, name) for name in _FIELDS}
        return document if self.share is None else {**document, "share": dict(self.share)}


def state_of(document: Any) -> State:
    """Read a state.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(document, Mapping):
        raise ConfigError(f"a state of a dataset is a dict, not {type(document).__name__}")
    wrong = [
        name for name, kind in _FIELDS.items() if name not in document or not isinstance(document[name], kind)
    ]
    if wrong:
        raise ConfigError(
            f"this is no state of an OSS dataset: {', '.join(wrong)} is missing or of another type; pass what "
            "state_dict() or state_at() returned"
        )
    share = document.get("share")
    if min(document["epoch"], document["position"]) < 0 or not _is_share(share):
        raise ConfigError("this state of a dataset is damaged; pass what state_dict() or state_at() returned")
    return State(**{name: document[name] for name in _FIELDS}, share=share)


def _is_share(share: Any) -> bool:
    if share is None:
        return True
    if not isinstance(share, Mapping) or not isinstance(share.get("ahead"), list):
        return False
    numbers = [*(share.get(name) for name in _SHARE_FIELDS), *share["ahead"]]
    return all(isinstance(number, int) and number >= 0 for number in numbers)
