"""What an attacker or a careless hand must not get: secrets, another's file, a second request, a broken interpreter."""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import json
import logging
import os
import pickle
import stat
import tempfile
import threading
import traceback
import types

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from osstorchconnector import (
    OssCheckpoint,
    OssClient,
    OssIterableDataset,
    OssMapDataset,
    _native,
    logs,
    private_files,
)
from osstorchconnector.credentials import StaticCredentials
from osstorchconnector.errors import ConfigError, OssError

CANARIES = {
    "access_key_id": "canary-id-5f21",
    "access_key_secret": "canary-secret-8c0d",
    "security_token": "canary-token-77aa",
}
# What a signature looks like: its own words, and nothing that a message says for other reasons.
SIGNED = ("OSS4-HMAC-SHA256", "Signature=", "x-oss-signature=")

QUICK = {
    "deadlineSeconds": 0.4,
    "completeSeconds": 0.2,
    "settleSeconds": 0.3,
    "abortSeconds": 0.3,
    "firstContactSeconds": 0.3,
    "firstByteSeconds": 0.2,
    "readStallSeconds": 0.2,
    "tickSeconds": 0.05,
    "retryBaseSeconds": 0.001,
    "retryCapSeconds": 0.05,
}

REFUSALS = [
    {"status": 403, "code": "AccessDenied"},
    {"status": 403, "code": "SignatureDoesNotMatch"},
    {"status": 403, "code": "SecurityTokenExpired"},
    {"status": 404, "code": "NoSuchKey"},
    {"status": 503},
    {"redirect": "http://127.0.0.1:9/elsewhere"},
    {"reset_after_bytes": 0},
    {"stall_after_bytes": 0},
    {"truncate_body": 10},
    {"flip_bit": 3},
    {"ignore_range": True},
]


def everything_about(error):
    """Return all that can be seen of an exception."""
    seen = [str(error), repr(error), repr(error.args), repr(vars(error)), repr(pickle.dumps(error))]
    return seen + traceback.format_exception(error)


def used(arguments, uri):
    """Use every class once; return what was seen of them and of what they raised."""
    seen = []
    made = [
        OssCheckpoint(**arguments),
        OssClient(**arguments),
        OssMapDataset.from_objects([uri], **arguments),
        OssIterableDataset.from_prefix("oss://bucket/a", **arguments),
    ]
    checkpoint, client, images, stream = made

    def save():
        with checkpoint.writer("oss://bucket/saved") as writer:
            seen.append(repr(writer))
            writer.write(b"saved")

    def read():
        with checkpoint.reader(uri) as reader:
            seen.append(repr(reader))
            reader.read()

    for work in (
        read,
        save,
        lambda: images[0],
        lambda: list(stream),
        lambda: client.build_index("oss://bucket/a"),
    ):
        try:
            work()
        except OssError as error:
            seen += everything_about(error)
    for thing in made:
        seen += [repr(thing), str(thing), repr(vars(thing) if hasattr(thing, "__dict__") else "")]
        try:
            seen.append(repr(pickle.dumps(thing)))
        except (TypeError, OssError) as error:
            seen += everything_about(error)
    return seen


def test_s01_no_secret_is_seen_anywhere_at_the_lowest_level(site, caplog, capfd, tmp_path):
    site.oss.accept(**CANARIES)
    [uri] = site.fill({"a": b"data" * 1000})
    keys = tmp_path / "keys"
    keys.write_text(
        json.dumps(
            {
                "AccessKeyId": CANARIES["access_key_id"],
                "AccessKeySecret": CANARIES["access_key_secret"],
                "SecurityToken": CANARIES["security_token"],
            }
        )
    )
    log = str(tmp_path / "log")
    settings_of = site.configured(
        network={**QUICK, "auditAll": True}, logLevel=0, logPath=log, auditPath=str(tmp_path / "audit")
    )
    place = {name: value for name, value in settings_of.items() if name != "cred_path"}
    static = StaticCredentials(**CANARIES)
    seen = []
    with caplog.at_level(1):
        logging.getLogger(logs.ROOT).setLevel(1)
        for given_keys in ({"cred_path": str(keys)}, {"cred_provider": static}):
            for action in (None, *REFUSALS):
                site.oss.rules([{"match": {}, "action": action}] if action else [])
                seen += used({**place, **given_keys}, uri)
    site.oss.rules([])
    seen += [repr(static), *capfd.readouterr(), caplog.text]
    seen += [record.getMessage() + repr(record.args) for record in caplog.records]
    seen += [path.read_text(errors="replace") for path in tmp_path.glob("*_*")]
    assert len(caplog.records) > 50
    everything = "\n".join(seen)
    assert [word for word in (*CANARIES.values(), *SIGNED) if word in everything] == []


@pytest.mark.parametrize("word", ["canary-p%40ss", "pa://canary"])
def test_s01_the_password_of_a_proxy_is_in_no_repr_error_or_pickle(word, site):
    site.oss.proxy_behaves(user="user:canary-p@ss")
    proxy = site.oss.proxy.replace("http://", f"http://user:{word}@")
    arguments = site.configured(network={**QUICK, "proxy": proxy})
    checkpoint = OssCheckpoint(**arguments)
    images = OssMapDataset.from_objects(["oss://bucket/a"], **arguments)
    seen = [repr(checkpoint), repr(checkpoint._connection.config), repr(images)]
    for thing, use in ((checkpoint, lambda it: it.store().head("/bucket/a")), (images, lambda it: it[0])):
        carried = pickle.dumps(thing)
        with pytest.raises(OssError) as failed:
            use(pickle.loads(carried))
        seen += [repr(carried), *everything_about(failed.value)]
    assert "canary" not in "\n".join(seen)


def test_s01_a_pickle_finds_the_password_of_its_proxy_in_the_file_again(site):
    [uri] = site.fill({"a": b"data"})
    site.oss.proxy_behaves(user="user:canary-p@ss")
    proxy = site.oss.proxy.replace("http://", "http://user:canary-p%40ss@")
    arguments = {**site.configured(network={"proxy": proxy}), "endpoint": "http://nowhere.example"}
    carried = pickle.dumps(OssCheckpoint(**arguments))
    assert b"canary" not in carried
    assert pickle.loads(carried).reader(uri).read() == b"data"
    assert site.oss.proxy_asked() != []
    site.configured(network={"proxy": ""})
    with pytest.raises(ConfigError, match=r"names no network\.proxy any more"):
        pickle.loads(carried)


@pytest.mark.parametrize(
    "url", ["https://b.oss-cn-hangzhou.aliyuncs.com/k?OSSAccessKeyId=id&Signature=canary", "http://?canary"]
)
def test_s01_a_signed_url_in_the_wrong_place_is_not_repeated(url, site):
    checkpoint = OssCheckpoint(**site.arguments)
    for use in (
        lambda: checkpoint.reader(url),
        lambda: checkpoint.writer(url),
        lambda: OssIterableDataset.from_prefix(url, **site.arguments),
        lambda: list(OssIterableDataset.from_objects([url], **site.arguments)),
        lambda: OssCheckpoint(**{**site.arguments, "endpoint": url}).reader("oss://bucket/a").read(),
        lambda: _native.Client(site.oss.endpoint, site.oss.region, "auto", ("anonymous",), {}).get_object(
            url
        ),
    ):
        with pytest.raises(ConfigError) as refused:
            use()
        assert [text for text in everything_about(refused.value)[:4] if "canary" in text] == []


@pytest.mark.parametrize(
    ("endpoint", "shown"),
    [
        ("https://user:canary@oss.example", "https://oss.example"),
        ("user:canary://x@oss.example", "oss.example"),
        ("https://oss.example?canary", "https://oss.example"),
        ("oss-cn-hangzhou.aliyuncs.com", "oss-cn-hangzhou.aliyuncs.com"),
        (None, None),
    ],
)
def test_s01_no_repr_shows_what_an_endpoint_must_not_hold(endpoint, shown):
    for kind in (OssCheckpoint, OssClient):
        assert repr(kind(endpoint)) == f"{kind.__name__}(endpoint={shown!r})"


CONTROL = ["\r\n", "\r", "\n", "\0", "\x7f", "\r\nx-oss-object-acl: public-read\r\n\r\n"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(min_size=1, max_size=40), evil=st.sampled_from(CONTROL))
def test_s12_a_key_is_one_request_whatever_it_holds(name, evil, site):
    site.oss.reset(keep_objects=True)
    key = f"k{name}{evil}z"
    checkpoint = OssCheckpoint(**site.arguments)
    with contextlib.suppress(OssError):
        checkpoint.reader(f"oss://bucket/{key}").read()
    asked = site.oss.requests()
    assert len(asked) <= 1
    assert all(entry["key"] == key for entry in asked)


@pytest.mark.parametrize("evil", CONTROL)
@pytest.mark.parametrize("field", ["user_agent", "token"])
def test_s12_nothing_that_splits_a_request_is_sent_in_a_header(field, evil, site):
    [uri] = site.fill({"a": b"data"})
    given_keys = {"access_key_id": site.oss.access_key_id, "access_key_secret": site.oss.access_key_secret}
    if field == "token":
        given_keys["security_token"] = f"token{evil}x"
        arguments = {name: value for name, value in site.arguments.items() if name != "cred_path"}
        with pytest.raises(OssError):
            OssCheckpoint(**arguments, cred_provider=StaticCredentials(**given_keys)).reader(uri).read()
    else:
        place = (site.oss.endpoint, site.oss.region, "auto")
        with pytest.raises(OssError):
            _native.Client(*place, ("anonymous",), {"user_agent": f"agent{evil}x"}).get_object(uri)
    assert site.oss.requests() == []


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://169.254.169.254",
        "http://100.100.100.200",
        "http://[fe80::1]",
        "http://0xa9fea9fe",
        "http://2852039166",
    ],
)
def test_s13_a_metadata_address_is_no_endpoint(endpoint, site):
    arguments = {**site.configured(network=QUICK), "endpoint": endpoint}
    with pytest.raises(OssError) as refused:
        OssCheckpoint(**arguments).reader("oss://bucket/a").read()
    assert refused.value.elapsed_seconds is None or refused.value.elapsed_seconds < 1


def test_s14_a_link_in_place_of_the_private_directory_is_refused(tmp_path, monkeypatch):
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"osstorchconnector-{os.getuid()}").symlink_to(theirs)
    with pytest.raises(ConfigError, match="private directory"):
        private_files.private_directory()
    assert list(theirs.iterdir()) == []


def test_s14_a_link_in_place_of_an_index_is_not_written_through(tmp_path, site, monkeypatch):
    """Somebody who guesses the name of a file to come gains nothing: it is made anew, never opened."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    victim = tmp_path / "victim"
    victim.write_bytes(b"theirs")
    directory = private_files.private_directory()
    images = OssMapDataset.from_prefix("oss://bucket/", **site.arguments)
    site.fill({"a": b"data"})
    name = images._delivery._file.name
    for suffix in (".index", ".index.new", ".lock"):
        os.symlink(victim, os.path.join(directory, name + suffix))
    with contextlib.suppress(OssError):
        images.prepare()
    assert victim.read_bytes() == b"theirs"


def test_s15_no_file_of_ours_is_readable_by_others_whatever_the_umask(tmp_path, site, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    site.fill({"a": b"data"})
    log = tmp_path / "logs" / "log"
    before = os.umask(0)
    try:
        arguments = site.configured(logLevel=0, logPath=str(log))
        images = OssMapDataset.from_prefix("oss://bucket/", **arguments)
        assert images[0].read() == b"data"
    finally:
        os.umask(before)
    ours = [*tmp_path.glob("osstorchconnector-*"), *tmp_path.glob("osstorchconnector-*/*")]
    ours += list((tmp_path / "logs").iterdir()) if (tmp_path / "logs").exists() else []
    assert ours
    assert [path for path in ours if stat.S_IMODE(path.lstat().st_mode) & 0o077] == []


# Stands for an index of the site.
INDEX = object()
# What is right at some door, so that calls get beyond the first look at their arguments.
PLAUSIBLE = st.sampled_from(
    [
        "oss://bucket/a",
        "/bucket/new",
        "oss://bucket/",
        "file",
        INDEX,
        b"octets",
        bytearray(8),
        memoryview(bytes(30))[::2],
        0,
        7,
        -1,
        2**63 - 1,
        True,
        None,
        [0, 2**62],
        [(0, bytearray(8)), (2**62, bytearray(8))],
        _native.Order(2**62, "f" * 16, 2**63, 2**62),
        _native.Share(2**61, 2**61, 3, 1, 2, 0, 2**62),
    ]
)
RUBBISH = st.one_of(
    PLAUSIBLE,
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=2**62, max_value=2**70),
    st.floats(),
    st.text(max_size=30),
    st.binary(max_size=30),
    st.just(("static", "id", "secret", None)),
    st.tuples(st.text(max_size=5), st.integers()),
    st.lists(st.one_of(st.integers(), st.text(max_size=3), st.binary(max_size=3)), max_size=4),
    st.dictionaries(st.text(max_size=5), st.one_of(st.integers(), st.text(max_size=3)), max_size=3),
    st.builds(object),
)
# These run until they are told to stop, or keep what they are given.
NOT_CALLED = {"emulator_main", "show_logs_by"}


def doors():
    """Return the functions of the native module, the makers of its classes, and their methods, by name."""
    found = {}
    for name, thing in vars(_native).items():
        if name.startswith("__") or name in NOT_CALLED:
            continue
        found[name] = thing
        if inspect.isclass(thing):
            methods = inspect.getmembers(thing, inspect.isroutine)
            found |= {f"{name}.{method}": door for method, door in methods if not method.startswith("__")}
    return found


DOORS = doors()


def counts_of(door):
    """Return how many arguments by position a door wants at least, and takes at most."""
    parameters = inspect.signature(door).parameters.values()
    by_position = [found for found in parameters if found.kind is not inspect.Parameter.KEYWORD_ONLY]
    wanted = [found for found in by_position if found.default is inspect.Parameter.empty]
    return len(wanted), len(by_position)


class Living:
    """Objects of the native classes, to call methods of."""

    def __init__(self, site, directory):
        self._site, self._directory = site, directory

    @functools.cached_property
    def client(self):
        self._site.fill({"a": b"data\n" * 1000})
        return OssClient(**self._site.configured(network=QUICK))._connection.native()

    @functools.cached_property
    def index(self):
        return _native.Index.build(
            str(self._directory / "rows"), [("oss://bucket/a", 5000, None, "label")] * 3
        )

    @functools.cached_property
    def read_along(self):
        """The tail of a listing that goes on, and its first piece."""
        oss, path = self._site.oss, str(self._directory / "listed")
        oss.fill("bucket", "many/", 2500, 1)
        oss.rules([{"match": {"op": "ListObjectsV2"}, "action": {"delay_ms": 50}}])
        lister = threading.Thread(target=self.client.build_index, args=("oss://bucket/many/", path, True))
        lister.start()
        tail = piece = None
        while lister.is_alive() and piece is None:
            tail = tail or _native.Tail.open(path, "bucket", 1)
            piece = tail and tail.next_piece()
        lister.join()
        oss.rules([])
        assert piece is not None
        return tail, piece

    def of(self, kind):
        """Return one; those that a call may use up are made anew."""
        return {
            "Client": lambda: self.client,
            "Index": lambda: self.index,
            "Order": lambda: _native.Order(1000, "f" * 16, 7, 1),
            "Piece": lambda: self.read_along[1],
            "Prefetch": lambda: self.client.prefetch(self.index, [0, 0]),
            "Reader": lambda: self.client.open_reader("oss://bucket/a"),
            "Tail": lambda: self.read_along[0],
            "Writer": lambda: self.client.open_writer("oss://bucket/new"),
        }[kind]()


@pytest.fixture
def living(site, tmp_path):
    return Living(site, tmp_path)


def test_s20_the_doors_are_all_there_methods_included():
    assert {"crc64", "Client", "Index.open", "Client.prefetch", "Reader.readinto", "Writer.write"} <= set(
        DOORS
    )
    assert {"Index.row", "Order.row_at", "Piece.row", "Prefetch.close", "Tail.is_beginning_of"} <= set(DOORS)
    assert len(DOORS) > 60


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("name", DOORS)
def test_s20_rubbish_at_the_native_door_is_an_exception_and_never_a_panic(
    name, data, living, tmp_path, monkeypatch
):
    # Paths among the rubbish are relative: nothing is written but here.
    monkeypatch.chdir(tmp_path)
    door = DOORS[name]
    if isinstance(door, types.MethodDescriptorType):
        door = functools.partial(door, living.of(name.partition(".")[0]))
    least, most = counts_of(door)
    as_many = [st.lists(kind, min_size=least, max_size=most) for kind in (PLAUSIBLE, RUBBISH)]
    given_to = data.draw(st.one_of(*as_many, st.lists(RUBBISH, max_size=6)))
    # A panic is no `Exception`: it comes through.
    with contextlib.suppress(Exception):
        given_back = door(*(living.of("Index") if thing is INDEX else thing for thing in given_to))
        if hasattr(given_back, "__next__"):
            list(itertools.islice(given_back, 3))
