"""Every long wait says so, in Python's log, while it lasts."""

from __future__ import annotations

import dataclasses
import logging
import threading

import pytest

from osstorchconnector import OssIterableDataset
from osstorchconnector.connection import Connection


@pytest.fixture(name="arguments")
def _arguments(site):
    """Give arguments under which nothing ends a wait within the test."""
    return site.configured(network={"tickSeconds": 0.05, "readStallSeconds": 60, "firstByteSeconds": 60})


def tell_soon(connection):
    """Let it tell after a fifth of a second instead of five."""
    options = {**connection.config.options, "tell_after_seconds": 0.2}
    connection.config = dataclasses.replace(connection.config, options=options)
    return connection


@pytest.fixture
def store(arguments):
    """Give a store that tells soon."""
    connection = Connection(
        arguments["endpoint"], arguments["cred_path"], arguments["config_path"], None, arguments["region"]
    )
    return tell_soon(connection).oss_store()


def test_a_stalled_read_warns_with_everything_there_is_to_know_while_it_waits(site, store):
    site.fill({"slow": b"x" * 1000})
    site.oss.rules(
        [
            {"match": {"op": "GetObject", "key": "slow", "nth": [1]}, "action": {"status": 500}},
            {
                "match": {"op": "GetObject", "key": "slow"},
                "action": {"stall_after_bytes": 9, "stall_ms": 50_000},
            },
        ]
    )
    told, lines = threading.Event(), []

    class Hearing(logging.Handler):
        def emit(self, record):
            if record.levelno == logging.WARNING and "oss://bucket/slow" in record.getMessage():
                lines.append(record.getMessage())
                told.set()
                # What lasts too long is ended; the read resumes.
                site.oss.rules([])
                raise KeyboardInterrupt

    logger, hearing = logging.getLogger("osstorchconnector.transport"), Hearing()
    logger.addHandler(hearing)
    try:
        with pytest.raises(KeyboardInterrupt):
            store.open_reader("/bucket/slow").read()
    finally:
        logger.removeHandler(hearing)
    assert told.is_set()
    (line,) = lines
    assert line.startswith("GetObject oss://bucket/slow")
    assert "no progress for 0 s: nothing moves; attempt 2, last cause: " in line
    assert line.endswith(" s until the deadline")


def test_a_dataset_that_waits_warns_while_the_object_is_on_its_way(site, arguments):
    (uri,) = site.fill({"slow": b"x" * 1000})
    stall = {"stall_after_bytes": 9, "stall_ms": 50_000}
    site.oss.rules([{"match": {"op": "GetObject", "key": "slow"}, "action": stall}])
    dataset = OssIterableDataset.from_objects([uri], **arguments)
    tell_soon(dataset._delivery._connection)

    class Hearing(logging.Handler):
        def emit(self, record):
            if record.levelno == logging.WARNING and uri in record.getMessage():
                raise KeyboardInterrupt

    logger, hearing = logging.getLogger("osstorchconnector.transport"), Hearing()
    logger.addHandler(hearing)
    try:
        with pytest.raises(KeyboardInterrupt):
            list(dataset)
    finally:
        logger.removeHandler(hearing)
    # It was heard before the object came: nothing was delivered.
    assert dataset.stats()["dataset_objects"] == 0
