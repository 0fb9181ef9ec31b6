"""Where a program finds its identity when it names none: every link, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from osstorchconnector import OssCheckpoint
from osstorchconnector.errors import CredentialsError
try:
    with OssCheckpoint(sys.argv[1], region="cn-local", config_path=sys.argv[2]).reader("oss://bucket/a") as reader:
        print(reader.read().decode())
except CredentialsError as refused:
    print("refused:", refused)
"""

# The file of the chain cannot be opened while all descriptors are taken.
FULL_PROGRAM = """
import os, resource, sys, time
from osstorchconnector import OssCheckpoint
from osstorchconnector.errors import CredentialsError
def read():
    with checkpoint.reader("oss://bucket/a") as reader:
        return reader.read().decode()
checkpoint = OssCheckpoint(sys.argv[1], region="cn-local", config_path=sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
taken = []
try:
    while True:
        taken.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
try:
    read()
except CredentialsError as refused:
    print("refused:", refused)
for descriptor in taken:
    os.close(descriptor)
end = time.monotonic() + 30
while True:
    try:
        print(read())
        break
    except CredentialsError:
        assert time.monotonic() < end
"""

KEPT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")
OIDC = {
    "ALIBABA_CLOUD_ROLE_ARN": "acs:ram::1:role/training",
    "ALIBABA_CLOUD_OIDC_PROVIDER_ARN": "acs:ram::1:oidc-provider/cluster",
    "ALIBABA_CLOUD_OIDC_TOKEN_FILE": "HOME/token",
}


def run(site, home, environ, config_path="", program=PROGRAM):
    """Return what the program prints in an environment that has nothing else in it."""
    before = {name: os.environ[name] for name in KEPT if name in os.environ}
    given = {name: value.replace("HOME", str(home)) for name, value in environ.items()}
    done = subprocess.run(
        [sys.executable, "-c", program, site.oss.endpoint, config_path],
        env={**before, "HOME": str(home), **site.oss.identity_environ(), **given},
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    assert "canary" not in done.stdout + done.stderr
    return done.stdout.strip()


def cli_profile(oss):
    base = {"access_key_id": oss.access_key_id, "access_key_secret": oss.access_key_secret}
    profile = {"name": "p", "mode": "RamRoleArn", "ram_role_arn": "acs:ram::1:role/r", **base}
    return ".aliyun/config.json", json.dumps({"current": "p", "profiles": [profile]})


def ini_section(oss):
    text = f"[default]\naccess_key_id = {oss.access_key_id}\naccess_key_secret = {oss.access_key_secret}\n"
    return ".alibabacloud/credentials.ini", text


def json_file(oss):
    keys = {"AccessKeyId": oss.access_key_id, "AccessKeySecret": oss.access_key_secret}
    return ".alibabacloud/credentials", json.dumps(keys)


def token_file(_oss):
    return "token", "canary-token"


@pytest.mark.parametrize(
    ("file", "environ", "service"),
    [
        (json_file, {}, None),
        (token_file, OIDC, "sts"),
        (cli_profile, {}, "sts"),
        (ini_section, {}, None),
        (None, {"ALIBABA_CLOUD_CREDENTIALS_URI": "IDENTITY/credentials"}, "uri"),
        (None, {}, "keys"),
        (None, {"ALIBABA_CLOUD_ECS_METADATA": "emulator-role"}, "keys"),
    ],
)
def test_each_link_is_found(file, environ, service, site, tmp_path):
    site.fill({"a": b"whole"})
    if file is not None:
        name, text = file(site.oss)
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    environ = {name: value.replace("IDENTITY", site.oss.identity) for name, value in environ.items()}
    assert run(site, tmp_path, environ) == "whole"
    asked = site.oss.identity_asked()
    assert asked.get(service, 0) == (0 if service is None else 1)
    assert sum(asked.values()) == (
        0 if service is None else asked[service] + asked.get("token", 0) + asked.get("role", 0)
    )


def test_no_other_identity_is_chosen_while_a_file_cannot_be_opened(site, tmp_path):
    site.fill({"a": b"whole"})
    name, text = json_file(site.oss)
    path = tmp_path / name
    path.parent.mkdir()
    path.write_text(text)
    stranger = {"OSS_ACCESS_KEY_ID": "stranger", "OSS_ACCESS_KEY_SECRET": "canary"}
    refused, whole = run(site, tmp_path, stranger, program=FULL_PROGRAM).splitlines()
    assert refused.startswith("refused:")
    assert str(path) in refused
    assert "Too many open files" in refused
    assert whole == "whole"


def test_the_authorities_of_the_config_file_are_those_of_sts_too(secure_site, tmp_path):
    secure_site.fill({"a": b"whole"})
    (tmp_path / "token").write_text("canary-token")
    secure = {"OSSCONNECTOR_STS_ENDPOINT": secure_site.oss.identity.replace("http://", "https://")}
    assert run(secure_site, tmp_path, OIDC | secure, secure_site.arguments["config_path"]) == "whole"
    assert secure_site.oss.identity_asked()["sts"] == 1


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"OSS_ACCESS_KEY_ID": "canary"}, "OSS_ACCESS_KEY_SECRET is not set"),
        ({"ALIBABA_CLOUD_ACCESS_KEY_SECRET": "canary"}, "ALIBABA_CLOUD_ACCESS_KEY_ID is not set"),
        (OIDC, "HOME/token"),
        ({"ALIBABA_CLOUD_PROFILE": "absent"}, "no profile absent"),
        ({"ALIBABA_CLOUD_CREDENTIALS_FILE": "HOME/absent.ini"}, "HOME/absent.ini"),
        ({"ALIBABA_CLOUD_CREDENTIALS_URI": "canary"}, "ALIBABA_CLOUD_CREDENTIALS_URI"),
        ({"ALIBABA_CLOUD_ECS_METADATA": "another"}, "RAM role another"),
        ({"ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true"}, "no credentials found"),
    ],
)
def test_a_link_that_is_set_up_wrongly_is_one_line_that_names_it(environ, named, site, tmp_path):
    site.fill({"a": b"whole"})
    said = run(site, tmp_path, environ)
    assert said.startswith("refused:")
    assert len(said.splitlines()) == 1
    assert named.replace("HOME", str(tmp_path)) in said
    assert site.oss.requests() == []
