"""The official SDK on single objects: what was put is what is read, headed, ranged and conditioned."""

from __future__ import annotations

import datetime as dt
import io

import alibabacloud_oss_v2 as sdk
import pytest
from refusals import refused
from witness_data import BUCKET, ODD_KEYS, body, content_md5, crc64, etag, pieces

DATA = body(123_457)
KEY = "objects/one.bin"


def put(client, key=KEY, data=DATA, **more):
    return client.put_object(sdk.PutObjectRequest(bucket=BUCKET, key=key, body=data, **more))


def get(client, key=KEY, **more):
    return client.get_object(sdk.GetObjectRequest(bucket=BUCKET, key=key, **more))


def head(client, key=KEY, **more):
    return client.head_object(sdk.HeadObjectRequest(bucket=BUCKET, key=key, **more))


def test_what_is_put_comes_back_with_its_checksums(client):
    stored = put(client)
    assert (stored.status_code, stored.status) == (200, "OK")
    assert (stored.etag, stored.hash_crc64, stored.content_md5) == (
        etag(DATA),
        crc64(DATA),
        content_md5(DATA),
    )
    assert len(stored.request_id) == len(stored.headers["x-oss-request-id"]) == 24
    assert stored.headers["Server"] == "AliyunOSS"

    read = get(client)
    assert (read.status_code, read.content_length) == (200, len(DATA))
    assert b"".join(read.body.iter_bytes()) == DATA
    read.body.close()
    for seen in (read, head(client)):
        assert (seen.etag, seen.hash_crc64, seen.content_md5) == (etag(DATA), crc64(DATA), content_md5(DATA))
        assert (seen.object_type, seen.storage_class) == ("Normal", "Standard")
        assert seen.content_type == "application/octet-stream"
        assert seen.version_id is None
        assert seen.headers["Accept-Ranges"] == "bytes"
        age = dt.datetime.now(dt.timezone.utc) - seen.last_modified
        assert -2 < age.total_seconds() < 30

    meta = client.get_object_meta(sdk.GetObjectMetaRequest(bucket=BUCKET, key=KEY))
    assert (meta.status_code, meta.content_length) == (200, len(DATA))
    assert (meta.etag, meta.hash_crc64) == (etag(DATA), crc64(DATA))


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys_are_stored_under_their_own_name(client, key):
    put(client, key, key.encode())
    assert get(client, key).body.content == key.encode()
    listed = client.list_objects_v2(sdk.ListObjectsV2Request(bucket=BUCKET, encoding_type="url"))
    assert [entry.key for entry in listed.contents] == [key]
    copy = sdk.CopyObjectRequest(bucket=BUCKET, key=key + "-copy", source_key=key)
    assert client.copy_object(copy).etag == etag(key.encode())
    assert get(client, key + "-copy").body.content == key.encode()


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        pytest.param(DATA.hex, DATA.hex().encode(), id="text"),
        pytest.param(lambda: DATA, DATA, id="bytes"),
        pytest.param(lambda: io.BytesIO(DATA), DATA, id="file"),
        pytest.param(lambda: iter(pieces(DATA, 10_000)), DATA, id="chunked"),
        pytest.param(lambda: iter(pieces(DATA[:300], 1)), DATA[:300], id="tiny-chunks"),
        pytest.param(lambda: b"", b"", id="empty"),
        pytest.param(lambda: None, b"", id="nothing"),
    ],
)
def test_bodies_of_every_kind_arrive_whole(client, make, expected):
    stored = put(client, data=make())
    assert (stored.etag, stored.hash_crc64) == (etag(expected), crc64(expected))
    assert get(client).body.content == expected


def test_metadata_and_http_headers_come_back(client):
    sent = {
        "cache_control": "no-cache",
        "content_disposition": "attachment;filename=%E4%B8%96.txt",
        "content_encoding": "x-own",
        "content_type": "text/x-thing",
        "expires": "2022-10-12T00:00:00.000Z",
    }
    metadata = {"auth": "owner", "X-Upper": "Mixed Case", "content-type": "not the real one", "n-1": "a=b;c"}
    put(client, metadata=metadata, headers={"Content-Language": "zh-CN", "auth": "dropped"}, **sent)
    for seen in (head(client), get(client)):
        assert {name: getattr(seen, name) for name in sent} == sent
        assert seen.headers["Content-Language"] == "zh-CN"
        assert {name.lower(): value for name, value in seen.metadata.items()} == {
            name.lower(): value for name, value in metadata.items()
        }
        assert "auth" not in seen.headers


def test_the_content_type_is_kept_or_guessed_by_the_client(v4_client):
    put(v4_client, "picture.jpg", b"x")
    put(v4_client, "page.html", b"x", content_type="text/html; charset=utf-8")
    assert head(v4_client, "picture.jpg").content_type == "image/jpeg"
    assert head(v4_client, "page.html").content_type == "text/html; charset=utf-8"


def test_an_answer_can_be_asked_for_with_other_headers(client):
    put(client)
    read = get(
        client,
        response_cache_control="max-age=7",
        response_content_disposition="attachment",
        response_content_encoding="identity",
        response_content_language="en",
        response_content_type="text/plain",
        response_expires="Fri, 24 Feb 2012 17:00:00 GMT",
    )
    assert read.body.content == DATA
    assert read.cache_control == "max-age=7"
    assert (read.content_disposition, read.content_encoding) == ("attachment", "identity")
    assert (read.content_type, read.headers["Content-Language"]) == ("text/plain", "en")
    assert read.expires == "Fri, 24 Feb 2012 17:00:00 GMT"


def test_ranges_tile_an_object(client):
    put(client)
    step = 25_000
    tiles = []
    for start in range(0, len(DATA), step):
        last = start + step - 1
        read = get(client, range_header=f"bytes={start}-{last}", range_behavior="standard")
        tiles.append(read.body.content)
        end = min(last, len(DATA) - 1)
        assert (read.status_code, read.content_range) == (206, f"bytes {start}-{end}/{len(DATA)}")
        assert (read.content_length, read.etag) == (len(tiles[-1]), etag(DATA))
        assert read.hash_crc64 == crc64(DATA), "the checksum of a range is that of the whole object"
    assert b"".join(tiles) == DATA


# asked, without and with `x-oss-range-behavior: standard`: the slice, or a refusal
SIZE = 1000
RANGES = [
    ("bytes=10-19", slice(10, 20), slice(10, 20)),
    ("bytes=0-0", slice(0, 1), slice(0, 1)),
    ("bytes=990-", slice(990, SIZE), slice(990, SIZE)),
    ("bytes=-10", slice(990, SIZE), slice(990, SIZE)),
    ("bytes=990-1000", None, slice(990, SIZE)),
    ("bytes=0-5000", None, slice(0, SIZE)),
    ("bytes=1000-1001", None, 416),
    ("bytes=5000-", None, 416),
    ("byte=0-1", None, None),
    ("bytes=9-3", None, None),
]


@pytest.mark.parametrize(("asked", "default", "standard"), RANGES)
def test_ranges_follow_the_two_behaviours_of_oss(v4_client, asked, default, standard):
    data = body(SIZE)
    put(v4_client, data=data)
    for behaviour, expected in ((None, default), ("standard", standard)):
        if expected == 416:
            with refused(416, "InvalidRange"):
                get(v4_client, range_header=asked, range_behavior=behaviour)
            continue
        read = get(v4_client, range_header=asked, range_behavior=behaviour)
        if expected is None:
            assert (read.status_code, read.content_range, read.body.content) == (200, None, data)
        else:
            assert (read.status_code, read.body.content) == (206, data[expected])
            assert read.content_range == f"bytes {expected.start}-{expected.stop - 1}/{SIZE}"


def test_an_empty_object_has_no_ranges(v4_client):
    put(v4_client, data=b"")
    read = get(v4_client, range_header="bytes=0-9")
    assert (read.status_code, read.body.content) == (200, b"")
    with refused(416, "InvalidRange"):
        get(v4_client, range_header="bytes=0-9", range_behavior="standard")
    assert head(v4_client).hash_crc64 == "0"


EARLIER = "Sun, 01 Jan 2012 00:00:00 GMT"
LATER = "Sat, 01 Jan 2112 00:00:00 GMT"


@pytest.mark.parametrize(
    "condition",
    [
        {"if_match": etag(DATA)},
        {"if_none_match": etag(b"other")},
        {"if_modified_since": EARLIER},
        {"if_unmodified_since": LATER},
        {"if_modified_since": "no date at all"},
    ],
)
def test_conditions_that_hold_change_nothing(client, condition):
    put(client)
    assert get(client, **condition).body.content == DATA
    assert head(client, **condition).content_length == len(DATA)


@pytest.mark.parametrize("condition", [{"if_match": etag(b"other")}, {"if_unmodified_since": EARLIER}])
def test_failed_preconditions_are_412_with_a_reason_on_head_too(client, condition):
    put(client)
    with refused(412, "PreconditionFailed") as of_get:
        get(client, **condition)
    with refused(412, "PreconditionFailed") as of_head:
        head(client, **condition)
    assert of_get.error.message == of_head.error.message


@pytest.mark.parametrize("condition", [{"if_none_match": etag(DATA)}, {"if_modified_since": LATER}])
def test_an_unchanged_object_is_304(client, condition):
    put(client)
    for ask in (get, head):
        with pytest.raises(sdk.exceptions.OperationError) as raised:
            ask(client, **condition)
        assert raised.value.unwrap().status_code == 304
    # A body after a 304 would be read as the next answer.
    assert get(client).body.content == DATA


def test_overwriting_replaces_and_forbidding_it_is_409(client):
    put(client, data=b"first")
    put(client, data=b"second")
    with refused(409, "FileAlreadyExists"):
        put(client, data=b"third", forbid_overwrite=True)
    assert get(client).body.content == b"second"
    put(client, "new", b"third", forbid_overwrite=True)
    assert get(client, "new").body.content == b"third"


def test_a_body_that_is_not_what_its_digest_says_is_refused(client):
    with refused(400, "InvalidDigest"):
        put(client, content_md5=content_md5(b"another body"))
    with refused(404, "NoSuchKey"):
        get(client)
    put(client, content_md5=content_md5(DATA))
    assert get(client).body.content == DATA


def test_a_wrong_checksum_from_the_service_would_be_noticed(v4_client, oss_emulator):
    oss_emulator.rules([{"match": {"op": "PutObject"}, "action": {"wrong_crc": True}}])
    with pytest.raises(sdk.exceptions.OperationError, match="crc is inconsistent"):
        put(v4_client)


def test_deleting_is_204_whether_or_not_the_key_was_there(client):
    put(client)
    for _ in range(2):
        gone = client.delete_object(sdk.DeleteObjectRequest(bucket=BUCKET, key=KEY))
        assert (gone.status_code, gone.version_id, gone.delete_marker) == (204, None, None)
    with refused(404, "NoSuchKey"):
        head(client)


def test_many_keys_are_deleted_at_once(client):
    for key in ODD_KEYS:
        put(client, key, b"x")
    many = [sdk.DeleteObject(key=key) for key in [*ODD_KEYS[1:], "never-there"]]
    answer = client.delete_multiple_objects(
        sdk.DeleteMultipleObjectsRequest(bucket=BUCKET, objects=many, encoding_type="url")
    )
    assert answer.status_code == 200
    assert [entry.key for entry in answer.deleted_objects] == [*ODD_KEYS[1:], "never-there"]
    listed = client.list_objects_v2(sdk.ListObjectsV2Request(bucket=BUCKET))
    assert [entry.key for entry in listed.contents] == [ODD_KEYS[0]]


def test_many_keys_are_deleted_quietly_and_without_an_encoding(client):
    for key in ("a<b>&c", "tab\tand\x01", "kept"):
        put(client, key, b"x")
    identifiers = [sdk.ObjectIdentifier(key=key) for key in ("a<b>&c", "tab\tand\x01")]
    quiet = client.delete_multiple_objects(
        sdk.DeleteMultipleObjectsRequest(bucket=BUCKET, delete=sdk.Delete(objects=identifiers, quiet=True))
    )
    assert (quiet.status_code, quiet.deleted_objects) == (200, None)
    listed = client.list_objects_v2(sdk.ListObjectsV2Request(bucket=BUCKET))
    assert [entry.key for entry in listed.contents] == ["kept"]


def test_more_than_a_thousand_keys_at_once_are_refused(v4_client):
    many = [sdk.DeleteObject(key=f"k{number}") for number in range(1001)]
    with refused(400, "MalformedXML"):
        v4_client.delete_multiple_objects(sdk.DeleteMultipleObjectsRequest(bucket=BUCKET, objects=many))


def test_existence_is_told_from_absence_and_from_errors(client, make_client):
    put(client)
    assert client.is_bucket_exist(BUCKET)
    assert not client.is_bucket_exist("no-such-bucket")
    assert client.is_object_exist(BUCKET, KEY)
    assert not client.is_object_exist(BUCKET, "no-such-key")
    with refused(404, "NoSuchBucket"):
        client.is_object_exist("no-such-bucket", KEY)
    stranger = make_client(access_key_id="stranger")
    assert stranger.is_bucket_exist(BUCKET)
    assert not stranger.is_bucket_exist("no-such-bucket")
    with refused(403, "InvalidAccessKeyId"):
        stranger.is_object_exist(BUCKET, KEY)
