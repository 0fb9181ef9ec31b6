"""What tests share: an emulator with credentials and config files, as a user would have them."""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

import fault_rows
from canaries import Canaries, watch_everything

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from osstorchconnector.emulator import Emulator


@dataclass
class Site:
    """An emulator, and the files with which a user reaches it.

    Attributes:
        network: what every config file says below `network`.
    """

    oss: Emulator
    directory: Path
    arguments: dict[str, Any]
    network: dict[str, Any] = field(default_factory=dict)

    def configured(self, **document: Any) -> dict[str, Any]:
        """Return the arguments with another config file."""
        network = {**self.network, **document.get("network", {})}
        path = self.oss.write_config(self.directory, {**document, "network": network})
        return {**self.arguments, "config_path": path}

    def of_own_account(self) -> dict[str, Any]:
        """Return the arguments with keys of another account: no pace of another test's client is kept to."""
        secret = self.oss.access_key_secret
        key_id = f"own-{secrets.token_hex(8)}"
        self.oss.accept(access_key_id=key_id, access_key_secret=secret)
        path = self.directory / "own-credentials"
        path.write_text(json.dumps({"AccessKeyId": key_id, "AccessKeySecret": secret}))
        return {**self.arguments, "cred_path": str(path)}

    def fill(self, objects: dict[str, bytes], bucket: str = "bucket") -> list[str]:
        """Put objects in; return their URIs in byte order."""
        for key, data in objects.items():
            self.oss.put_object(bucket, key, data)
        return [f"oss://{bucket}/{key}" for key in sorted(objects, key=str.encode)]

    def assert_read(self, times: int, second_requests: float) -> None:
        """Check how often objects were asked for.

        A machine that is busy elsewhere may make one late, which is then asked for once more, and counted so.
        """
        asked = len(self.oss.requests("GetObject"))
        assert times <= asked <= times + second_requests, (asked, times, second_requests)


def _site(emulator: Emulator, directory: Path, network: dict[str, Any]) -> Site:
    directory.mkdir()
    arguments = {
        "endpoint": emulator.endpoint,
        "region": emulator.region,
        "cred_path": emulator.write_credentials(directory),
        "config_path": emulator.write_config(directory, {"network": network}),
    }
    return Site(emulator, directory, arguments, network)


@pytest.fixture
def site(oss_emulator: Emulator, tmp_path: Path) -> Site:
    """Give an empty emulator, a credentials file and a region."""
    return _site(oss_emulator, tmp_path / "site", {})


@pytest.fixture(scope="session")
def _secure_emulator() -> Iterator[Emulator]:
    from osstorchconnector.emulator import Emulator

    with Emulator(arguments=["--tls"]) as oss:
        yield oss


@pytest.fixture
def secure_site(_secure_emulator: Emulator, tmp_path: Path) -> Site:
    """Give the same over TLS, with a config file that trusts its authority."""
    _secure_emulator.reset()
    return _site(_secure_emulator, tmp_path / "secure", {"caFile": _secure_emulator.ca_file})


@pytest.fixture
def bare(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Give an emulator with an empty bucket that bare `oss://` paths reach through the environment alone."""
    import fsspec

    from osstorchconnector.fsspec import OssFileSystem

    for name, value in site.oss.environ().items():
        monkeypatch.setenv(name, value)
    site.fill({"first": b""})
    site.oss.reset()  # the bucket stays
    # An environment that was installed before the entry point was written does not know it.
    fsspec.register_implementation("oss", OssFileSystem, clobber=True)
    OssFileSystem.clear_instance_cache()
    return site


def pytest_configure(config: pytest.Config) -> None:
    """Watch every test for secrets that come out."""
    canaries = Canaries()
    config.pluginmanager.register(canaries)
    doors = pytest.MonkeyPatch()
    watch_everything(doors, canaries.watch)
    config.add_cleanup(doors.undo)


def pytest_collection_finish() -> None:
    """Let a DataLoader's workers look every half second whether they are still needed, and not every five.

    After an error in a worker torch tells it nothing else, so each test of one took five seconds to end.
    """
    worker = sys.modules.get("torch.utils.data._utils.worker")
    if worker is not None:
        worker.MP_STATUS_CHECK_INTERVAL = 0.5  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _no_teller_stays() -> Iterator[None]:
    """End the thread that a config with `network.statsLogSeconds` began: it would speak in the tests after it."""
    yield
    stats_log = sys.modules.get("osstorchconnector.stats_log")
    if stats_log is not None:
        for teller in stats_log._teller:
            teller.end()
            teller._thread.join(30)
        stats_log._teller.clear()


@pytest.fixture(autouse=True)
def _no_log_file_stays() -> Iterator[None]:
    """Take away the handlers that a config with `logPath` or `auditPath` installed, as in a process without it."""
    yield
    logs = sys.modules.get("osstorchconnector.logs")
    if logs is None:
        return
    installed = [handler for _, handler in logs._installed.values()]
    logs._installed.clear()
    for logger in (logging.getLogger(logs.ROOT), logging.getLogger(logs.AUDIT)):
        for handler in installed:
            logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
        logger.propagate = True
    for handler in installed:
        with contextlib.suppress(OSError):
            handler.close()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run of all tests leave rows of the fault matrix out, as under an older torch."""
    parser.addoption(
        "--rows-may-be-missing", action="store_true", help="accept fault rows that no test injects"
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run of all tests that left a row of the fault matrix out."""
    config = session.config
    if hasattr(config, "workerinput") or not fault_rows.is_whole(config):
        return
    if session.exitstatus == pytest.ExitCode.OK and fault_rows.of_session(config).missing:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many rows of the fault matrix were injected, and how many of them survived every one of their tests."""
    config = terminalreporter.config
    rows, is_whole = fault_rows.of_session(config), fault_rows.is_whole(config)
    if rows.injected:
        terminalreporter.write_line(rows.line(is_whole=is_whole))
    if rows.missing and is_whole:
        text = f"no test injected {', '.join(sorted(rows.missing))}: docs/faults.md says that tests hold them"
        terminalreporter.write_line(text, red=True)
