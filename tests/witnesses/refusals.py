"""Demands on errors, in the shapes in which the two SDKs raise them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import alibabacloud_oss_v2 as sdk
import oss2
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Refusal:
    """What a client was told; filled in when the block that demands it has ended.

    Attributes:
        error: the service's answer as the SDK gives it.
        text: what the SDK's user reads.
    """

    error: sdk.exceptions.ServiceError | oss2.exceptions.ServerError | None = None
    text: str = ""


@contextmanager
def refused(status: int, code: str) -> Iterator[Refusal]:
    """Demand that the official SDK is refused with this status and code, under a request id."""
    refusal = Refusal()
    with pytest.raises(sdk.exceptions.OperationError) as raised:
        yield refusal
    error = raised.value.unwrap()
    assert isinstance(error, sdk.exceptions.ServiceError), raised.value
    assert (error.status_code, error.code) == (status, code), error
    assert len(error.request_id) == 24
    refusal.error, refusal.text = error, str(raised.value)


@contextmanager
def old_refused(status: int, code: str) -> Iterator[Refusal]:
    """Demand the same of the old SDK."""
    refusal = Refusal()
    with pytest.raises(oss2.exceptions.ServerError) as raised:
        yield refusal
    error = raised.value
    assert (error.status, error.code) == (status, code), error
    assert len(error.request_id) == 24
    refusal.error, refusal.text = error, str(error)
