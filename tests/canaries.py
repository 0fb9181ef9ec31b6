"""Watches the whole suite for secrets that come out: in log records of any level, output, errors and pickles.

The keys that the emulator and its identity service give out are canaries: texts that are nowhere by chance. While a
test runs, everything of ours that becomes visible is looked at, and a test that let one through fails, though all it
asserted was true. The package's loggers are open down to their lowest level meanwhile.

What is looked at: every record of the package's loggers, in this process and in those forked from it; the text of
every error of the package, and every exception that a test expects, with its causes; what a test prints, and what the
programs it starts print; every pickle. Keys that a user asked to have in a pickle may be there.
"""

from __future__ import annotations

import functools
import logging
import multiprocessing.reduction
import os
import pickle
import re
import subprocess
import tempfile

import pytest

ROOT = "osstorchconnector"

# Keys, tokens and passwords of the suite's sites, and what only a signature looks like.
CANARIES = [
    "emulator-key-secret",
    "canary-secret",
    "canary-token",
    "canary-p@ss",
    "canary-p%40ss",
    "OSS4-HMAC-SHA256 Credential=",
    "Authorization: OSS",
    "Proxy-Authorization: ",
]
_TEXT = re.compile(
    "|".join(map(re.escape, CANARIES))
    + r"|[Ss]ignature=[0-9A-Za-z%/+]{20}|OSSAccessKeyId=|security-token=[\w%]"
)
_OCTETS = re.compile(_TEXT.pattern.encode())
# A pickle of these was allowed by name to hold keys, or it would have been refused.
_ALLOWED = (b"StaticCredentials", b"allow_pickle_secrets")


class Watch:
    """Collects what was seen, of this process and of its forked children."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as the session)
        self.is_on = False

    def text(self, where: str, text: object) -> None:
        """Look at a text."""
        if self.is_on and (found := _TEXT.search(str(text))):
            self._tell(where, found[0], str(text))

    def octets(self, where: str, octets: bytes) -> None:
        """Look at a pickle."""
        if self.is_on and (found := _OCTETS.search(octets)) and not any(name in octets for name in _ALLOWED):
            self._tell(where, found[0].decode(), repr(octets))

    def error(self, where: str, error: BaseException | None) -> None:
        """Look at an exception and at its causes."""
        while error is not None:
            seen = [str(error), repr(error), *getattr(error, "__notes__", [])]
            # An exception of others may hold what a test gave them, such as the URL that it asked for.
            seen += [repr(value) for value in vars(error).values() if type(error).__module__.startswith(ROOT)]
            for text in seen:
                self.text(f"{where}, {type(error).__name__}", text)
            error = error.__cause__ or error.__context__

    def _tell(self, where: str, canary: str, text: str) -> None:
        # One write, so that lines of several processes do not mix; the file offset is shared with forked children.
        line = f"{canary} in {where}: {text[:300]!r}\n"
        os.write(self._file.fileno(), line.encode(errors="replace"))

    def taken(self) -> str:
        """Return what was seen so far, and forget it."""
        size = os.lseek(self._file.fileno(), 0, os.SEEK_CUR)
        if not size:
            return ""
        seen = os.pread(self._file.fileno(), size, 0).decode()
        os.lseek(self._file.fileno(), 0, os.SEEK_SET)
        return seen


class _Handler(logging.Handler):
    """Looks at every record, and hands on those that would have been made without it."""

    def __init__(self, watch: Watch) -> None:
        super().__init__(1)
        self._watch = watch

    def emit(self, record: logging.LogRecord) -> None:
        self._watch.text(f"a record of {record.name}", record.getMessage())
        if record.levelno >= logging.WARNING:
            logging.getLogger().callHandlers(record)


class Canaries:
    """The plugin: opens the loggers around each test, and fails the test that let a secret through."""

    def __init__(self) -> None:
        self.watch = Watch()
        self._handler = _Handler(self.watch)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item, nextitem):
        self.watch.taken()
        self.watch.is_on = item.get_closest_marker("shows_keys") is None
        try:
            return (yield)
        finally:
            self.watch.is_on = False

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        logger = logging.getLogger(ROOT)
        # Tests about the log want it as a user has it.
        if not self.watch.is_on or {"caplog", "_fresh_logging"} & set(item.fixturenames):
            return (yield)
        before = logger.level, logger.propagate
        logger.setLevel(1)
        logger.propagate = False
        logger.addHandler(self._handler)
        try:
            return (yield)
        finally:
            logger.removeHandler(self._handler)
            logger.propagate = before[1]
            logger.setLevel(before[0])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = yield
        if call.excinfo is not None:
            self.watch.error("what the test raised", call.excinfo.value)
        if call.when == "teardown":
            for name, text in report.sections:
                self.watch.text(name, text)
        if seen := self.watch.taken():
            report.outcome = "failed"
            before = f"{report.longrepr}\n\n" if report.longrepr else ""
            report.longrepr = f"{before}A secret came out:\n{seen}"
        return report


def _look_at_program(watch: Watch, args: tuple[subprocess.Popen], said: object) -> None:
    """Look at what a program has printed; the emulator prints its keys on purpose, to be pasted."""
    command = args[0].args
    if isinstance(command, str) or "emulator" not in command:
        watch.text(f"what {command!r:.100} prints", said)


def watch_everything(monkeypatch: pytest.MonkeyPatch, watch: Watch) -> None:
    """Look at what passes through the doors: errors made, exceptions expected, output read, pickles written."""
    from osstorchconnector import errors

    def after(owner, name, look):
        original = getattr(owner, name)

        @functools.wraps(original)
        def watched(*args, **kwargs):
            result = original(*args, **kwargs)
            look(args, result)
            return result

        monkeypatch.setattr(owner, name, watched)

    after(errors.OssError, "__init__", lambda args, _: watch.text("an error", "".join(map(str, args[1:]))))
    after(errors.OssError, "advise", lambda args, _: watch.text("an error's remedy", args[0]))
    after(
        pytest.RaisesExc, "__exit__", lambda args, _: watch.error("an exception that was expected", args[2])
    )
    after(pytest.CaptureFixture, "readouterr", lambda _, read: watch.text("what the test prints", read))
    after(subprocess.Popen, "communicate", functools.partial(_look_at_program, watch))
    after(pickle, "dumps", lambda _, octets: watch.octets("a pickle", octets))
    after(
        multiprocessing.reduction.ForkingPickler,
        "dumps",
        lambda _, octets: watch.octets("a pickle for another process", bytes(octets)),
    )
