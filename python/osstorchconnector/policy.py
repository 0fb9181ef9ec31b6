"""What a dataset does about an object that cannot be delivered as it was listed.

Three things can be wrong with one object: it is not there (`missing`), it was replaced after it was listed and versions
are pinned (`changed`), or it cannot be read (`error`). A refusal or a failing service is never "missing", and an endpoint
that cannot be reached is never about one object: it is raised whatever the policy. What is left out is counted, logged,
and bounded by a budget: an epoch never gets shorter in silence.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from osstorchconnector.data_object import DataObject
from osstorchconnector.errors import (
    ClosedError,
    ConfigError,
    ConnectionFailedError,
    CredentialsError,
    ForkedHandleError,
    InternalError,
    NotFoundError,
    ObjectChangedError,
    OssError,
)
from osstorchconnector.uri import as_uri

if TYPE_CHECKING:
    from osstorchconnector.connection import Connection

_log = logging.getLogger(__name__)

OnMissing = Literal["raise", "skip"] | Callable[[DataObject], Any]
OnChanged = OnMissing
OnError = Literal["raise", "skip"] | Callable[[DataObject, OssError], Any]
Kind = Literal["missing", "changed", "error"]

# These are not about one object: the next one would fail as well.
_OF_ALL = (ClosedError, ConfigError, CredentialsError, ForkedHandleError, InternalError)

# By default a process may leave out a tenth of what it reads, and ten objects in any case.
_DEFAULT_PART = 0.1
_DEFAULT_COUNT = 10

_MISSING_ADVICE = (
    'pass on_missing="skip" (compatibility.missing = "skip" in the config file) to leave missing objects out'
)


@dataclass(frozen=True)
class Policy:
    """What the user asks for; a picklable value.

    Attributes:
        error_budget: objects that one process may leave out, or the part of its share if it is a float; None is
            the default.
        pin_versions: an object that was replaced after it was listed is `changed`, and not read anew.
        counts_missing: objects that are not there count against the budget.
    """

    on_missing: OnMissing = "raise"
    on_changed: OnChanged = "raise"
    on_error: OnError = "raise"
    error_budget: float | None = None
    pin_versions: bool = False
    counts_missing: bool = True

    @classmethod
    def checked(
        cls,
        connection: Connection,
        *,
        on_missing: OnMissing | None = None,
        on_changed: OnChanged | None = None,
        on_error: OnError | None = None,
        error_budget: float | None = None,
        pin_versions: bool | None = None,
    ) -> Policy:
        """Fill what the caller left open from the config file.

        Raises:
            ConfigError: an argument is none of its values.
        """
        # A job whose code cannot be changed gets what it had: no bound for what is missing, and for nothing else.
        as_of_old = on_missing is None and connection.config.missing == "skip"
        if on_changed is not None and pin_versions is False:
            raise ConfigError("on_changed is about pinned versions; leave out pin_versions=False")
        for name, value in (("on_missing", on_missing), ("on_changed", on_changed), ("on_error", on_error)):
            if value is not None and not callable(value) and value not in ("raise", "skip"):
                raise ConfigError(f'{name} must be "raise", "skip" or a function, not {value!r}')
        if error_budget is not None and (not isinstance(error_budget, int | float) or not error_budget >= 0):
            raise ConfigError(f"error_budget must be a number from 0 on, not {error_budget!r}")
        return cls(
            on_missing or ("skip" if as_of_old else "raise"),
            on_changed or "raise",
            on_error or "raise",
            error_budget,
            pin_versions=bool(pin_versions) or on_changed is not None,
            counts_missing=error_budget is not None or not as_of_old,
        )

    def choice(self, kind: Kind) -> Literal["raise", "skip"] | Callable[..., Any]:
        """Return what is asked for one kind."""
        return {"missing": self.on_missing, "changed": self.on_changed, "error": self.on_error}[kind]

    def is_exceeded(self, left_out: int, count: Callable[[], int]) -> bool:
        """Say whether so many objects are more than may be left out; `count` is asked only if that depends on it."""
        if self.error_budget is None:
            return left_out > _DEFAULT_COUNT and left_out > _DEFAULT_PART * count()
        return left_out > self.error_budget * (count() if isinstance(self.error_budget, float) else 1)


@dataclass
class Tally:
    """What one process met: objects by kind, and the rows it left out, each counted once."""

    met: dict[Kind, int] = field(default_factory=lambda: {"missing": 0, "changed": 0, "error": 0})
    left_out: set[int] = field(default_factory=set)


def kind_of(failure: OssError) -> Kind | None:
    """Say what is wrong with the object; None if the failure is not about one object."""
    if isinstance(failure, NotFoundError):
        # Without its bucket no object can be read, and that is not the object's fault.
        return "missing" if failure.code == "NoSuchKey" else None
    if isinstance(failure, ObjectChangedError):
        return "changed"
    if isinstance(failure, ConnectionFailedError):
        # One that breaks may be about the object; one that does not come about never is.
        return "error" if failure.errno == errno.ECONNRESET else None
    return None if isinstance(failure, _OF_ALL) else "error"


def instead(
    policy: Policy,
    tally: Tally,
    failure: OssError | None,
    where: DataObject,
    row: int,
    count: Callable[[], int],
) -> tuple[Any] | None:
    """Decide about an object that failed: a value to deliver in its place, in a tuple, or None to leave it out.

    Args:
        failure: None for a missing object.
        where: the object's name.
        row: its row in the index.
        count: tells how many objects are this process's to read.

    Raises:
        OssError: the failure, if that is what is asked for, or the budget is spent.
    """
    failure = failure or _missing(where)
    kind = kind_of(failure)
    if kind is None:
        raise failure
    choice = policy.choice(kind)
    if choice == "raise":
        if kind == "missing":
            failure.advise(_MISSING_ADVICE)
        raise failure
    tally.met[kind] += 1
    _log_some(tally.met[kind], kind, failure)
    if callable(choice):
        return (choice(where, failure),) if kind == "error" else (choice(where),)
    if kind == "missing" and not policy.counts_missing:
        return None
    tally.left_out.add(row)
    if policy.is_exceeded(len(tally.left_out), count):
        failure.advise(
            f"{len(tally.left_out)} objects of {count()} could not be delivered, more than error_budget allows; look "
            "into why, or raise it"
        )
        raise failure
    return None


def _missing(where: DataObject) -> NotFoundError:
    uri = as_uri(where.key)
    text = f"GetObject {uri}: the object does not exist [status=404 code=NoSuchKey]"
    return NotFoundError(text, operation="GetObject", uri=uri)


def _log_some(number: int, kind: Kind, failure: OssError) -> None:
    """Log the 1st, 10th, 100th ... of a kind: a bad day must not fill the disk."""
    if number == 10 ** (len(str(number)) - 1):
        _log.warning("%s, number %d of this process; stats() counts all: %s", kind, number, failure)
