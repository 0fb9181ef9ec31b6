"""Listings that lie or are damaged, and what lists and keys may hold: F44, F48, F52, F53, F54."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading import MOST_REQUESTS, QUICK, by_iterable, by_map, by_readinto, by_stream, gets, quick

from osstorchconnector import OssCheckpoint, OssIterableDataset, OssMapDataset
from osstorchconnector.errors import ConfigError, EmptyDatasetError, ListingError, OssError, ProtocolError

DATASETS = [OssIterableDataset, OssMapDataset]
ERROR_INSIDE = (
    "<Error><Code>InternalError</Code><Message>We broke.</Message><RequestId>5F3A</RequestId></Error>"
)
WHOLE = (
    '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>bucket</Name><Prefix>p/</Prefix>'
    "<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated><KeyCount>0</KeyCount></ListBucketResult>"
)


def lists(site):
    return site.oss.requests("ListObjectsV2")


@pytest.mark.parametrize("kind", DATASETS)
@pytest.mark.parametrize(("fault", "most"), [("same", 2), ("first", 3), ("missing", 1), ("not_rising", 2)])
def test_f44_a_listing_that_goes_in_circles_ends_at_the_first_repeat(kind, fault, most, wire):
    wire.oss.fill("bucket", "p/", 4500, 1)
    wire.oss.rules([{"match": {"op": "ListObjectsV2"}, "action": {"repeat_token": fault}}])
    with pytest.raises(ListingError) as refused:
        kind.from_prefix("oss://bucket/p/", **quick(wire)).prepare()
    assert "oss://bucket/p/" in str(refused.value)
    assert isinstance(refused.value, ProtocolError)
    assert len(lists(wire)) <= most
    assert gets(wire) == []


@pytest.mark.parametrize("kind", DATASETS)
@pytest.mark.parametrize(
    "body",
    [
        "",
        "not XML",
        WHOLE[:-20],
        WHOLE[: len(WHOLE) // 2],
        WHOLE.replace("ListBucketResult", "SomethingElse"),
        WHOLE.replace("<IsTruncated>false", "<IsTruncated>perhaps"),
        '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><ListBucketResult>&b;</ListBucketResult>',
        "<a>" * 10_000,
        ERROR_INSIDE.replace("InternalError", "AccessDenied"),
        "<html><body>Please log in</body></html>",
    ],
    ids=["empty", "text", "cut", "half", "root", "bool", "entity", "deep", "error", "portal"],
)
def test_f48_a_page_that_makes_no_sense_is_never_an_empty_listing(kind, body, site):
    site.fill({"p/a": b"1"})
    site.oss.rules([{"match": {"op": "ListObjectsV2"}, "action": {"status": 200, "body": body}}])
    dataset = kind.from_prefix("oss://bucket/p/", allow_empty=True, **quick(site))
    with pytest.raises(ProtocolError) as refused:
        dataset.prepare()
    assert "oss://bucket/p/" in str(refused.value)
    assert len(lists(site)) == 4


@pytest.mark.parametrize("kind", DATASETS)
def test_f48_a_page_with_a_passing_error_inside_is_asked_for_again(kind, site):
    site.fill({"p/a": b"1"})
    site.oss.rules(
        [
            {"match": {"op": "ListObjectsV2"}, "action": {"status": 200, "body": ERROR_INSIDE}, "times": 2},
            {"match": {"op": "ListObjectsV2"}, "action": {"truncate_body": True}, "times": 2},
        ]
    )
    assert [sample.read() for sample in kind.from_prefix("oss://bucket/p/", **quick(site))] == [b"1"]
    assert len(lists(site)) == 5


def test_f48_an_error_inside_every_page_ends_at_the_deadline(site):
    site.fill({"p/a": b"1"})
    site.oss.rules([{"match": {"op": "ListObjectsV2"}, "action": {"status": 200, "body": ERROR_INSIDE}}])
    with pytest.raises(OssError, match="We broke") as failed:
        OssMapDataset.from_prefix("oss://bucket/p/", **quick(site, deadlineSeconds=1)).prepare()
    assert failed.value.code == "InternalError"
    assert len(lists(site)) <= MOST_REQUESTS


@pytest.mark.parametrize("op", ["InitiateMultipartUpload", "CompleteMultipartUpload"])
def test_f48_an_upload_whose_answers_make_no_sense_is_no_success_by_guess(op, site):
    site.fill({"other": b"x"})
    arguments = site.configured(network=QUICK, checkpointConfig={"uploadIoSizeMB": 1})
    site.oss.rules([{"match": {"op": op}, "action": {"status": 200, "body": "<html/>"}, "times": 1}])
    data = bytes(range(256)) * (3 << 12)
    with OssCheckpoint(**arguments).writer("oss://bucket/big") as writer:
        writer.write(data)
    assert by_readinto("oss://bucket/big", arguments) == data


@pytest.mark.parametrize("kind", DATASETS)
def test_f52_nothing_below_a_prefix_is_an_error_that_names_it(kind, wire):
    wire.fill({"other/a": b"x", "only/": b""})
    for prefix in ("oss://bucket/p/", "oss://bucket/only/"):
        with pytest.raises(EmptyDatasetError, match="allow_empty=True") as empty:
            kind.from_prefix(prefix, **quick(wire)).prepare()
        assert prefix in str(empty.value)
        assert isinstance(empty.value, FileNotFoundError)
        assert list(kind.from_prefix(prefix, allow_empty=True, **quick(wire))) == []


@pytest.mark.parametrize("kind", DATASETS)
def test_f52_a_prefix_equal_to_a_key_and_the_empty_prefix_match(kind, site):
    site.fill({"p": b"1", "p/a": b"2", "q": b"3"})
    for prefix, expected in [("p", [b"1", b"2"]), ("p/a", [b"2"]), ("", [b"1", b"2", b"3"])]:
        dataset = kind.from_prefix(f"oss://bucket/{prefix}", **quick(site))
        assert [sample.read() for sample in dataset] == expected


@pytest.mark.parametrize("kind", DATASETS)
@pytest.mark.parametrize(
    "fault", [{"status": 403, "code": "AccessDenied"}, {"status": 404, "code": "NoSuchBucket"}]
)
def test_f52_a_failed_listing_is_never_an_empty_one(kind, fault, site):
    site.fill({"p/a": b"1"})
    site.oss.rules([{"match": {"op": "ListObjectsV2"}, "action": fault}])
    with pytest.raises(OssError) as failed:
        kind.from_prefix("oss://bucket/p/", allow_empty=True, **quick(site)).prepare()
    assert not isinstance(failed.value, EmptyDatasetError)
    assert failed.value.code == fault["code"]


@pytest.mark.parametrize("read", [by_stream, by_readinto, by_map, by_iterable])
@pytest.mark.parametrize("key", ["empty", "dir/"])
def test_f53_an_empty_object_asked_for_by_name_is_empty_and_never_asked_for_a_range(key, read, wire):
    wire.fill({key: b""})
    assert read(f"oss://bucket/{key}", quick(wire)) == b""
    assert [entry["headers"].get("range") for entry in gets(wire)] in ([], [None])


@pytest.mark.parametrize("kind", DATASETS)
def test_f53_below_a_prefix_empty_objects_are_left_out_unless_asked_for(kind, site, caplog):
    caplog.set_level("INFO", "osstorchconnector")
    site.fill({"p/": b"", "p/empty": b"", "p/full": b"x", "p/sub/": b""})
    plain = kind.from_prefix("oss://bucket/p/", **quick(site))
    assert [(sample.key, sample.read()) for sample in plain] == [("/bucket/p/full", b"x")]
    assert len([text for text in caplog.messages if "3 zero-byte objects left out" in text]) == 1
    wide = kind.from_prefix("oss://bucket/p/", include_empty=True, **quick(site))
    assert [sample.key for sample in wide] == ["/bucket/p/empty", "/bucket/p/full"]
    assert "range" not in [name for entry in gets(site) for name in entry["headers"]]


ODD_KEYS = [
    "blank in name",
    "+%20?#&=;@:,$!*'()~",
    "ümlaut/日本語/😀",
    "a//b",
    "../up",
    "a/./b/../c",
    "new\nline",
    "control\x01",
    "tab\tand\rreturn",
    "trailing/",
    ".hidden",
    "...",
    "x" * 1023,
    "é" * 511,
    "back\\slash",
    "<&\"'>",
    "%2F%00",
    " leading and trailing ",
]


def round_trip(site, checkpoint, key):
    """Write, read, list and read again; each request names the key as it is."""
    uri = f"oss://bucket/{key}"
    data = f"content of {key!r}".encode()
    before = len(site.oss.requests())
    with checkpoint.writer(uri) as writer:
        writer.write(data)
    written = site.oss.requests()[before:]
    assert [(entry["operation"], entry["key"], entry["status"]) for entry in written] == [
        ("PutObject", key, 200)
    ]
    arguments = site.arguments
    assert by_map(uri, arguments) == data
    read = site.oss.requests()[before + 1 :]
    assert [(entry["operation"], entry["key"], entry["status"]) for entry in read] == [
        ("GetObject", key, 200)
    ]
    [sample] = OssIterableDataset.from_prefix(uri, **arguments)
    assert (sample.key, sample.read()) == (f"/bucket/{key}", data)
    assert {entry["status"] for entry in site.oss.requests()[before:]} <= {200, 206}


@pytest.mark.parametrize("key", ODD_KEYS)
def test_f54_odd_keys_make_the_round_trip_byte_by_byte(key, wire):
    wire.fill({"other": b"x"})
    round_trip(wire, OssCheckpoint(**wire.arguments), key)


# Beside the key that is tried; that one as a prefix must not list it too.
OTHER_KEY = "\x02other"
KEYS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=40
).filter(lambda key: key[0] not in "/\\" and not OTHER_KEY.startswith(key))


def test_f54_any_key_makes_the_round_trip(site):
    site.fill({"other": b"x"})
    checkpoint = OssCheckpoint(**site.arguments)

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(key=KEYS)
    def any_key(key):
        site.oss.reset()
        site.fill({OTHER_KEY: b"x"})
        round_trip(site, checkpoint, key)

    any_key()


@pytest.mark.parametrize("key", ["x" * 1024, "é" * 512])
def test_f54_a_key_that_oss_does_not_take_is_refused_before_anything_is_sent(key, site):
    site.fill({"other": b"x"})
    with pytest.raises(ConfigError, match=r"key|object"):
        by_map(f"oss://bucket/{key}", site.arguments)
    assert site.oss.requests() == []
