"""Locations on the command line, as shells complete them: buckets, and keys up to the next slash.

Who presses the tabulator key waits, and sees nothing but what was found: so OSS has a moment, and a failure is silence.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import signal
import warnings
from typing import TYPE_CHECKING, NoReturn

from click.shell_completion import CompletionItem

from osstorchconnector.cli.reaching import Reaching
from osstorchconnector.uri import SCHEME, as_uri

if TYPE_CHECKING:
    from collections.abc import Iterator

    import click

    from osstorchconnector.connection import OssStore

# Longer than this, and one types the rest oneself.
_SECONDS = 2.0

# A page of a listing; nobody reads more.
_MOST = 1000


def complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a location of OSS."""
    if not incomplete.startswith(SCHEME):
        return [CompletionItem(SCHEME)] if SCHEME.startswith(incomplete) else []
    return [CompletionItem(text) for text in _found(ctx, incomplete)]


def complete_with_files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a location of OSS or the path of a file."""
    found = complete(ctx, param, incomplete) if incomplete else []
    return found or [] if incomplete.startswith(SCHEME) else found or [CompletionItem("", type="file")]


def _found(ctx: click.Context, incomplete: str) -> list[str]:
    given = {name: ctx.params.get(name) or "" for name in ("region", "cred_path", "config_path")}
    reaching = Reaching(endpoint=ctx.params.get("endpoint"), **given)
    with contextlib.suppress(Exception), _silence(), _within(_SECONDS):
        return _beginning_with(incomplete, reaching.store())
    return []


def _beginning_with(incomplete: str, store: OssStore) -> list[str]:
    bucket, slash, prefix = incomplete.removeprefix(SCHEME).partition("/")
    if slash:
        names = (as_uri(path) for path, *_ in store.entries(f"/{bucket}/{prefix}", page_size=_MOST))
    else:
        names = (f"{SCHEME}{found.name}/" for found in store.buckets())
    # A line break would be the end of the name, and what was typed is no progress.
    usable = (name for name in names if name.startswith(incomplete) and name.isprintable())
    found = list(itertools.islice((name for name in usable if name != incomplete), _MOST + 1))
    if len(found) > _MOST:
        # It stands for all that is not shown: a shell takes what the names have in common for what all begin with.
        found[_MOST:] = [incomplete]
    return found


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


@contextlib.contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raise TimeoutError after so long, also out of a wait of the native side, which looks for signals."""

    def end(*_: object) -> NoReturn:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
