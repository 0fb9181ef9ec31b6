"""From object to object, by OSS itself; the CRC-64 of both is compared."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from osstorchconnector.cli.cp.means import Done
from osstorchconnector.errors import IntegrityError, NotFoundError

if TYPE_CHECKING:
    from osstorchconnector.cli.cp.jobs import Job
    from osstorchconnector.cli.cp.means import Means
    from osstorchconnector.store import ObjectInfo


def copy(means: Means, job: Job) -> Done:
    """Let OSS copy an object.

    Raises:
        IntegrityError: the two differ afterwards.
    """
    before = means.store.head_object(job.source.text)
    if means.wanted.resume:
        with contextlib.suppress(NotFoundError):
            if _is_same(before, means.store.head_object(job.target.text), unknown=False):
                means.tell(before.size)
                return Done(job, "same", before.size, before.crc64)
    means.stop.check()
    means.store.copy(job.source.text, job.target.text, before.size)
    if not _is_same(before, means.store.head_object(job.target.text), unknown=True):
        raise IntegrityError(
            f"copy {job.source}: {job.target} has other bytes; one of them was replaced meanwhile: look, and copy again"
        )
    means.tell(before.size)
    return Done(job, "copied", before.size, before.crc64)


def _is_same(one: ObjectInfo, other: ObjectInfo, *, unknown: bool) -> bool:
    """Compare sizes and checksums.

    Args:
        unknown: what to say where OSS has no checksum.
    """
    if one.size != other.size:
        return False
    if one.crc64 is None or other.crc64 is None:
        return unknown
    return one.crc64 == other.crc64
