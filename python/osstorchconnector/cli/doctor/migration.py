"""`doctor --migrate`: config and credential files as the vendor's package reads them, and what will differ here.

The list of all that differs, whatever the files say, is docs/migrating.md; here is what these files and this machine
make of it.
"""

from __future__ import annotations

import json
import os
import stat
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osstorchconnector import config as config_file
from osstorchconnector.cli.amounts import age
from osstorchconnector.cli.doctor import surroundings
from osstorchconnector.cli.doctor.findings import Finding, wrong
from osstorchconnector.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from osstorchconnector.cli.reaching import Reaching

_CREDENTIALS = "/root/.alibabacloud/credentials"
# The vendor's package writes there unless the file says otherwise.
_LOGS = {"logPath": "/var/log/oss-connector/connector.log", "auditPath": "/var/log/oss-connector/audit.log"}
_BOUNDS = (
    "datasetConfig.prefetchConcurrency",
    "datasetConfig.listConcurrency",
    "checkpointConfig.prefetchConcurrency",
    "checkpointConfig.uploadConcurrency",
    "checkpointConfig.uploadBufferSizeMB",
)
_MEANS = {
    "datasetConfig.timeoutMs": "was the time of a whole attempt, is how long a body may be silent",
    "datasetConfig.prefetchMB": "bounds the bytes in flight of the process, not of each client",
    "checkpointConfig.prefetchIoSizeMB": "is the least size of a range; ranges grow with large reads",
    "checkpointConfig.uploadIoSizeMB": "is the size of the first parts; later parts of a long upload grow",
}


def migration(reaching: Reaching) -> Iterator[Finding]:
    """Look at both files, the endpoint and the environment."""
    yield surroundings.packages()
    yield from _config(reaching.config_path)
    yield from _credentials(reaching.cred_path)
    yield from _endpoint(reaching.endpoint, reaching.region)
    yield from _environment(reaching)
    yield Finding(
        "behaviour",
        "look",
        "a writer that is dropped without close() saves nothing; missing objects and empty prefixes raise; readline keeps "
        "the newline; a failing endpoint is asked again for minutes",
        "docs/migrating.md has every change with its switch; `compatibility` in the config file brings two back",
    )


def _config(given: str) -> Iterator[Finding]:
    path = given or config_file.DEFAULT_PATH
    if not given and not os.path.exists(path):
        yield Finding(
            "config", "ok", f"{path} is not there: the vendor's package needs it, here the defaults hold"
        )
        yield from _log_files({}, path)
        return
    try:
        text = Path(path).read_text(encoding="utf-8")
        config_file.parse(text, path)
    except ConfigError as failure:
        yield wrong("config", failure)
        return
    except (OSError, UnicodeDecodeError) as failure:
        yield wrong("config", ConfigError(f"config file {path} cannot be read: {failure}"))
        return
    document = json.loads(text)
    flat = _flat(document)
    differing = [finding for name, value in flat.items() for finding in _key(path, name, value)]
    yield Finding(
        "config",
        "ok",
        f"{path} is taken as it is: {len(flat)} keys, {len(differing)} of which mean something else here",
    )
    yield from differing
    yield from _log_files(flat, path)


def _flat(document: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, dict):
            flat.update({f"{name}.{inner}": inner_value for inner, inner_value in value.items()})
        else:
            flat[name] = value
    return flat


def _key(path: str, name: str, value: Any) -> Iterator[Finding]:
    """Say what is different about one key."""
    if not config_file.is_known(name):
        yield Finding(
            "config", "look", f"{name} is known to neither package", f"correct it in {path}, or take it out"
        )
        return
    head, _, tail = name.rpartition(".")
    alone = config_file.parse(json.dumps({head: {tail: value}} if head else {name: value}), path)
    if name in _BOUNDS and alone.options:
        text = f"{name} = {value} is an upper bound here; below it the level is found by measuring"
        yield Finding("config", "look", text, "leave it out unless it is to hold the job back", {"key": name})
    elif name in _MEANS and alone.options:
        remedy = f"take it out of {path}, unless this is what is wanted"
        yield Finding("config", "look", f"{name} = {value} {_MEANS[name]}", remedy, {"key": name})
    elif name.startswith(("network.", "compatibility.")):
        yield Finding("config", "ok", f"{name} is a key of ours, which the vendor's package ignores")


def _log_files(flat: dict[str, Any], path: str) -> Iterator[Finding]:
    for name, place in _LOGS.items():
        if name not in flat:
            text = f"{name} is absent: the vendor's package writes {place}_<worker>, here no file is written"
            yield Finding("logs", "look", text, f"name a file in {path} if somebody reads it", {"key": name})
        elif name == "logPath" and flat[name] == "":
            yield Finding(
                "logs",
                "look",
                'logPath = "": lines went to stdout, here they go to Python\'s logging',
                "logging.basicConfig(stream=sys.stdout) sends them there",
            )


def _credentials(given: str) -> Iterator[Finding]:
    path = given or _CREDENTIALS
    try:
        found = os.stat(path)
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        if given:
            yield Finding("credentials", "wrong", f"{path} is not there", "correct --cred-path")
        else:
            yield Finding(
                "credentials",
                "ok",
                f"{path} is not there: the vendor's package has no other source, here the chain goes on",
                "`ossconnector doctor` says which identity it finds",
            )
        return
    except (OSError, ValueError, RecursionError) as failure:
        reason = failure.strerror if isinstance(failure, OSError) else "it is not JSON"
        yield Finding(
            "credentials", "wrong", f"{path} cannot be read: {reason}", "correct the file or its mode"
        )
        return
    yield from _content(path, document)
    if found.st_mode & (stat.S_IRGRP | stat.S_IROTH):
        yield Finding(
            "credentials", "look", f"{path} can be read by others than its owner", f"chmod 600 {path}"
        )


def _content(path: str, document: Any) -> Iterator[Finding]:
    """Look at the fields; their values are secrets and are not said."""
    fields = document if isinstance(document, dict) else {}
    missing = [name for name in ("AccessKeyId", "AccessKeySecret") if not fields.get(name)]
    if missing:
        yield Finding("credentials", "wrong", f"{path} has no {' and no '.join(missing)}", "put it there")
        return
    expiry = fields.get("Expiration")
    if not expiry:
        yield Finding(
            "credentials",
            "look",
            f"{path} has no Expiration: it was read once, here it is read again when it changes",
            "whoever changes it is to put the new file in its place by a rename, whole",
        )
        return
    try:
        left = datetime.fromisoformat(str(expiry).replace("Z", "+00:00")).timestamp() - time.time()
    except ValueError:
        yield Finding(
            "credentials", "wrong", f"{path}: Expiration is no ISO 8601 moment", "write 2026-01-31T12:00:00Z"
        )
        return
    if left <= 0:
        yield Finding(
            "credentials",
            "wrong",
            f"{path} expired {age(-left)} ago: the vendor's package signs with it all the same, here it is an error",
            "put fresh credentials there",
        )
        return
    yield Finding("credentials", "ok", f"{path} is taken as it is, and is good for {age(left)}")


def _endpoint(given: str | None, region: str) -> Iterator[Finding]:
    endpoint = given if given is not None else os.environ.get("OSS_ENDPOINT", "")
    if not endpoint:
        return
    if "://" not in endpoint:
        yield Finding("endpoint", "ok", f"{endpoint} has no scheme: https is spoken, by both packages")
    elif (
        endpoint.lower().startswith("http://")
        and surroundings.kind_of(surroundings.host_of(endpoint)) == "public"
    ):
        yield Finding("endpoint", "look", f"{endpoint} is clear text on a public way", "write https://")
    if surroundings.kind_of(surroundings.host_of(endpoint)) == "accelerate" and not region:
        yield Finding(
            "endpoint",
            "wrong" if not os.environ.get("OSS_REGION") else "ok",
            "no region can be told from an accelerated endpoint; the vendor's package signs for `accelerate`, in vain",
            "pass region=..., or set OSS_REGION",
        )


def _environment(reaching: Reaching) -> Iterator[Finding]:
    told = [name for name in ("OSS_ENDPOINT", "OSS_REGION") if os.environ.get(name)]
    if told:
        yield Finding(
            "environment",
            "look",
            f"{' and '.join(told)} set: endpoint=None takes it here, and was a local directory with the vendor's package",
            'pass endpoint="" where a local directory is meant',
        )
    proxies = [
        name
        for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
        if os.environ.get(name)
    ]
    if proxies:
        yield Finding(
            "environment",
            "look",
            f"{', '.join(proxies)} set: the proxy is used here, the vendor's package goes straight",
            'put the endpoint into no_proxy, or network.proxy = "direct" into the config file, if it is not to be',
        )
    if not reaching.cred_path and os.path.exists(_CREDENTIALS) and os.environ.get("OSS_ACCESS_KEY_ID"):
        yield Finding(
            "environment",
            "ok",
            f"OSS_ACCESS_KEY_ID is set, and {_CREDENTIALS} wins, as with the vendor's package",
        )
