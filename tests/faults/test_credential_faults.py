"""A credentials file that is being written, broken or replaced: F82."""

from __future__ import annotations

import json
import os
import threading
import time
from datetime import datetime, timedelta, timezone
from itertools import cycle

import pytest
from reading import by_iterable, by_map, by_stream, quick

from osstorchconnector import OssMapDataset
from osstorchconnector.emulator import Emulator
from osstorchconnector.errors import CredentialsError

DATA = b"whole"


def keys(oss, **more):
    return json.dumps({"AccessKeyId": oss.access_key_id, "AccessKeySecret": oss.access_key_secret, **more})


def half(path, text):
    path.write_text(text[: len(text) // 2])


def empty(path, _text):
    path.write_text("")


def no_json(path, text):
    path.write_text(f"[default]\nsecret = {text}")


def other_json(path, _text):
    path.write_text('["canary-secret"]')


def absent(path, _text):
    path.unlink(missing_ok=True)


def a_directory(path, _text):
    path.unlink(missing_ok=True)
    path.mkdir()


def dangling(path, _text):
    path.unlink(missing_ok=True)
    path.symlink_to(path.parent / "nowhere")


def unreadable(path, text):
    path.write_text(text)
    path.chmod(0)


BREAKAGES = [half, empty, no_json, other_json, absent, a_directory, dangling, unreadable]


def mend(path, text):
    """Put a whole file there as rotation does: written beside, renamed over."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    beside = path.parent / "beside"
    beside.write_text(text)
    beside.rename(path)


@pytest.mark.parametrize("read", [by_map, by_iterable, by_stream])
@pytest.mark.parametrize("break_it", BREAKAGES)
def test_f82_a_broken_file_is_named_and_its_content_is_not(break_it, read, site):
    if break_it is unreadable and os.getuid() == 0:
        pytest.skip("nothing is unreadable to root")
    [uri] = site.fill({"a": DATA})
    path = site.directory / "credentials"
    break_it(path, keys(site.oss, SecurityToken="canary-token"))
    with pytest.raises(CredentialsError) as broken:
        read(uri, quick(site))
    text = str(broken.value)
    assert str(path) in text
    assert len(text.splitlines()) == 1
    for secret in ("canary", site.oss.access_key_secret, site.oss.access_key_id):
        assert secret not in text
    assert site.oss.requests() == []


def test_f82_reads_go_on_while_a_file_is_rewritten_and_broken_all_the_time(site):
    [uri] = site.fill({"a": DATA})
    path = site.directory / "credentials"
    images = OssMapDataset.from_objects([uri], **quick(site))
    assert images[0].read() == DATA
    stop = threading.Event()

    def rewrite():
        for break_it in cycle([step for step in BREAKAGES if step is not unreadable]):
            break_it(path, keys(site.oss))
            if stop.wait(0.01):
                break
            mend(path, keys(site.oss))
            if stop.wait(0.001):
                break

    writing = threading.Thread(target=rewrite)
    writing.start()
    # The file is looked at once a second.
    end = time.monotonic() + 3.5
    count = 0
    try:
        while time.monotonic() < end:
            assert images[0].read() == DATA
            count += 1
    finally:
        stop.set()
        writing.join()
    assert count > 100
    assert {entry["status"] for entry in site.oss.requests()} == {200}


@pytest.mark.parametrize("how", ["rename", "symlink", "rewrite"])
def test_f82_a_replaced_file_is_followed(how, tmp_path):
    with Emulator() as oss:
        oss.put_object("bucket", "a", DATA)
        path = tmp_path / "credentials"
        if how == "symlink":
            (tmp_path / "first").write_text(keys(oss))
            path.symlink_to(tmp_path / "first")
        else:
            path.write_text(keys(oss))
        images = OssMapDataset.from_objects(
            ["oss://bucket/a"], oss.endpoint, region=oss.region, cred_path=path
        )
        assert images[0].read() == DATA
        oss.accept(access_key_id="newer", access_key_secret="newer-secret")
        newer = json.dumps({"AccessKeyId": "newer", "AccessKeySecret": "newer-secret"})
        if how == "symlink":
            (tmp_path / "second").write_text(newer)
            (tmp_path / "link").symlink_to(tmp_path / "second")
            (tmp_path / "link").rename(path)
        elif how == "rename":
            mend(path, newer)
        else:
            path.write_text(newer)
        oss.expire(access_key_id=oss.access_key_id)
        assert images[0].read() == DATA
        # One refusal at most: the look at the file may come before it.
        assert [entry["status"] for entry in oss.requests("GetObject")].count(403) <= 1


@pytest.mark.parametrize("break_it", [half, absent])
def test_f82_the_last_good_keys_serve_until_they_expire(break_it, site):
    [uri] = site.fill({"a": DATA})
    path = site.directory / "credentials"
    expiry = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(seconds=3)
    path.write_text(keys(site.oss, Expiration=expiry.strftime("%Y-%m-%dT%H:%M:%SZ")))
    images = OssMapDataset.from_objects([uri], **quick(site))
    assert images[0].read() == DATA
    break_it(path, "canary-secret-that-nobody-must-see")
    before = len(site.oss.requests())
    limit = time.monotonic() + 10

    def read_on():
        while time.monotonic() < limit:
            assert images[0].read() == DATA

    with pytest.raises(CredentialsError) as expired:
        read_on()
    assert datetime.now(timezone.utc) >= expiry
    assert len(site.oss.requests()) > before
    assert str(path) in str(expired.value)
    assert "canary" not in str(expired.value)
    # Mended, it serves again; the tries at a broken file are spaced.
    mend(path, keys(site.oss))
    wait_for_a_read(images, limit + 5)


def wait_for_a_read(images, limit):
    """Read until it works."""
    while True:
        try:
            assert images[0].read() == DATA
        except CredentialsError:
            assert time.monotonic() < limit
        else:
            return


def machine(site, monkeypatch, **network):
    """Return arguments with which keys come from the emulator's metadata service."""
    for name, value in site.oss.identity_environ().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(site.directory))
    monkeypatch.setenv("ALIBABA_CLOUD_ECS_METADATA", "emulator-role")
    return {name: value for name, value in quick(site, **network).items() if name != "cred_path"}


def read_all_the_time(images, until, threads=8):
    """Read on some threads until an event; return how often, and what failed."""
    counts, failures = [0] * threads, []

    def read(number):
        while not until.is_set():
            try:
                assert images[number % len(images)].read() == DATA
            except Exception as failure:  # noqa: BLE001  (any failure fails the test, on its own thread)
                failures.append(failure)
                return
            counts[number] += 1

    running = [threading.Thread(target=read, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    return counts, failures, running


@pytest.mark.parametrize(
    "rotations", [20, pytest.param(1000, marks=[pytest.mark.soak, pytest.mark.timeout(900)])]
)
def test_f83_a_file_rotated_under_load_fails_no_read(rotations, site):
    uris = site.fill({f"k{number}": DATA for number in range(8)})
    path = site.directory / "credentials"
    images = OssMapDataset.from_objects(uris, **site.configured())
    assert images[0].read() == DATA
    stop = threading.Event()
    counts, failures, running = read_all_the_time(images, stop)
    previous = None
    try:
        for number in range(rotations):
            key = {"access_key_id": f"rotated-{number}", "access_key_secret": f"canary-{number}"}
            site.oss.accept(**key)
            mend(
                path,
                json.dumps(
                    {"AccessKeyId": key["access_key_id"], "AccessKeySecret": key["access_key_secret"]}
                ),
            )
            # The newest two are accepted; the emulator's own key is left to the other tests.
            if previous is not None:
                site.oss.expire(access_key_id=previous)
            previous = f"rotated-{number - 1}" if number else None
            seen = sum(counts)
            limit = time.monotonic() + 20
            while sum(counts) < seen + 10 and not failures:
                assert time.monotonic() < limit
                stop.wait(0.001)
    finally:
        stop.set()
        for thread in running:
            thread.join()
    assert failures == []
    assert sum(counts) >= 10 * rotations


@pytest.mark.parametrize(
    "rotations", [10, pytest.param(1000, marks=[pytest.mark.soak, pytest.mark.timeout(900)])]
)
def test_f83_a_role_whose_keys_rotate_under_load_fails_no_read(rotations, site, monkeypatch):
    uris = site.fill({f"k{number}": DATA for number in range(8)})
    images = OssMapDataset.from_objects(uris, **machine(site, monkeypatch, deadlineSeconds=30))
    assert images[0].read() == DATA
    stop = threading.Event()
    counts, failures, running = read_all_the_time(images, stop)
    try:
        for _ in range(rotations):
            site.oss.expire(access_key_id=site.oss.newest_key())
            # More than the reads that may have been let in before.
            seen = sum(counts)
            limit = time.monotonic() + 20
            while sum(counts) < seen + 40 and not failures:
                assert time.monotonic() < limit
                stop.wait(0.001)
    finally:
        stop.set()
        for thread in running:
            thread.join()
    assert failures == []
    # One refresh for each generation that was refused, and the first fetch.
    assert site.oss.identity_asked()["keys"] == rotations + 1


def test_f33_a_refresh_that_fails_leaves_the_old_keys_until_they_expire(site, monkeypatch):
    [uri] = site.fill({"a": DATA})
    site.oss.identity_behaves(lifetime_seconds=4)
    images = OssMapDataset.from_objects([uri], **machine(site, monkeypatch))
    assert images[0].read() == DATA
    site.oss.identity_behaves(status=500)
    begun, limit = time.monotonic(), time.monotonic() + 20

    def read_on():
        while time.monotonic() < limit:
            assert images[0].read() == DATA

    with pytest.raises(CredentialsError, match="ECS metadata service") as expired:
        read_on()
    assert time.monotonic() - begun > 1
    assert "canary" not in str(expired.value)
    site.oss.identity_behaves()
    wait_for_a_read(images, limit)
