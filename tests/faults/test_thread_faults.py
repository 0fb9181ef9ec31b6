"""Threads of ours: what they leave behind when a read ends early, and a provider in Python that they call: F93, F97."""

from __future__ import annotations

import mmap
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
from held import wait_for_end
from reading import MIB, content, quick
from ticking import smallest_gap_of

from osstorchconnector import OssCheckpoint, OssMapDataset
from osstorchconnector.credentials import StaticCredentials
from osstorchconnector.errors import CredentialsError, OssError

SIZE = 12 * MIB
CANARY = bytes([0xA5]) * SIZE


def send_interrupt_after(seconds):
    """Send SIGINT to this process after a while; return the thread that does."""
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    return timer


def assert_nobody_writes(memory, checkpoint, uri, whole):
    """Fill memory that was lent, let everything on its way arrive, and look; then give the memory back to the system."""
    memory[:] = CANARY
    for _ in range(3):
        with checkpoint.reader(uri) as reader:
            assert reader.read() == whole
    assert memory[:] == CANARY
    # Refused while anybody still holds a view of it.
    memory.close()


@pytest.mark.parametrize(
    "rounds", [8, pytest.param(1000, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])]
)
def test_f93_after_an_interrupt_nobody_writes_into_lent_memory(rounds, wire):
    whole = content(SIZE)
    [uri] = wire.fill({"a": whole})
    checkpoint = OssCheckpoint(**quick(wire, deadlineSeconds=30))
    dice = random.Random(93)
    slowly = [{"match": {"op": "GetObject"}, "action": {"rate_bytes_per_second": 8 * MIB}}]
    for _ in range(rounds):
        memory = mmap.mmap(-1, SIZE)
        wire.oss.rules(slowly)
        with checkpoint.reader(uri) as reader:
            sender = send_interrupt_after(dice.random() * 0.15)
            with pytest.raises(KeyboardInterrupt):
                reader.readinto(memory)
            sender.join()
        wire.oss.rules([])
        assert_nobody_writes(memory, checkpoint, uri, whole)


def test_f93_after_an_error_nobody_writes_into_lent_memory(wire):
    whole = content(SIZE)
    [uri] = wire.fill({"a": whole})
    checkpoint = OssCheckpoint(**quick(wire, deadlineSeconds=1))
    # One part is refused while the others are on their way.
    rules = [
        {
            "match": {"op": "GetObject", "nth": 2},
            "action": {"status": 403, "code": "AccessDenied"},
            "times": 1,
        },
        {"match": {"op": "GetObject"}, "action": {"rate_bytes_per_second": 4 * MIB}},
    ]
    refused = [
        {"match": {"op": "GetObject"}, "action": {"reset_after_bytes": 300_000}, "times": 6},
        {"match": {"op": "GetObject"}, "action": {"status": 403, "code": "AccessDenied"}},
    ]
    for faults in (rules, refused):
        memory = mmap.mmap(-1, SIZE)
        wire.oss.rules(faults)
        failed = None
        with checkpoint.reader(uri) as reader:
            try:
                reader.readinto(memory)
            except OssError as error:
                failed = error
        wire.oss.rules([])
        assert failed is not None or faults is rules
        assert_nobody_writes(memory, checkpoint, uri, whole)


class Vault:
    """A provider that does as it is told, and counts how often it was asked."""

    def __init__(self, oss, *behaviours):
        self.keys = {"access_key_id": oss.access_key_id, "access_key_secret": oss.access_key_secret}
        self.behaviours = list(behaviours)
        self.asked = 0

    def get_credentials(self):
        self.asked += 1
        if self.behaviours:
            self.behaviours.pop(0)()
        return {**self.keys, "security_token": None}


def by_vault(site, vault, **network):
    arguments = {name: value for name, value in quick(site, **network).items() if name != "cred_path"}
    return {**arguments, "cred_provider": vault}


def raising(failure):
    def behave():
        raise failure

    return behave


@pytest.mark.parametrize(
    "failure", [ValueError("sealed"), OSError(5, "no disk"), SystemExit(3), KeyboardInterrupt()]
)
def test_f97_a_provider_that_raises_is_an_error_and_asked_again_later(failure, site):
    [uri] = site.fill({"a": b"whole"})
    vault = Vault(site.oss, raising(failure))
    images = OssMapDataset.from_objects([uri], **by_vault(site, vault))
    with pytest.raises(CredentialsError, match="Vault") as failed:
        images[0]
    assert len(str(failed.value).splitlines()) == 1
    assert site.oss.requests() == []
    end = time.monotonic() + 10
    while True:
        try:
            assert images[0].read() == b"whole"
        except CredentialsError:
            assert time.monotonic() < end
        else:
            break


def test_f97_a_provider_that_hangs_holds_nobody_for_long(site):
    uris = site.fill({"a": b"whole", "b": b"other"})
    answer = threading.Event()
    vault = Vault(site.oss, answer.wait)
    images = OssMapDataset.from_objects(uris, **by_vault(site, vault, providerSeconds=0.5))
    fine = OssMapDataset.from_objects(uris, **quick(site))
    try:

        def fail_soon():
            started = time.monotonic()
            with pytest.raises(CredentialsError, match=r"Vault.*no answer within 0\.5 s"):
                images[0]
            assert time.monotonic() - started < 0.5 + 1

        assert smallest_gap_of(fail_soon) <= 0.1
        assert fine[1].read() == b"other"
        assert vault.asked == 1
    finally:
        answer.set()
    end = time.monotonic() + 10
    while True:
        try:
            assert images[0].read() == b"whole"
        except CredentialsError:
            assert time.monotonic() < end
        else:
            break
    assert vault.asked == 1


def test_f97_ctrl_c_is_felt_while_a_provider_hangs(site):
    [uri] = site.fill({"a": b"whole"})
    answer = threading.Event()
    ways = [
        lambda given: OssMapDataset.from_objects([uri], **given)[0],
        lambda given: OssMapDataset.from_prefix("oss://bucket/", **given).prepare(),
        lambda given: OssCheckpoint(**given).reader(uri).read(),
    ]
    try:
        for way in ways:
            sender = send_interrupt_after(0.2)
            started = time.monotonic()
            with pytest.raises(KeyboardInterrupt):
                way(by_vault(site, Vault(site.oss, answer.wait)))
            sender.join()
            assert time.monotonic() - started < 0.2 + 1
    finally:
        answer.set()


def test_f97_a_provider_may_fork_and_start_programs(site):
    [uri] = site.fill({"a": b"whole"})
    images = OssMapDataset.from_objects([uri], **quick(site))
    assert images[0].read() == b"whole"
    children = []

    def fork():
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if images[0].read() == b"whole" else 1)
            finally:
                os._exit(2)
        children.append(child)
        assert subprocess.run(["true"], check=True).returncode == 0

    guarded = OssMapDataset.from_objects([uri], **by_vault(site, Vault(site.oss, fork)))
    assert guarded[0].read() == b"whole"
    assert wait_for_end(children) == []
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0]


def test_f97_a_provider_may_read_its_keys_with_another_client_and_not_with_its_own(site):
    site.fill({"a": b"whole", "keys": b"secret"})
    static = StaticCredentials(site.oss.access_key_id, site.oss.access_key_secret)
    other = {name: value for name, value in quick(site).items() if name != "cred_path"}
    keys = OssCheckpoint(**other, cred_provider=static)
    seen = []
    vault = Vault(site.oss, lambda: seen.append(keys.reader("oss://bucket/keys").read()))
    images = OssMapDataset.from_objects(["oss://bucket/a"], **by_vault(site, vault))
    assert images[0].read() == b"whole"
    assert seen == [b"secret"]
    selfish = Vault(site.oss, lambda: itself[0])
    itself = OssMapDataset.from_objects(["oss://bucket/a"], **by_vault(site, selfish, providerSeconds=0.5))
    with pytest.raises(CredentialsError, match="no answer within"):
        itself[0]


LEAVING = """
import sys, threading
from osstorchconnector import OssCheckpoint

called = threading.Event()

class Vault:
    def get_credentials(self):
        called.set()
        threading.Event().wait(float(sys.argv[1]))
        return {"access_key_id": "id", "access_key_secret": "secret", "security_token": None}

checkpoint = OssCheckpoint(endpoint="http://127.0.0.1:9", region="cn-local", cred_provider=Vault())
threading.Thread(target=lambda: checkpoint.reader("oss://bucket/a").read(), daemon=True).start()
called.wait()
sys.exit(7)
"""


@pytest.mark.parametrize("seconds", [0.001, 0.02, 0.05, 60])
def test_f78_an_exit_while_a_provider_is_asked_keeps_its_code(seconds):
    done = subprocess.run(
        [sys.executable, "-c", LEAVING, str(seconds)], capture_output=True, text=True, timeout=40, check=False
    )
    assert (done.returncode, done.stderr) == (7, "")
