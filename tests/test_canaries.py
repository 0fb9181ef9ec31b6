"""The watch over secrets is awake: a test that lets one through fails, wherever it comes out, and no other does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

HERE = Path(__file__).parent

CONFTEST = """
import pytest
from canaries import Canaries, watch_everything

def pytest_configure(config):
    canaries = Canaries()
    config.pluginmanager.register(canaries)
    doors = pytest.MonkeyPatch()
    watch_everything(doors, canaries.watch)
    config.add_cleanup(doors.undo)
    config.addinivalue_line("markers", "shows_keys: on purpose")
"""

LEAKS = """
import contextlib, logging, multiprocessing.reduction, os, pickle, subprocess, sys
import pytest
from osstorchconnector.credentials import StaticCredentials
from osstorchconnector.errors import NotFoundError, OssError

SECRET = "emulator-key-" + "secret"
log = logging.getLogger("osstorchconnector.transport")

def test_leak_in_a_record_of_the_lowest_level():
    log.log(1, "signed with %s", SECRET)

def test_leak_in_a_warning(caplog):
    log.warning("signed with %s", SECRET)
    assert SECRET in caplog.text

def test_leak_in_a_forked_process():
    child = os.fork()
    if child == 0:
        log.debug("signed with %s", SECRET)
        os._exit(0)
    os.waitpid(child, 0)

def test_leak_in_an_error_that_nobody_sees():
    with contextlib.suppress(OssError):
        raise NotFoundError(f"GetObject oss://b/k: {SECRET}")

def test_leak_in_an_expected_exception():
    with pytest.raises(ValueError):
        raise ValueError(SECRET)

def test_leak_in_a_cause():
    with pytest.raises(ValueError):
        try:
            raise KeyError(SECRET)
        except KeyError as cause:
            raise ValueError("plain") from cause

def test_leak_in_output():
    print("x-oss-signature=4b663e424d2db9967401ff6ce1c8")

def test_leak_in_output_that_is_read(capfd):
    os.write(2, SECRET.encode())
    capfd.readouterr()

def test_leak_in_what_a_program_prints():
    program = "import sys; sys.stderr.write('emulator-key-' + 'secret')"
    subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

def test_leak_in_a_pickle():
    pickle.dumps({"keys": SECRET})

def test_leak_in_a_pickle_for_another_process():
    multiprocessing.reduction.ForkingPickler.dumps([SECRET])

def test_leak_in_a_failure():
    raise RuntimeError(SECRET)

@pytest.mark.shows_keys("on purpose")
def test_sound_because_it_is_said():
    print(SECRET)

def test_sound_because_it_was_asked_for():
    pickle.dumps(StaticCredentials("id", SECRET, allow_pickle_secrets=True))

def test_sound_because_nothing_comes_out(caplog):
    log.debug("GetObject oss://b/k")
    pickle.dumps(OssError("GetObject oss://b/k: gone"))
    assert caplog.records == []

def test_sound_because_a_warning_reaches_who_listens():
    heard = []
    class Listener(logging.Handler):
        def emit(self, record):
            heard.append(record.levelname)
    listener = Listener()
    logging.getLogger().addHandler(listener)
    log.info("quiet")
    log.warning("loud")
    logging.getLogger().removeHandler(listener)
    assert heard == ["WARNING"]
"""


@pytest.mark.shows_keys("what the leaking tests print")
def test_s01_a_test_that_lets_a_secret_through_fails(pytester, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_leaks=LEAKS)
    run = pytester.runpytest_subprocess("-p", "no:xdist", "-p", "no:cacheprovider", "-rfE")
    leaks, sound = LEAKS.count("def test_leak"), LEAKS.count("def test_sound")
    outcomes = run.parseoutcomes()
    assert {name for name in outcomes if name != "warnings"} <= {"passed", "failed", "errors"}
    # What is printed is looked at when the test is over.
    assert outcomes["failed"] + outcomes.get("errors", 0) == leaks, run.stdout.str()
    assert "test_sound" not in "\n".join(
        line for line in run.outlines if line.startswith(("FAILED", "ERROR"))
    )
    assert outcomes["passed"] >= sound
