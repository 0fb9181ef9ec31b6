"""What is to be copied: one job for each object or file, found as sources are walked and listed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from osstorchconnector.cli.cp.places import Place, directory, of_object
from osstorchconnector.cli.failing import misuse
from osstorchconnector.errors import ConfigError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from osstorchconnector.connection import OssStore


@dataclass(frozen=True)
class Job:
    """One thing to copy.

    Attributes:
        size_bytes: None if it is not known yet.
        problem: why it cannot be begun; None if it can.
    """

    source: Place
    target: Place
    size_bytes: int | None = None
    problem: Exception | None = None


def jobs_of(store: OssStore, sources: Sequence[Place], target: Place, *, recursive: bool) -> Iterator[Job]:
    """Check how the arguments go together, and yield what is to be copied.

    Raises:
        UsageError: they do not go together.
        NotFoundError: nothing lies below a source.
    """
    if not any(where.is_oss for where in (*sources, target)):
        raise misuse("none of these is on OSS; write oss://bucket/key for one that is")
    if any(where.is_stream for where in (*sources, target)) and (recursive or len(sources) > 1):
        raise misuse("- is one stream: copy it by itself, without -r")
    if recursive:
        found = _all_below(store, sources, directory(target))
        return _no_two_to_one(found) if len(sources) > 1 else found
    for source in sources:
        _refuse_directory(source)
    into = target.is_directory
    if len(sources) > 1 and not into:
        raise misuse(f"{target} is no directory: end it in a slash to copy {len(sources)} things into it")
    if into and any(source.is_stream for source in sources):
        raise misuse(f"{target} is a directory, and stdin has no name: write the name out")
    return _no_two_to_one(
        [_single(source, target.below(source.name) if into else target) for source in sources]
    )


def _refuse_directory(source: Place) -> None:
    if not source.is_stream and source.is_directory:
        raise misuse(f"{source} names a directory: -r copies what lies below it")


def _single(source: Place, target: Place) -> Job:
    if source == target:
        raise misuse(f"{source} would be copied to itself")
    for where in (source, target):
        if where.is_oss:
            of_object(where)
    if source.is_oss or source.is_stream:
        return Job(source, target)
    return Job(source, target, os.stat(source.text).st_size)


def _all_below(store: OssStore, sources: Sequence[Place], target: Place) -> Iterator[Job]:
    for source in sources:
        if source.is_oss:
            root = directory(source)
            if target.is_oss and target.text.startswith(root.text):
                raise misuse(f"{target} lies below {root}: what is copied would be found, and copied again")
            yield from _listed(store, root, target)
        elif os.path.isdir(source.text):
            yield from _walked(source, target)
        else:
            # As cp(1): -r takes files too. A missing one fails here.
            os.stat(source.text)
            yield _single(source, target.below(source.name))


def _listed(store: OssStore, root: Place, target: Place) -> Iterator[Job]:
    is_empty = True
    for path, size_bytes, _, _ in store.entries(root.text, None):
        is_empty = False
        relative = path[len(root.text) :]
        # A key that ends in a slash stands for a directory, and there is nothing in it.
        if relative and not (relative.endswith("/") and not size_bytes):
            yield _below(Place(path, is_oss=True), target, relative, size_bytes)
    if is_empty:
        raise NotFoundError(f"copy {root}: no object lies below it; check the prefix")


def _walked(root: Place, target: Place) -> Iterator[Job]:
    """Yield the files below a directory; links to files are followed, links to directories are not."""

    def raise_it(failure: OSError) -> None:
        raise failure

    for parent, directories, files in os.walk(root.text, onerror=raise_it):
        directories.sort()
        for name in sorted(files):
            path = os.path.join(parent, name)
            relative = os.path.relpath(path, root.text)
            try:
                size_bytes = os.stat(path).st_size
                job = _below(Place(path, is_oss=False), target, relative, size_bytes)
            except OSError as failure:
                job = Job(Place(path, is_oss=False), target, problem=failure)
            yield job


def _below(source: Place, target: Place, relative: str, size_bytes: int | None) -> Job:
    try:
        return Job(source, target.below(relative), size_bytes)
    except ConfigError as problem:
        return Job(source, target, size_bytes, problem)


def _no_two_to_one(jobs: Iterable[Job]) -> Iterator[Job]:
    """Refuse a second job to the target of an earlier one: which of them stays would be chance."""
    seen: dict[str, Place] = {}
    for job in jobs:
        earlier = seen.setdefault(job.target.text, job.source)
        if job.problem is None and earlier is not job.source:
            wrong = ConfigError(
                f"{job.source} and {earlier} would both be copied to {job.target}; copy one elsewhere"
            )
            yield Job(job.source, job.target, job.size_bytes, wrong)
            continue
        yield job
