"""The emulator as users start it: from Python, from the command line, as a fixture."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import signal
import subprocess
import sys
from urllib.parse import urlsplit

import oss2
import pytest

from osstorchconnector import OssClient
from osstorchconnector.emulator import Emulator, EmulatorError

MD5 = hashlib.md5(b"data", usedforsecurity=False).digest()
COMMAND = [sys.executable, "-m", "osstorchconnector.cli"]


def reader(oss, bucket, key):
    return OssClient(**oss.arguments()).get_object(bucket, key)


def test_it_starts_serves_and_stops():
    with Emulator(buckets=["made"]) as oss:
        with OssClient(**oss.arguments()).put_object("made", "k") as writer:
            writer.write(b"data")
        assert reader(oss, "made", "k").read() == b"data"
        os.kill(oss.pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(oss.pid, 0)
    oss.stop()
    with pytest.raises(EmulatorError, match="not running"):
        oss.journal()


def test_objects_below_a_root_outlive_it(tmp_path):
    with (
        Emulator(buckets=["kept"], root=tmp_path) as oss,
        OssClient(**oss.arguments()).put_object("kept", "k") as writer,
    ):
        writer.write(b"data")
    with Emulator(root=tmp_path) as oss:
        assert reader(oss, "kept", "k").read() == b"data"


def test_opaque_etags_are_no_md5_and_a_wrong_content_md5_is_refused_all_the_same():
    data, wrong = b"data", base64.b64encode(bytes(16)).decode()
    with Emulator(buckets=["opaque"], arguments=["--opaque-etags"]) as oss:
        with OssClient(**oss.arguments()).put_object("opaque", "k") as writer:
            writer.write(data)
        assert reader(oss, "opaque", "k").read() == data
        signer = oss2.Bucket(oss2.Auth(oss.access_key_id, oss.access_key_secret), oss.endpoint, "opaque")
        told = signer.head_object("k").etag
        with pytest.raises(oss2.exceptions.ServerError, match="InvalidDigest"):
            signer.put_object("other", data, headers={"Content-MD5": wrong})
        stored = signer.put_object("other", data, headers={"Content-MD5": base64.b64encode(MD5).decode()})
    assert len(told) == 32
    assert told != MD5.hex().upper()
    assert stored.etag == MD5.hex().upper()


def test_a_start_that_fails_says_why():
    with pytest.raises(EmulatorError, match=r"did not start: .*no-such-flag"):
        Emulator(arguments=["--no-such-flag"]).start()


def test_the_ready_line_and_the_lines_to_paste():
    command = subprocess.Popen(
        [*COMMAND, "emulator", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert command.stdout is not None
    ready = json.loads(command.stdout.readline())
    assert ready["endpoint"].startswith("http://127.0.0.1:")
    assert {"access_key_id", "access_key_secret", "region", "control", "pid"} <= set(ready)
    command.send_signal(signal.SIGTERM)
    rest, said = command.communicate(timeout=10)
    assert command.returncode == 0
    assert rest == ""
    assert len([line for line in said.splitlines() if line.startswith("export ")]) == 3


def test_the_command_tells_its_version_and_its_commands():
    version = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.startswith("ossconnector 2.")
    usage = subprocess.run(COMMAND, capture_output=True, text=True, check=True)
    assert "emulator" in usage.stdout
    wrong = subprocess.run([*COMMAND, "emulate"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "emulate" in wrong.stderr


def test_a_wrong_signature_is_refused(oss_emulator):
    connection = http.client.HTTPConnection(urlsplit(oss_emulator.endpoint).netloc)
    oss_emulator.put_object("bucket", "k", b"data")
    connection.request("GET", "/bucket/k")
    assert connection.getresponse().status == 403


def test_rules_act_and_are_counted_and_the_journal_tells(oss_emulator):
    oss_emulator.put_object("bucket", "k", b"data")
    rule = {"match": {"op": "GetObject", "nth": [1]}, "action": {"status": 503, "code": "ServiceUnavailable"}}
    oss_emulator.rules([rule])
    assert reader(oss_emulator, "bucket", "k").read() == b"data"
    statuses = [entry["status"] for entry in oss_emulator.requests("GetObject")]
    assert statuses[0] == 503
    assert statuses[-1] in (200, 206)
    assert len(oss_emulator.rule_hits()) == 1
    with pytest.raises(EmulatorError, match="400"):
        oss_emulator.rules([{"match": {"planet": "mars"}, "action": {}}])


def test_each_test_finds_it_empty(oss_emulator):
    assert oss_emulator.journal() == []
    assert oss_emulator.rule_hits() == []


def test_files_and_variables_lead_to_it(oss_emulator, tmp_path, monkeypatch):
    oss_emulator.fill("bucket", "p/", 3, 10)
    for name, value in oss_emulator.environ().items():
        monkeypatch.setenv(name, value)
    assert len(list(OssClient().list_objects("bucket", "p/"))) == 3
    path = oss_emulator.write_credentials(tmp_path)
    assert os.stat(path).st_mode & 0o777 == 0o600
    client = OssClient(oss_emulator.endpoint, path, oss_emulator.write_config(tmp_path))
    assert len(list(client.list_objects("bucket", "p/"))) == 3
