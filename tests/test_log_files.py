"""Logging: the original's files only when they are asked for, private, and never a reason to fail."""

from __future__ import annotations

import contextlib
import logging
import os
import re

import pytest

from osstorchconnector import logs
from osstorchconnector.config import ClientConfig


@pytest.fixture(autouse=True)
def _fresh_logging(monkeypatch):
    monkeypatch.setattr(logs, "_installed", {})
    monkeypatch.setattr(logs, "_worker", {"id": 0})
    loggers = [logging.getLogger(name) for name in (logs.ROOT, logs.AUDIT)]
    before = [(logger.level, list(logger.handlers), logger.propagate) for logger in loggers]
    yield
    for logger, (level, handlers, propagate) in zip(loggers, before, strict=True):
        for handler in set(logger.handlers) - set(handlers):
            with contextlib.suppress(OSError):
                handler.close()
        logger.level, logger.handlers, logger.propagate = level, handlers, propagate


def test_without_a_config_nothing_is_installed():
    logs.set_up(ClientConfig())
    assert logging.getLogger(logs.ROOT).handlers == []


def test_the_log_file_has_the_originals_line_and_the_workers_number(tmp_path):
    logs.set_worker(3)
    logs.set_up(ClientConfig(log_path=str(tmp_path / "new" / "c.log"), log_level=logging.INFO))
    logging.getLogger("osstorchconnector.streams").warning("said %s", "this")
    (line,) = (tmp_path / "new" / "c.log_3").read_text().splitlines()
    assert re.fullmatch(
        r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6}\|WARN \|th=[0-9A-F]{16}\|test_log_files\.py:\d+\|test_\w+:said this",
        line,
    )
    assert (tmp_path / "new" / "c.log_3").stat().st_mode & 0o777 == 0o600


def test_the_files_level_is_the_configs(tmp_path):
    logs.set_up(ClientConfig(log_path=str(tmp_path / "c.log"), log_level=logging.ERROR))
    logging.getLogger("osstorchconnector.x").warning("quiet")
    assert (tmp_path / "c.log_0").read_text() == ""


def test_a_level_the_user_set_stays():
    logging.getLogger(logs.ROOT).setLevel(logging.CRITICAL)
    logs.set_up(ClientConfig(log_level=logging.DEBUG))
    assert logging.getLogger(logs.ROOT).level == logging.CRITICAL


def test_setting_up_twice_writes_each_line_once(tmp_path):
    for _ in range(2):
        logs.set_up(ClientConfig(log_path=str(tmp_path / "c.log")))
    logging.getLogger("osstorchconnector.x").warning("tick")
    assert (tmp_path / "c.log_0").read_text().count("tick") == 1


def test_a_forked_child_writes_into_its_own_file(tmp_path):
    config = ClientConfig(log_path=str(tmp_path / "c.log"))
    logs.set_up(config)
    child = os.fork()
    if child == 0:
        logs.set_worker(1)
        logs.set_up(config)
        logging.getLogger("osstorchconnector.x").warning("inner")
        os._exit(0)
    os.waitpid(child, 0)
    logging.getLogger("osstorchconnector.x").warning("outer")
    assert "inner" not in (tmp_path / "c.log_0").read_text()
    assert "outer" in (tmp_path / "c.log_0").read_text()
    assert "inner" in (tmp_path / "c.log_1").read_text()


def test_audit_lines_go_to_their_own_file_only(tmp_path, caplog):
    logs.set_up(ClientConfig(audit_path=str(tmp_path / "audit.log")))
    logs.emit([(logging.INFO, "audit", "oss:read [key=/b/k][offset=0]")])
    (line,) = (tmp_path / "audit.log_0").read_text().splitlines()
    assert re.fullmatch(r"[\d/]+ [\d:.]+\|AUDIT\|th=[0-9A-F]{16}\|oss:read \[key=/b/k\]\[offset=0\]", line)
    assert (tmp_path / "audit.log_0").stat().st_mode & 0o777 == 0o600
    assert caplog.records == []


def test_the_audit_file_rotates_and_stays_private(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "_AUDIT_BYTES", 200)
    logs.set_up(ClientConfig(audit_path=str(tmp_path / "audit.log")))
    for _ in range(10):
        logs.emit([(logging.INFO, "audit", "x" * 60)])
    files = sorted(tmp_path.iterdir())
    assert len(files) == 6
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_a_file_that_cannot_be_opened_is_one_warning(tmp_path, caplog):
    (tmp_path / "file").touch()
    config = ClientConfig(log_path=str(tmp_path / "file" / "c.log"))
    for _ in range(2):
        logs.set_up(config)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    logging.getLogger("osstorchconnector.x").error("goes on")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_fails_nothing(tmp_path, capsys):
    (tmp_path / "c.log_0").symlink_to("/dev/full")
    logs.set_up(ClientConfig(log_path=str(tmp_path / "c.log")))
    logging.getLogger("osstorchconnector.x").warning("lost")
    assert "Traceback" not in capsys.readouterr().err


def test_native_records_keep_level_and_module(caplog):
    logs.emit([(logging.WARNING, "transport", "100% busy")])
    assert [(r.name, r.levelname, r.message) for r in caplog.records] == [
        ("osstorchconnector.transport", "WARNING", "100% busy")
    ]
