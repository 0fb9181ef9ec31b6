"""One job done: an upload, a download, or a copy by OSS itself. Each ends whole and compared by CRC-64, or raises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from osstorchconnector.cli.cp.downloading import download
from osstorchconnector.cli.cp.uploading import upload
from osstorchconnector.cli.cp.within import copy

if TYPE_CHECKING:
    from osstorchconnector.cli.cp.jobs import Job
    from osstorchconnector.cli.cp.means import Done, Means


def do(means: Means, job: Job) -> Done:
    """Do a job.

    Raises:
        StoppedError: it was told to end.
        Exception: the job had a problem from the start.
    """
    means.stop.check()
    if job.problem is not None:
        raise job.problem
    if not job.source.is_oss:
        return upload(means, job)
    return copy(means, job) if job.target.is_oss else download(means, job)
