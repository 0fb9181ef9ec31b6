"""The command itself: what is looked at in which order, and what a failure makes pointless."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import click

from osstorchconnector.cli import locations, reaching
from osstorchconnector.cli.doctor import judgement, network, probe, surroundings
from osstorchconnector.cli.doctor.findings import Finding, skipped, tried, wrong
from osstorchconnector.cli.doctor.identity import identity
from osstorchconnector.cli.doctor.migration import migration
from osstorchconnector.cli.tables import json_option
from osstorchconnector.uri import prefix_path, split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from osstorchconnector.cli.reaching import Reaching
    from osstorchconnector.connection import Connection, OssStore

# A training may wait for minutes until a network comes back; who asks the doctor waits at a terminal.
_PATIENCE = {"deadline_seconds": 20.0, "first_contact_seconds": 5.0}
_NAME_ONE = "name one, as --endpoint https://oss-cn-hangzhou.aliyuncs.com, or set OSS_ENDPOINT"
_PLACE = ("endpoint", "region", "proxy", "name", "tls", "identity")
_REQUESTS = (*probe.NAMES, *judgement.NAMES)


@click.command("doctor", short_help="say what stands between this machine and OSS, and what to do about it")
@click.argument("prefix", metavar="[oss://BUCKET/PREFIX]", required=False, shell_complete=locations.complete)
@click.option("--read-only", is_flag=True, help="Put and delete nothing.")
@click.option(
    "--migrate", is_flag=True, help="Read config and credentials of the vendor's package: what will differ?"
)
@json_option
@reaching.options
def command(*, reaching: Reaching, prefix: str | None, read_only: bool, migrate: bool, as_json: bool) -> int:
    """Look at packages, config, endpoint, name lookup, TLS and identity; with a PREFIX, list, put, get and delete there.

    What is put is an object of its own below PREFIX, and it is deleted. Exit status 1 if something is wrong.
    """
    path = None if prefix is None else prefix_path(prefix, "prefix")
    findings = migration(reaching) if migrate else _looked(reaching, path, is_read_only=read_only)
    seen: list[Finding] = []
    for finding in findings:
        seen.append(finding)
        if not as_json:
            finding.show()
    if as_json:
        click.echo(json.dumps([finding.document() for finding in seen], indent=1))
    return 1 if any(finding.status == "wrong" for finding in seen) else 0


def _looked(reaching: Reaching, path: str | None, *, is_read_only: bool) -> Iterator[Finding]:
    yield surroundings.packages()
    try:
        connection = reaching.given()
    except OSError as failure:
        yield wrong("config", failure)
        yield from skipped((*_PLACE, *_REQUESTS), "the config file comes first")
        return
    yield surroundings.config(connection.config)
    options = {**_PATIENCE, **connection.config.options}
    connection.config = dataclasses.replace(connection.config, options=options)
    try:
        store = connection.refuse_local("doctor").oss_store()
    except OSError as failure:
        yield wrong("endpoint", failure, _NAME_ONE if connection.is_local else "")
        yield from skipped((*_PLACE[1:], *_REQUESTS), "the endpoint comes first")
        return
    yield surroundings.endpoint(store, reaching.endpoint, store.native.region)
    yield surroundings.region(store, reaching.region)
    yield surroundings.proxy(store)
    yield from _reached(connection, store, reaching, path, is_read_only=is_read_only)


def _reached(
    connection: Connection, store: OssStore, reaching: Reaching, path: str | None, *, is_read_only: bool
) -> Iterator[Finding]:
    bucket = "" if path is None else split(path)[0]
    host, port = network.asked_host(store, bucket, connection.addressing)
    blocked = ""
    name = network.lookup(store, host)
    yield name
    if name.status == "wrong":
        blocked = "the name comes first"
        yield from skipped(("tls",), blocked)
    else:
        secure = network.tls(store, host, port, connection.config)
        yield secure
        blocked = "TLS comes first" if secure.status == "wrong" else ""
    who = tried("identity", lambda: identity(store, reaching.cred_path))
    yield who
    blocked = blocked or ("the identity comes first" if who.status == "wrong" else "")
    if path is None:
        blocked = blocked or "name oss://bucket/prefix to try requests there"
    if blocked:
        yield from skipped(_REQUESTS, blocked)
        return
    assert path is not None, "requests need a place"
    requests = probe.Probe(store, path, is_read_only)
    yield from requests.run()
    yield judgement.clock(requests)
    yield judgement.latency(requests, connection.config)
    yield judgement.quota(requests)
