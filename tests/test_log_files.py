"""Logging: the original's files only when they are asked for, private, and never a reason to fail."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import signal
import threading

import pytest
from torch.utils.data import DataLoader

from osstorchconnector import OssCheckpoint, OssClient, OssMapDataset, config, logs
from osstorchconnector.config import ClientConfig


@pytest.fixture(autouse=True)
def _fresh_logging(monkeypatch):
    monkeypatch.setattr(config, "_said", set())
    monkeypatch.setattr(logs, "_worker", {"id": 0})


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


def audit_handlers(path, count, monkeypatch):
    """Open the same audit file so many times, as the processes of a job on one machine do."""
    monkeypatch.setattr(logs, "_AUDIT_BYTES", 2000)
    handlers = [logs._file_handler(str(path), rotate=True) for _ in range(count)]
    return [
        lambda text, handler=handler: handler.handle(
            logging.LogRecord(logs.AUDIT, logging.INFO, "", 0, text, None, None)
        )
        for handler in handlers
    ]


def test_processes_that_share_an_audit_file_rotate_it_once_for_all(tmp_path, monkeypatch):
    first, *others = audit_handlers(tmp_path / "audit.log", 8, monkeypatch)
    lines = ["m" * 99] * 19 + ["m" * 98]
    for line in lines:
        first(line)
    for write in (first, *others):
        write("one more")
    assert (tmp_path / "audit.log.1").read_text().splitlines() == lines
    assert (tmp_path / "audit.log").read_text() == "one more\n" * 8


def test_a_line_goes_where_it_may_while_another_process_rotates(tmp_path, monkeypatch):
    (write,) = audit_handlers(tmp_path / "audit.log", 1, monkeypatch)
    write("m" * 1998)
    with open(tmp_path / "audit.log", "rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        write("while it is held")
    write("afterwards")
    assert (tmp_path / "audit.log.1").read_text().endswith("m\nwhile it is held\n")
    assert (tmp_path / "audit.log").read_text() == "afterwards\n"


def test_an_audit_file_that_was_removed_is_made_anew_when_it_would_be_full(tmp_path, monkeypatch):
    (write,) = audit_handlers(tmp_path / "audit.log", 1, monkeypatch)
    write("m" * 1998)
    (tmp_path / "audit.log").unlink()
    write("afterwards")
    assert (tmp_path / "audit.log").read_text() == "afterwards\n"
    assert (tmp_path / "audit.log").stat().st_mode & 0o777 == 0o600


def test_a_rotation_that_fails_loses_no_line(tmp_path, monkeypatch):
    (write,) = audit_handlers(tmp_path / "audit.log", 1, monkeypatch)
    write("m" * 1998)
    monkeypatch.setattr(os, "rename", lambda *_: (_ for _ in ()).throw(PermissionError("read-only")))
    write("still here")
    assert (tmp_path / "audit.log").read_text().endswith("m\nstill here\n")


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


def size_of(sample):
    return sample.size


LINE = r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6}\|AUDIT\|th=[0-9A-F]{16}\|"
READ = re.compile(
    LINE
    + r"oss:read \[url=http://127\.0\.0\.1:\d+/bucket/([^]]+)\]\[offset=(\d+)\]\[size=(\d+)\]\[ret=(-?\d+)\]"
    r"\[server_time=\d+\]\[call_time=\d+\]\[latency=\d+\]\[status=(\d+)\]\[request_id=\w+\]\[attempt=(\d+)\]"
    r"\[operation=GetObject\]"
)


@pytest.fixture
def logged(site, tmp_path):
    """Give arguments whose config names a log and an audit file, and a function that reads one of them."""

    def made(**network):
        document = {"logLevel": 0, "logPath": f"{tmp_path}/log", "auditPath": f"{tmp_path}/audit"}
        return site.configured(**document, datasetConfig={"prefetchConcurrency": 7}, network=network)

    return made, lambda name: (tmp_path / name).read_text()


def kinds(audit):
    return re.findall(r"\|(oss:\w+) ", audit)


def test_reads_writes_and_the_rest_are_audited_in_the_originals_form(site, logged):
    made, text = logged
    site.fill({"a b]": b"data"})
    client = OssClient(**made())
    assert client.get_object("bucket", "a b]").read() == b"data"
    client.put_object("bucket", "new").close()
    client.remove_object("bucket", "new")
    list(client.list_objects("bucket"))
    assert kinds(text("audit_0")) == ["oss:head", "oss:read", "oss:write", "oss:delete", "oss:list"]
    (read,) = READ.findall(text("audit_0"))
    assert read == ("a%20b%5D", "0", "4", "4", "200", "1")


def test_a_datasets_reads_are_audited_when_slow_or_failed_and_all_on_request(site, logged):
    made, text = logged
    uris = site.fill({"a": b"data", "b": b"data"})
    list(OssMapDataset.from_objects(uris, **made()))
    assert kinds(text("audit_0")) == []
    site.oss.rules([{"match": {"key": "b", "nth": [1]}, "action": {"status": 503}}])
    list(OssMapDataset.from_objects(uris, **made()))
    failed, recovered = READ.findall(text("audit_0"))[0], READ.findall(text("audit_0"))[1:]
    assert failed == ("b", "0", failed[2], "-5", "503", "1")
    assert recovered == []
    list(OssMapDataset.from_objects(uris, **made(auditAll=True)))
    assert len(READ.findall(text("audit_0"))) == 3


def test_the_log_file_gets_a_line_a_request_and_what_was_said_of_the_config(site, logged):
    made, text = logged
    site.fill({"a": b"data"})
    OssCheckpoint(**made()).reader("oss://bucket/a").read()
    lines = text("log_0").splitlines()
    assert any("datasetConfig.prefetchConcurrency=7" in line and "|INFO |" in line for line in lines)
    assert any(
        re.search(
            r"\|DEBUG\|.*GetObject oss://bucket/a status=200 request_id=\w+ attempt=1 elapsed_ms=\d+$",
            line,
        )
        for line in lines
    )


@pytest.mark.parametrize("used_before", [False, True])
@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_each_worker_has_files_of_its_own(start_method, used_before, site, logged):
    made, text = logged
    uris = site.fill({"a": b"data", "b": b"data"})
    dataset = OssMapDataset.from_objects(uris, transform=size_of, **made(auditAll=True))
    if used_before:
        assert dataset[0] == 4
    loader = DataLoader(dataset, num_workers=2, multiprocessing_context=start_method)
    assert [int(size) for size in loader] == [4, 4]
    assert [len(READ.findall(text(f"audit_{number}"))) for number in (0, 1)] == [1 + used_before, 1]


def test_no_file_and_no_line_holds_a_secret(site, logged, tmp_path):
    made, text = logged
    uris = site.fill({"a": b"data"})
    list(OssMapDataset.from_objects(uris, **made(auditAll=True)))
    for name in ("audit_0", "log_0"):
        assert text(name)
        assert site.oss.access_key_secret not in text(name)
        assert site.oss.access_key_id not in text(name)
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_f73_a_child_forked_while_another_thread_logs_can_log_too(site, logged):
    made, text = logged
    site.fill({"a": b"data"})
    OssCheckpoint(**made()).reader("oss://bucket/a").read()
    log = logging.getLogger("osstorchconnector")
    log.propagate = False  # pytest's own handler buffers
    stop = threading.Event()

    def write_on():
        while not stop.is_set():
            log.info("of a thread")

    writers = [threading.Thread(target=write_on) for _ in range(3)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(100):
            child = os.fork()
            if child == 0:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(10)
                log.info("of a child")
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert text("log_0").count("of a child") == 100
