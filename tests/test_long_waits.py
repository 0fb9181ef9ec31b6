"""Every long wait says so, in Python's log, while it lasts."""

from __future__ import annotations

import dataclasses
import logging
import threading

import pytest

from osstorchconnector.connection import Connection


@pytest.fixture
def store(site):
    """Give a store that tells after a fifth of a second instead of five."""
    arguments = site.configured(network={"tickSeconds": 0.05, "readStallSeconds": 60, "firstByteSeconds": 60})
    connection = Connection(
        arguments["endpoint"], arguments["cred_path"], arguments["config_path"], None, arguments["region"]
    )
    options = {**connection.config.options, "tell_after_seconds": 0.2}
    connection.config = dataclasses.replace(connection.config, options=options)
    return connection.oss_store()


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
