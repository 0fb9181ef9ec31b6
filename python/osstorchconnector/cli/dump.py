"""`ossconnector dump PID`: what a live process is doing, though its Python may hang."""

from __future__ import annotations

import json

import click

from osstorchconnector import dumping
from osstorchconnector.cli.tables import json_option, printable


@click.command("dump", short_help="say what a live process is doing: requests, streams, uploads, workers")
@click.argument("pid", type=int, metavar="PID")
@json_option
@click.option(
    "--trace",
    "seconds",
    type=click.FloatRange(min=0.0, max=600.0),
    metavar="SECONDS",
    help="Keep the requests of so many seconds instead, and print them as a trace for chrome://tracing or Perfetto, "
    "which is JSON with or without --json.",
)
def command(*, pid: int, as_json: bool, seconds: float | None) -> int:
    """Say what the process PID and its descendants are doing: healthy, backing off, throttled, waiting for whom."""
    if seconds is not None:
        click.echo(json.dumps(dumping.trace(pid, seconds)))
        return 0
    reports = dumping.reports(pid)
    if as_json:
        click.echo(json.dumps(reports, indent=1))
        return 0
    for report in reports:
        for line in dumping.lines(report):
            print(printable(line))
    return 0
