"""Services that go away and come back, and objects that were just written: F02, F05, F30, F37, F39, F45, F90."""

from __future__ import annotations

import random
import socket
import threading
import time

import pytest
from reading import MIB, QUICK, by_iterable, by_map, by_readinto, by_stream, content, gets, quick

from osstorchconnector import OssCheckpoint, OssClient, OssIterableDataset, OssMapDataset
from osstorchconnector.emulator import Emulator
from osstorchconnector.errors import (
    ConnectionFailedError,
    NotFoundError,
    ObjectChangedError,
)

COUNT = 120


def started_again(site, root):
    """Return what starts one emulator over the same objects, at the same place, each time it is called."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    keys = ["--access-key-id", site.oss.access_key_id, "--access-key-secret", site.oss.access_key_secret]
    return lambda: Emulator(root=root, arguments=["--port", str(port), *keys]).start()


@pytest.mark.parametrize("away_seconds", [1.0, pytest.param(30.0, marks=pytest.mark.soak)])
def test_f02_a_server_that_is_gone_in_mid_epoch_costs_no_sample(away_seconds, site, tmp_path):
    start = started_again(site, tmp_path)
    oss = start()
    expected = {}
    for number in range(COUNT):
        expected[f"k/{number:03}"] = content(20_000, seed=number)
        oss.put_object("bucket", f"k/{number:03}", expected[f"k/{number:03}"])
    # Pauses long enough that the budget of repetitions is not empty when the server is back.
    network = {"deadlineSeconds": away_seconds + 20, "retryBaseSeconds": 0.05, "retryCapSeconds": 0.5}
    arguments = {**quick(site, **network), "endpoint": oss.endpoint}
    dataset = OssIterableDataset.from_prefix("oss://bucket/k/", **arguments)
    delivered = []
    back = []

    def come_back():
        threading.Event().wait(away_seconds)
        back.append(start())

    coming = threading.Thread(target=come_back)
    try:
        for number, sample in enumerate(dataset):
            delivered.append((sample.key.removeprefix("/bucket/"), sample.read()))
            if number == 4:  # early: a window that grows would have asked for all of them
                oss.stop()
                coming.start()
    finally:
        coming.join()
        for emulator in back:
            emulator.stop()
    assert delivered == sorted(expected.items())
    assert dataset.stats()["retries_connect"] > 0


@pytest.fixture
def full_house():
    """Give a listener whose queue of connections is full: a handshake with it never ends."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        waiting = []
        for _ in range(4):
            caller = socket.socket()
            caller.setblocking(False)
            caller.connect_ex(listening.getsockname())
            waiting.append(caller)
        yield listening, waiting
        for caller in waiting:
            caller.close()


@pytest.mark.parametrize("read", [by_stream, by_map, by_iterable])
def test_f05_a_connection_that_nobody_accepts_is_tried_again_and_named(read, site, full_house):
    listening, _ = full_house
    arguments = {
        **quick(site, connectSeconds=0.2, firstContactSeconds=1.2),
        "endpoint": f"http://127.0.0.1:{listening.getsockname()[1]}",
    }
    started = time.monotonic()
    with pytest.raises(ConnectionFailedError, match="did not accept the connection in time") as failed:
        read("oss://bucket/a", arguments)
    assert 0.6 < time.monotonic() - started < 1.2 + 0.2 + 1
    assert 2 <= failed.value.attempts <= 8
    assert failed.value.errno == 110


def test_f05_a_connection_that_is_accepted_later_is_used(site, full_house):
    [uri] = site.fill({"a": b"whole"})
    listening, waiting = full_house
    place = site.oss.endpoint.removeprefix("http://").split(":")
    images = OssMapDataset.from_objects(
        [uri],
        **{
            **quick(site, connectSeconds=0.2, firstContactSeconds=15, deadlineSeconds=15),
            "endpoint": f"http://127.0.0.1:{listening.getsockname()[1]}",
        },
    )
    outcome = []
    reading = threading.Thread(target=lambda: outcome.append(images[0].read()))
    reading.start()
    end = time.monotonic() + 10
    while images.stats().get("retries_connect", 0) < 2:
        assert time.monotonic() < end
        reading.join(0.01)
    for caller in waiting:
        caller.close()
    listening.settimeout(10)
    while reading.is_alive():
        try:
            accepted, _ = listening.accept()
        except TimeoutError:
            break
        threading.Thread(target=_pass_on, args=(accepted, (place[0], int(place[1]))), daemon=True).start()
        reading.join(0.3)
    reading.join(15)
    assert outcome == [b"whole"]


def _pass_on(accepted, place):
    """Carry one request and its answer."""
    with accepted, socket.create_connection(place) as service:
        accepted.settimeout(5)
        service.settimeout(5)
        request = b""
        while b"\r\n\r\n" not in request:
            received = accepted.recv(65_536)
            if not received:
                return
            request += received
        service.sendall(request)
        answer = b""
        while not answer.endswith(b"whole"):
            answer += service.recv(65_536)
        accepted.sendall(answer)


def test_f30_an_outage_ends_operations_at_their_deadline_and_recovers_alone(site):
    uris = site.fill({f"k{number:02}": b"whole" for number in range(64)})
    images = OssMapDataset.from_objects(uris, **quick(site, deadlineSeconds=2))
    assert [sample.read() for sample in images.__getitems__(list(range(64)))] == [b"whole"] * 64
    before = len(gets(site))
    site.oss.rules([{"match": {"op": "GetObject"}, "action": {"status": 503, "code": "ServiceUnavailable"}}])
    failures = []

    def read(number):
        started = time.monotonic()
        try:
            images[number]
        except Exception as failure:  # noqa: BLE001  (its class is looked at below)
            failures.append((failure, time.monotonic() - started))

    readers = [threading.Thread(target=read, args=(number,)) for number in range(64)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert len(failures) == 64
    # The budget empties, and then only a few requests a second go: far fewer than each reader's own pauses would let.
    asked = len(gets(site)) - before
    assert asked <= 500 // 5 + 64 + 20
    assert all(elapsed < 2 + 1 for _, elapsed in failures), max(elapsed for _, elapsed in failures)
    assert {getattr(failure, "status", None) for failure, _ in failures} <= {503, None}
    assert images.stats()["slow_mode_entered"] == 1
    site.oss.rules([])
    end = time.monotonic() + 10
    while images.stats()["slow_mode_entered"] == 1:
        assert images[0].read() == b"whole"
        if len(gets(site)) - before - asked >= 3:
            break
        assert time.monotonic() < end


@pytest.mark.parametrize("read", [by_stream, by_map, by_iterable])
def test_f37_a_404_right_after_our_own_save_is_a_real_one(read, site):
    """OSS is strongly consistent: what it says is not there was removed, and asking again would only hide it."""
    site.fill({"other": b"x"})
    arguments = quick(site)
    uri = "oss://bucket/saved"
    with OssCheckpoint(**arguments).writer(uri) as writer:
        writer.write(b"saved")
    missing = {"status": 404, "code": "NoSuchKey"}
    site.oss.rules([{"match": {"op": op}, "action": missing} for op in ("GetObject", "HeadObject")])
    with pytest.raises(NotFoundError, match="saved") as failed:
        read(uri, arguments)
    assert failed.value.attempts == 1
    site.oss.rules([])
    assert read(uri, arguments) == b"saved"


@pytest.mark.parametrize("races", [6, pytest.param(1000, marks=[pytest.mark.soak, pytest.mark.timeout(900)])])
@pytest.mark.parametrize("read", [by_stream, by_readinto, by_map, by_iterable])
def test_f39_an_object_overwritten_while_parts_are_read_is_never_torn(read, races, site):
    size = 5 * MIB
    versions = [b"A" * size, b"B" * size]
    arguments = quick(site)
    dice = random.Random(39)
    [uri] = site.fill({"a": versions[0]})
    outcomes = {"whole": 0, "changed": 0}
    for number in range(races):
        overwriting = threading.Timer(
            dice.random() * 0.03, site.oss.put_object, ("bucket", "a", versions[1 - number % 2])
        )
        overwriting.start()
        try:
            data = read(uri, arguments)
        except ObjectChangedError:
            outcomes["changed"] += 1
        else:
            assert data in versions
            outcomes["whole"] += 1
        overwriting.join()
    assert outcomes["whole"] > 0


LISTING_FAULTS = [
    {"status": 500, "code": "InternalError"},
    {"status": 503},
    {"truncate_body": 700},
    {"reset_after_bytes": 900},
    {"stall_after_bytes": 100},
]


@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("fault", LISTING_FAULTS, ids=["500", "503", "truncated", "reset", "stalled"])
def test_f45_a_page_that_fails_is_asked_for_again_without_gap_or_double(fault, threads, wire):
    wire.oss.fill("bucket", "p/", 6200, 1, synthetic=True)
    wire.oss.rules([{"match": {"op": "ListObjectsV2", "probability": 0.5}, "action": fault, "times": 4}])
    client = OssClient(**wire.configured(network=QUICK, datasetConfig={"listConcurrency": threads}))
    index = client.build_index("oss://bucket/p/")
    assert [row[0] for row in index] == [f"/bucket/p/{number:08}" for number in range(6200)]
    faults = [entry for entry in wire.oss.requests("ListObjectsV2") if entry["fault"]]
    assert 2 <= len(faults) <= 4


def test_f90_a_clock_that_jumps_in_mid_run_is_learned_anew_each_time(site):
    [uri] = site.fill({"a": b"whole"})
    images = OssMapDataset.from_objects([uri], **quick(site))
    assert images[0].read() == b"whole"
    # To us a jump of the machine's clock and one of the service's the other way are the same.
    try:
        for jump in (3600, -3600, 86_400, 0):
            site.oss.clock(jump)
            before = len(gets(site))
            assert images[0].read() == b"whole"
            assert images[0].read() == b"whole"
            assert len(gets(site)) - before <= 3
    finally:
        site.oss.clock(0)
    assert images.stats()["retries_clock"] == 4


@pytest.mark.parametrize(
    "epochs", [2, pytest.param(200, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])]
)
def test_f92_epochs_amid_faults_of_every_kind_are_byte_exact(epochs, wire):
    data = {f"k/{number:03}": content(3000, seed=number) for number in range(300)}
    wire.fill(data)
    dataset = OssIterableDataset.from_prefix("oss://bucket/k/", **quick(wire, deadlineSeconds=20))
    faults = [
        (0.01, {"reset_after_bytes": 500}),
        (0.005, {"stall_after_bytes": 700}),
        (0.02, {"status": 503, "code": "ServiceUnavailable"}),
        (0.01, {"flip_bit": 4001}),
        (0.01, {"truncate_body": 900}),
        (0.005, {"status": 502, "body": "<html>bad gateway</html>"}),
    ]
    rules = [
        {"match": {"op": "GetObject", "probability": probability}, "action": action}
        for probability, action in faults
    ]
    for epoch in range(epochs):
        wire.oss.rules(rules, seed=92 + epoch)
        # Every other epoch is throttled as well.
        wire.oss.shape(**({"admit_rps": 600} if epoch % 2 else {}))
        assert [sample.read() for sample in dataset] == list(data.values())
    wire.oss.shape()
    assert sum(value for name, value in dataset.stats().items() if name.startswith("retries_")) > 0
    assert dataset.stats()["in_flight"] == 0
