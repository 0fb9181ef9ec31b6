"""`ossconnector doctor`: each line ok or a remedy, nothing left behind, no secret said."""

from __future__ import annotations

import json
import os
import signal

import pytest

from command_process import Shell
from osstorchconnector.cli.doctor import migration, surroundings

BEIJING = "https://oss-cn-beijing.aliyuncs.com"
NAMES = [
    "packages",
    "config",
    "endpoint",
    "region",
    "proxy",
    "name",
    "tls",
    "identity",
    "list",
    "put",
    "get",
    "delete",
    "clock",
    "latency",
    "quota",
]


@pytest.fixture
def shell(site, tmp_path):
    site.fill({"run/a": b"1" * 1000})
    return Shell(site, tmp_path)


def findings(shell, *arguments):
    """Run the doctor; each line is ok, or says what to do. Return what ran, and the lines."""
    done = shell.run("doctor", "--json", *arguments)
    rows = json.loads(done.stdout)
    assert [row for row in rows if row["status"] not in ("ok", "skipped") and not row["remedy"]] == []
    assert done.returncode == any(row["status"] == "wrong" for row in rows), done
    return done, rows


def seen(shell, *arguments, status=0):
    done, rows = findings(shell, *arguments)
    assert done.returncode == status, done
    assert done.stderr == ""
    assert shell.variables["OSS_ACCESS_KEY_SECRET"] not in done.stdout
    return {row["name"]: row for row in rows}


def statuses(rows):
    return {name: row["status"] for name, row in rows.items() if row["status"] != "ok"}


def keys(shell):
    return [row["uri"] for row in shell.document("ls", "-r", "oss://bucket/")]


def refuse(shell, operation):
    action = {"status": 403, "code": "AccessDenied"}
    shell.oss.rules([{"match": {"op": operation}, "action": action}])


def test_where_all_is_well_every_line_is_ok_and_nothing_is_left(shell):
    said = shell.printed("doctor", "oss://bucket/run/")
    assert [line.split()[:2] for line in said.splitlines() if not line.startswith(" ")] == [
        ["ok", name] for name in NAMES
    ]
    assert keys(shell) == ["oss://bucket/run/a"]
    rows = seen(shell, "oss://bucket/run/")
    assert list(rows) == NAMES
    assert rows["endpoint"]["facts"]["kind"] == "address"
    assert rows["identity"]["facts"]["source"] == "environment OSS_ACCESS_KEY_ID and OSS_ACCESS_KEY_SECRET"
    assert rows["latency"]["facts"]["median_seconds"] > 0
    assert rows["quota"]["facts"]["mean_bytes"] == 1000


def test_without_a_prefix_or_for_reading_only_nothing_is_written(shell):
    rows = seen(shell)
    assert set(statuses(rows)) == set(NAMES[8:])
    assert shell.oss.requests() == []
    assert statuses(seen(shell, "--read-only", "oss://bucket/run/")) == {
        "put": "skipped",
        "delete": "skipped",
    }
    assert {entry["operation"] for entry in shell.oss.requests()} <= {
        "ListObjectsV2",
        "HeadObject",
        "GetObject",
    }


def test_a_refusal_names_the_right_that_is_missing(shell):
    for operation, name, action in (
        ("ListObjectsV2", "list", "oss:ListObjects"),
        ("PutObject", "put", "oss:PutObject"),
        ("DeleteObject", "delete", "oss:DeleteObject"),
    ):
        refuse(shell, operation)
        rows = seen(shell, "oss://bucket/run/", status=1)
        assert rows[name]["status"] == "wrong"
        assert action in rows[name]["remedy"]


def test_what_makes_the_rest_pointless_ends_it(shell):
    rows = seen(shell, "oss://no-such-bucket/run/", status=1)
    assert "NoSuchBucket" in rows["list"]["text"]
    assert rows["put"]["text"] == "the listing comes first"
    rows = seen(shell, "--config-path", "/nowhere", status=1)
    assert rows["config"]["status"] == "wrong"
    assert rows["identity"]["status"] == "skipped"
    rows = seen(shell, "oss://bucket/", "--endpoint", "ftp://host", status=1)
    assert "only http:// and https:// are spoken" in rows["endpoint"]["text"]
    rows = seen(shell, "oss://bucket/", "--endpoint", "http://oss-cn-x-internal.aliyuncs.invalid", status=1)
    assert rows["name"]["status"] == "wrong"
    assert rows["list"]["text"] == "the name comes first"
    assert "is not an OSS location" in shell.refused("doctor", "bucket/x")


def test_the_identity_is_explained(shell, tmp_path):
    shell.variables |= {"ALIBABA_CLOUD_ACCESS_KEY_ID": "other", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "canary"}
    why = seen(shell)["identity"]["facts"]["why"]
    assert why.startswith("the first link of the chain that is configured")
    assert "configured too, and not used: environment ALIBABA_CLOUD_ACCESS_KEY_ID" in why
    path = shell.oss.write_credentials(tmp_path)
    facts = seen(shell, "--cred-path", path)["identity"]["facts"]
    assert (facts["source"], facts["why"]) == (f"credentials file {path}", "--cred-path names it")
    del shell.variables["OSS_ACCESS_KEY_ID"]
    rows = seen(shell, "oss://bucket/", status=1)
    assert "OSS_ACCESS_KEY_ID is not set" in rows["identity"]["text"]
    assert rows["list"]["text"] == "the identity comes first"


def test_keys_that_end_say_when(shell):
    for name in ("OSS_ACCESS_KEY_ID", "OSS_ACCESS_KEY_SECRET"):
        shell.variables[name + "_WAS"] = shell.variables.pop(name)
    shell.variables["OSS_ACCESS_KEY_SECRET"] = ""
    shell.variables |= {**shell.oss.identity_environ(), "HOME": "/nowhere"}
    rows = {row["name"]: row for row in findings(shell, "oss://bucket/")[1]}
    assert "ECS metadata service" in rows["identity"]["facts"]["source"]
    assert rows["identity"]["facts"]["expires"].endswith("Z")
    assert rows["list"]["status"] == "ok"


@pytest.mark.parametrize(("offset", "status"), [(30, "ok"), (-300, "look"), (2000, "look")])
def test_a_clock_that_is_off_is_told(shell, offset, status):
    shell.oss.clock(offset)
    clock = seen(shell, "oss://bucket/run/")["clock"]
    assert clock["status"] == status
    assert clock["facts"]["offset_seconds"] == pytest.approx(offset, abs=2)
    assert ("behind" if offset > 0 else "ahead of") in clock["text"]


def test_latency_says_what_concurrency_it_calls_for(shell, site):
    shell.oss.shape(first_byte_ms=20)
    config = site.configured(datasetConfig={"prefetchConcurrency": 4})["config_path"]
    row = seen(shell, "oss://bucket/run/", "--config-path", config)["latency"]
    assert row["status"] == "look"
    assert row["facts"]["median_seconds"] >= 0.02
    assert row["facts"]["in_flight_at_quota"] >= 200
    assert "datasetConfig.prefetchConcurrency holds a process to" in row["remedy"]


@pytest.mark.parametrize("size_bytes", [100, 2 << 20])
def test_a_quota_that_was_reached_says_what_to_do(shell, site, size_bytes):
    site.fill({"run/a": b"1" * size_bytes})
    slow = {"status": 503, "code": "DownloadTrafficRateLimitExceeded"}
    shell.oss.rules([{"match": {"op": "GetObject", "nth": [1]}, "action": slow}])
    row = seen(shell, "oss://bucket/run/")["quota"]
    assert row["status"] == "look"
    assert row["facts"]["throttled"] == 1
    assert "asked to slow down 1 time" in row["text"]


def test_ctrl_c_leaves_nothing_behind(shell):
    shell.oss.shape(first_byte_ms=200)
    with shell.begun("doctor", "oss://bucket/run/") as running:
        while not shell.oss.requests("PutObject"):
            assert running.poll() is None
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=20)
    assert running.returncode == 130
    assert "Traceback" not in said
    assert keys(shell) == ["oss://bucket/run/a"]


def test_tls_is_tried_by_itself(secure_site, tmp_path):
    secure_site.fill({"a": b"1"})
    shell = Shell(secure_site, tmp_path)
    trusting = ("oss://bucket/", "--config-path", secure_site.arguments["config_path"])
    rows = seen(shell, *trusting)
    assert (rows["tls"]["status"], rows["tls"]["facts"]["version"]) == ("ok", "TLSv1.3")
    assert rows["list"]["status"] == "ok"
    rows = seen(shell, "oss://bucket/", status=1)
    assert "network.caFile" in rows["tls"]["remedy"]
    assert rows["list"]["text"] == "TLS comes first"
    for ca_file, said in (("/nowhere", "No such file"), (str(tmp_path / "empty"), "certificate")):
        (tmp_path / "empty").touch()
        config = secure_site.configured(network={"caFile": ca_file})["config_path"]
        rows = seen(shell, "oss://bucket/", "--config-path", config, status=1)
        assert rows["tls"]["text"].startswith(f"network.caFile in {config}: {ca_file}: ")
        assert said in rows["tls"]["text"]
        assert "PEM" in rows["tls"]["remedy"]
    secure_site.configured()
    secure_site.oss.certificate("expired")
    try:
        assert "expired" in seen(shell, *trusting, status=1)["tls"]["text"]
    finally:
        secure_site.oss.certificate("good")


def test_the_vendors_package_beside_ours_is_named(shell, tmp_path):
    (tmp_path / "layer" / "osstorchconnector" / "_oss_connector").mkdir(parents=True)
    before = shell.variables.get("PYTHONPATH", "")
    shell.variables["PYTHONPATH"] = f"{before}{os.pathsep}{tmp_path / 'layer'}"
    done, rows = findings(shell)
    assert done.returncode == 0
    [row] = [row for row in rows if row["name"] == "packages"]
    assert (row["status"], row["facts"]["vendor"]) == ("look", [str(tmp_path / "layer")])
    assert "pip uninstall" in row["remedy"]


def test_a_region_that_contradicts_the_endpoint_is_told(shell):
    _, rows = findings(shell, "--endpoint", BEIJING)
    row = {row["name"]: row for row in rows}["region"]
    assert (row["status"], row["facts"]["region"]) == ("look", "cn-beijing")


@pytest.mark.parametrize("given", ["cn-hangzhou", "oss-cn-hangzhou"])
def test_a_region_that_is_given_and_contradicts_the_endpoint_is_told(shell, given):
    _, rows = findings(shell, "--endpoint", BEIJING, "--region", given)
    row = {row["name"]: row for row in rows}["region"]
    assert (row["status"], row["facts"]["region"]) == ("look", "cn-hangzhou")
    assert "whose region is cn-beijing" in row["text"]
    assert "leave region out or correct the endpoint" in row["remedy"]


def test_a_region_that_is_given_and_agrees_is_ok(shell):
    _, rows = findings(shell, "--endpoint", BEIJING, "--region", "oss-cn-beijing")
    assert {row["name"]: row["status"] for row in rows}["region"] == "ok"


def test_a_local_directory_is_no_fault_of_the_config_file(shell):
    rows = seen(shell, "oss://bucket/", "--endpoint", "", status=1)
    assert (rows["config"]["status"], rows["endpoint"]["status"]) == ("ok", "wrong")
    assert "local-directory mode" in rows["endpoint"]["text"]
    assert rows["region"]["status"] == rows["list"]["status"] == "skipped"


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("oss-cn-beijing.aliyuncs.com", "public"),
        ("cn-hangzhou.oss.aliyuncs.com", "public"),
        ("oss-cn-beijing-internal.aliyuncs.com", "internal"),
        ("vpc100-oss-cn-beijing.aliyuncs.com", "internal"),
        ("oss-accelerate.aliyuncs.com", "accelerate"),
        ("oss-accelerate-overseas.aliyuncs.com", "accelerate"),
        ("127.0.0.1", "address"),
        ("::1", "address"),
        ("localhost", "address"),
        ("data.example.com", "own"),
    ],
)
def test_hosts_are_sorted(host, kind):
    assert surroundings.kind_of(host) == kind


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://oss-accelerate.aliyuncs.com",
        "oss-accelerate.aliyuncs.com",
        "oss-accelerate-overseas.aliyuncs.com:443",
        "HTTPS://OSS-ACCELERATE.aliyuncs.com",
    ],
)
def test_migration_sees_an_accelerated_endpoint_however_it_is_written(endpoint, monkeypatch):
    monkeypatch.delenv("OSS_REGION", raising=False)
    *_, finding = migration._endpoint(endpoint, "")
    assert (finding.name, finding.status) == ("endpoint", "wrong")
    assert "accelerated" in finding.text


def test_an_instance_knows_itself(tmp_path):
    name = tmp_path / "product_name"
    assert not surroundings.is_on_ecs(str(name))
    name.write_text("Alibaba Cloud ECS\n")
    assert surroundings.is_on_ecs(str(name))


SAMPLE = {
    "logLevel": 1,
    "logPath": "/var/log/oss-connector/connector.log",
    "auditPath": "/var/log/oss-connector/audit.log",
    "datasetConfig": {"prefetchConcurrency": 24, "prefetchWorker": 2},
    "checkpointConfig": {
        "prefetchConcurrency": 24,
        "prefetchWorker": 4,
        "uploadConcurrency": 64,
    },
}


def differing(shell, config, credentials=None, status=0):
    """Return what `doctor --migrate` says of files, by name."""
    path = shell.directory / "original.json"
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    arguments = ["--migrate", "--config-path", path]
    if credentials is not None:
        secret = shell.directory / "original-credentials"
        secret.write_text(json.dumps(credentials))
        secret.chmod(0o600)
        arguments += ["--cred-path", secret]
    done, rows = findings(shell, *arguments)
    assert done.returncode == status, done
    assert "canary" not in done.stdout
    assert shell.oss.requests() == []
    return {name: [row for row in rows if row["name"] == name] for name in {row["name"] for row in rows}}


def test_the_published_sample_moves_over_as_it_is(shell):
    rows = differing(shell, SAMPLE)
    [only] = rows["config"]
    assert only["status"] == "ok"
    assert "8 keys, 0 of which mean something else" in only["text"]
    assert "logs" not in rows
    assert "docs/migrating.md" in rows["behaviour"][0]["remedy"]


def test_keys_that_mean_something_else_are_named(shell):
    document = {
        "datasetConfig": {"prefetchConcurrency": 48, "timeoutMs": 5000, "prefetchThreads": 3},
        "network": {"maxConcurrency": 64},
    }
    rows = differing(shell, document)
    texts = [row["text"] for row in rows["config"]]
    assert any("prefetchConcurrency = 48 is an upper bound here" in text for text in texts)
    assert any("timeoutMs = 5000 was the time of a whole attempt" in text for text in texts)
    assert any("prefetchThreads is known to neither package" in text for text in texts)
    assert any("network.maxConcurrency is a key of ours" in text for text in texts)
    assert {row["facts"]["key"] for row in rows["logs"]} == {"logPath", "auditPath"}


@pytest.mark.parametrize(
    ("config", "said"),
    [("{", "is not JSON"), ("[]", "one JSON object"), ({"logLevel": -1}, "must not be negative")],
)
def test_a_file_that_is_refused_here_is_wrong(shell, config, said):
    [row] = differing(shell, config, status=1)["config"]
    assert row["status"] == "wrong"
    assert said in row["text"]


@pytest.mark.parametrize(
    ("document", "status", "said"),
    [
        ({"AccessKeyId": "canary-id", "AccessKeySecret": "canary"}, "look", "no Expiration"),
        ({"AccessKeyId": "canary-id"}, "wrong", "no AccessKeySecret"),
        (
            {"AccessKeyId": "i", "AccessKeySecret": "canary", "Expiration": "2024-01-01T00:00:00Z"},
            "wrong",
            "expired",
        ),
        (
            {"AccessKeyId": "i", "AccessKeySecret": "canary", "Expiration": "2999-01-01T00:00:00Z"},
            "ok",
            "is taken as it is",
        ),
        (
            {"AccessKeyId": "i", "AccessKeySecret": "canary", "Expiration": "tomorrow"},
            "wrong",
            "no ISO 8601 moment",
        ),
        ([], "wrong", "no AccessKeyId and no AccessKeySecret"),
    ],
)
def test_a_credentials_file_is_read_and_never_said(shell, document, status, said):
    [row] = differing(shell, SAMPLE, document, status=1 if status == "wrong" else 0)["credentials"]
    assert row["status"] == status
    assert said in row["text"]


def test_what_the_environment_changes_is_told(shell):
    shell.variables["https_proxy"] = "http://user:canary@proxy:3128"
    shell.variables["OSS_ENDPOINT"] = "http://oss-cn-beijing.aliyuncs.com"
    rows = differing(shell, SAMPLE)
    texts = " ".join(row["text"] for row in rows["environment"])
    assert "OSS_ENDPOINT and OSS_REGION set" in texts
    assert "the vendor's package goes straight" in texts
    assert "clear text" in rows["endpoint"][0]["text"]
