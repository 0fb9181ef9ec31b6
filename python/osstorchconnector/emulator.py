"""A local OSS in a process of its own: `with Emulator() as oss:`.

It speaks the real protocol, checks signatures, can misbehave on request and keeps a journal of what it was asked.
It needs no account and no network. The pytest fixture `oss_emulator` is one of these.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from osstorchconnector import _native
from osstorchconnector.credentials import StaticCredentials

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

# A cold start under load on two cores stays below a second.
_START_SECONDS = 30
_STOP_SECONDS = 10


class EmulatorError(RuntimeError):
    """The emulator did not start, or refused a control request."""


class Emulator:
    """One emulator process; starts with `start()` or `with`, stops with `stop()` or the end of the block.

    Args:
        buckets: created at start.
        root: directory that keeps the objects; None keeps them in memory.
        arguments: further arguments of `ossconnector emulator`.

    Attributes:
        endpoint: what clients are given, such as `http://127.0.0.1:41001`.
        access_key_id, access_key_secret, region: what it accepts.
        ca_file: PEM file to trust when it was started with `--tls`, else None.
        identity: URL of its metadata service, its STS and its `/credentials`, which hand out temporary keys.
        proxy: URL of an HTTP proxy that leads to it, whatever host is asked for.
        pid: its process.
    """

    endpoint: str
    access_key_id: str
    access_key_secret: str
    region: str
    ca_file: str | None
    identity: str
    proxy: str
    pid: int

    def __init__(
        self,
        *,
        buckets: Sequence[str] = (),
        root: str | os.PathLike[str] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        # Its standard input is ours: it ends with this process, however this process ends.
        self._arguments = ["--port", "0", "--until-stdin-ends", *_repeated("--bucket", buckets), *arguments]
        if root is not None:
            self._arguments += ["--root", os.fspath(root)]
        self._process: subprocess.Popen[str] | None = None
        self._control = ""

    def start(self) -> Self:
        """Start the process and wait until it answers.

        Raises:
            EmulatorError: it ended instead; the text is what it said.
        """
        command = [sys.executable, "-m", "osstorchconnector.cli", "emulator", *self._arguments]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=_environment(),
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            _, said = self._process.communicate(timeout=_START_SECONDS)
            raise EmulatorError(f"the emulator did not start: {said.strip()}")
        self._take_over(json.loads(line))
        return self

    def stop(self) -> None:
        """Stop the process; a second call does nothing."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.communicate(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def environ(self) -> dict[str, str]:
        """Return the environment variables with which clients find it."""
        return {
            "OSS_ENDPOINT": self.endpoint,
            "OSS_ACCESS_KEY_ID": self.access_key_id,
            "OSS_ACCESS_KEY_SECRET": self.access_key_secret,
            "OSS_REGION": self.region,
        }

    def write_credentials(self, directory: str | os.PathLike[str]) -> str:
        """Write a JSON credentials file, mode 0600, into `directory`; return its path."""
        document = {"AccessKeyId": self.access_key_id, "AccessKeySecret": self.access_key_secret}
        return _write_json(directory, "credentials", document)

    def write_config(
        self, directory: str | os.PathLike[str], document: Mapping[str, Any] | None = None
    ) -> str:
        """Write a JSON config file into `directory`; return its path.

        Args:
            document: its content; nothing by default.
        """
        return _write_json(directory, "config.json", document or {})

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments that classes of this package need to talk to it.

        Its keys are made up, so pickles may carry them to workers of any start method.
        """
        keys = StaticCredentials(self.access_key_id, self.access_key_secret, allow_pickle_secrets=True)
        return {"endpoint": self.endpoint, "region": self.region, "cred_provider": keys}

    def rules(self, rules: Sequence[Mapping[str, Any]], seed: int = 0) -> None:
        """Replace the rules by which it misbehaves; [] makes it behave."""
        self._ask("POST", "/_emulator/rules", {"seed": seed, "rules": list(rules)})

    def rule_hits(self) -> list[Any]:
        """Return the rules with how often each one acted."""
        hits: list[Any] = self._ask("GET", "/_emulator/rules")["rules"]
        return hits

    def journal(self, since: int = 0) -> list[dict[str, Any]]:
        """Return the requests answered and the changes of visible objects, from number `since` on."""
        return self._entries(f"/_emulator/journal?since={since}")

    def wait_for_journal(self, count: int, timeout_seconds: float = 10) -> list[dict[str, Any]]:
        """Wait until the journal has `count` entries, and return them; fewer after the time."""
        return self._entries(f"/_emulator/journal?wait_for={count}&timeout_ms={int(timeout_seconds * 1000)}")

    def requests(self, operation: str | None = None) -> list[dict[str, Any]]:
        """Return the requests of the journal, all or of one OSS operation."""
        asked = [entry for entry in self.journal() if "operation" in entry]
        return [entry for entry in asked if operation in (None, entry["operation"])]

    def reset(self, *, keep_objects: bool = False) -> None:
        """Forget objects, rules and journal."""
        self._ask("POST", "/_emulator/reset", {"keep_objects": keep_objects})

    def put_object(self, bucket: str, key: str, data: bytes) -> None:
        """Put one object in, past the journal's requests."""
        body = {"bucket": bucket, "key": key, "body_base64": base64.b64encode(data).decode("ascii")}
        self._ask("POST", "/_emulator/objects", body)

    def fill(
        self,
        bucket: str,
        prefix: str,
        count: int,
        size_bytes: int,
        seed: int = 0,
        *,
        suffix: str = "",
        synthetic: bool = False,
    ) -> None:
        """Put `count` objects of pseudo-random bytes below a prefix.

        Args:
            suffix: what the keys end with, behind eight digits.
            synthetic: compute them when they are listed or read instead of storing them: millions cost nothing.
        """
        body = {"bucket": bucket, "prefix": prefix, "count": count, "size": size_bytes, "seed": seed}
        body |= {"suffix": suffix, "synthetic": synthetic}
        self._ask("POST", "/_emulator/objects", body)

    def shape(self, **shaping: float) -> None:
        """Slow everything down: `first_byte_ms`, `rate_bytes_per_second`, `admit_rps`; nothing ends it."""
        self._ask("POST", "/_emulator/shape", shaping)

    def clock(self, offset_seconds: float) -> None:
        """Move its clock against ours."""
        self._ask("POST", "/_emulator/clock", {"offset_seconds": offset_seconds})

    def accept(self, **credentials: Any) -> None:
        """Accept further keys: `access_key_id`, `access_key_secret`, `security_token`, `expires_in_seconds`."""
        self._ask("POST", "/_emulator/credentials", credentials)

    def expire(self, **which: str) -> None:
        """Let a `security_token` or an `access_key_id` expire now."""
        self._ask("POST", "/_emulator/credentials/expire", which)

    def certificate(self, kind: str) -> None:
        """Show clients a certificate that is `good`, `expired`, for the `wrong_host`, or `self_signed`."""
        self._ask("POST", "/_emulator/tls", {"certificate": kind})

    def identity_environ(self) -> dict[str, str]:
        """Return the environment variables that lead a chain of credentials to its metadata service and its STS."""
        return {
            "OSSCONNECTOR_METADATA_ENDPOINT": self.identity,
            "OSSCONNECTOR_STS_ENDPOINT": self.identity,
        }

    def identity_behaves(self, **behaviour: Any) -> None:
        """Let those services misbehave; without arguments they behave.

        Args:
            behaviour: `lifetime_seconds` of keys; `accepted`, how many of the newest keys are; `delay_ms`, `status`
                and `body` of answers, for `times` of them; `without_token`; the only `oidc_token` STS takes.
        """
        self._ask("POST", "/_emulator/identity", behaviour)

    def identity_asked(self) -> dict[str, int]:
        """Return how often they were asked: `token`, `role`, `keys` of the metadata service, `sts`, `uri`."""
        asked: dict[str, int] = self._ask("GET", "/_emulator/identity")["asked"]
        return asked

    def newest_key(self) -> str | None:
        """Return the id of the key that was handed out last."""
        newest: str | None = self._ask("GET", "/_emulator/identity")["newest"]
        return newest

    def proxy_behaves(self, **behaviour: Any) -> None:
        """Let its proxy misbehave; without arguments it behaves.

        Args:
            behaviour: the `user` it wants (`"name:password"`); `status` and `body` in place of the way; `raw` bytes in
                place of an answer; `hangs`; `damage` of what comes from the service: `{"after_bytes", "flip", "times"}`
                turns one bit over, or closes the connection, on so many connections.
        """
        self._ask("POST", "/_emulator/proxy", behaviour)

    def proxy_asked(self) -> list[str]:
        """Return what its proxy was asked for: `CONNECT host:port`, `GET http://host/path`."""
        targets: list[str] = self._ask("GET", "/_emulator/proxy")["targets"]
        return targets

    def _take_over(self, ready: dict[str, Any]) -> None:
        self._control = ready["control"]
        self.endpoint = ready["endpoint"]
        self.access_key_id = ready["access_key_id"]
        self.access_key_secret = ready["access_key_secret"]
        self.region = ready["region"]
        self.ca_file = ready["ca_file"]
        self.identity = ready["identity"]
        self.proxy = ready["proxy"]
        self.pid = ready["pid"]

    def _entries(self, target: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self._ask("GET", target)["entries"]
        return entries

    def _ask(self, method: str, target: str, body: Mapping[str, Any] | None = None) -> Any:
        """Send one control request; they are few, so each has a connection of its own."""
        if self._process is None:
            raise EmulatorError("the emulator is not running; use it inside `with Emulator() as oss:`")
        connection = http.client.HTTPConnection(urlsplit(self._control).netloc, timeout=60)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, target, text, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            said = answer.read()
        finally:
            connection.close()
        if answer.status >= http.client.MULTIPLE_CHOICES:
            raise EmulatorError(
                f"{method} {target}: {answer.status} {said.decode('utf-8', 'replace').strip()}"
            )
        return json.loads(said) if said.strip() else {}


def main(arguments: Sequence[str]) -> int:
    """Be the emulator until SIGTERM; returns the exit status.

    Its own handlers call those before them: Python's would raise KeyboardInterrupt after a clean stop.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    return _native.emulator_main(list(arguments))


def _repeated(flag: str, values: Sequence[str]) -> list[str]:
    return [text for value in values for text in (flag, value)]


def _environment() -> dict[str, str]:
    """Let the child find this very package, however the parent found it."""
    home = str(Path(__file__).resolve().parent.parent)
    before = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": home if not before else f"{home}{os.pathsep}{before}"}


def _write_json(directory: str | os.PathLike[str], name: str, document: Mapping[str, Any]) -> str:
    path = os.path.join(directory, name)
    with open(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
        json.dump(document, file)
    return path
