"""The command itself: its options, and how a copy ends."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING

import click

from osstorchconnector.cli import locations, reaching
from osstorchconnector.cli.cp import copying, report
from osstorchconnector.cli.cp.crew import Crew, Tally
from osstorchconnector.cli.cp.jobs import jobs_of
from osstorchconnector.cli.cp.means import Means, Wanted
from osstorchconnector.cli.cp.places import place
from osstorchconnector.cli.cp.stopping import Stop, StoppedError
from osstorchconnector.cli.failing import INTERRUPTED, complain, misuse, said_in_one_line
from osstorchconnector.cli.meter import Meter
from osstorchconnector.cli.stat import advise_of_keys_below
from osstorchconnector.cli.tables import json_option
from osstorchconnector.errors import NotFoundError

if TYPE_CHECKING:
    from osstorchconnector.cli.cp.jobs import Job
    from osstorchconnector.cli.reaching import Reaching
    from osstorchconnector.connection import OssStore


@click.command("cp", short_help="copy files to objects, objects to files, objects to objects")
@click.argument(
    "sources", metavar="SOURCE...", nargs=-1, required=True, shell_complete=locations.complete_with_files
)
@click.argument("target", metavar="TARGET", shell_complete=locations.complete_with_files)
@click.option("-r", "--recursive", is_flag=True, help="What lies below SOURCE is copied to below TARGET.")
@click.option(
    "--resume", is_flag=True, help="Leave alone what is there with the same bytes, go on with parts."
)
@click.option("--if-absent", is_flag=True, help="Replace nothing: what is there is a failure.")
@click.option("-j", "--jobs", type=click.IntRange(1, 256), default=16, help="Objects at a time (16).")
@click.option("--content-type", metavar="TYPE", help="Of new objects; else told by the name.")
@click.option("--storage-class", metavar="CLASS", help="Of new objects, such as IA.")
@click.option("-q", "--quiet", is_flag=True, help="No progress on a terminal, and no summary.")
@json_option
@reaching.options
def command(
    *,
    reaching: Reaching,
    sources: tuple[str, ...],
    target: str,
    recursive: bool,
    resume: bool,
    if_absent: bool,
    jobs: int,
    content_type: str | None,
    storage_class: str | None,
    quiet: bool,
    as_json: bool,
) -> int:
    """Copy SOURCE to TARGET: paths of this machine and oss:// URIs, `-` for stdin and stdout. Nothing is deleted.

    Each target appears whole or stays as it was, and its bytes were compared by CRC-64. A TARGET that ends in a slash
    or is a directory takes things by their names; with -r what lies below SOURCE comes to lie below it.
    """
    given = {"content_type": content_type, "storage_class": storage_class}
    wanted = Wanted(resume, if_absent, {name: text for name, text in given.items() if text is not None})
    places = [place(source) for source in sources]
    where = place(target)
    if where.is_oss and any(source.is_oss for source in places) and (if_absent or wanted.options):
        raise misuse(
            "OSS copies objects as they are: --if-absent, --content-type and --storage-class are of uploads"
        )
    if as_json and where.is_stream:
        raise misuse(
            "the bytes and the document would both go to stdout: leave --json out, or copy to a file"
        )
    store = reaching.store()
    to_do = jobs_of(store, places, where, recursive=recursive)
    stop, tally, lock = Stop(), Tally(is_listed=as_json), threading.Lock()

    def tell(moved_bytes: int) -> None:
        with lock:
            tally.moved_bytes += moved_bytes

    means = Means(store, wanted, stop, tell)
    crew = Crew(functools.partial(copying.do, means), stop, tally, jobs)
    meter = Meter(is_wanted=not (quiet or as_json))

    def look() -> None:
        if meter.is_due():
            meter.show(report.progress(tally))

    failure: Exception | KeyboardInterrupt | None = None
    try:
        crew.run(to_do, look)
    except (OSError, StoppedError, KeyboardInterrupt) as ending:
        failure = ending
    finally:
        meter.erase()
    if failure is not None and tally.is_all_found and tally.ended_well == tally.found:
        # The last bytes were on their way when it was told to stop.
        failure = None
    if tally.found == 1 and tally.failed:
        _advise(store, *tally.failed[0])
    return _said(crew, failure, is_quiet=quiet or where.is_stream, as_json=as_json)


def _advise(store: OssStore, job: Job, failure: Exception) -> None:
    """Say it where what was named alone is a prefix."""
    if job.source.is_oss and isinstance(failure, NotFoundError) and failure.uri == str(job.source):
        advise_of_keys_below(store, job.source.text, failure)


def _said(crew: Crew, failure: Exception | KeyboardInterrupt | None, *, is_quiet: bool, as_json: bool) -> int:
    """Say how it ended; return the exit status."""
    tally = crew.tally
    under_way, waiting = crew.remaining()
    if as_json:
        click.echo(report.document(tally, under_way, waiting))
    report.say_failures(tally)
    if isinstance(failure, Exception) and all(failed is not failure for _, failed in tally.failed):
        complain(said_in_one_line(failure))
    if isinstance(failure, KeyboardInterrupt) or (failure is not None and tally.found > 1):
        report.say_what_remains(tally, under_way, waiting)
    elif not (is_quiet or as_json or (tally.failed and tally.found == 1)) and failure is None:
        report.say_end(tally)
    if isinstance(failure, KeyboardInterrupt):
        return INTERRUPTED
    return 1 if tally.failed or failure is not None else 0
