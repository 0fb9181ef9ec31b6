"""The official SDK on listings: order, pages, delimiters, encodings, versions, uploads, parts, buckets."""

from __future__ import annotations

import alibabacloud_oss_v2 as sdk
import pytest
from refusals import refused
from witness_data import BUCKET, MINIMUM_PART_BYTES, ODD_KEYS, body, crc64, etag

KEYS = sorted(["a", "a/1", "a/2", "a/b/3", "b", "b/1", "c", "中/1"], key=str.encode)


def put(client, key, data=b""):
    return client.put_object(sdk.PutObjectRequest(bucket=BUCKET, key=key, body=data))


def list_v2(client, **more):
    return client.list_objects_v2(sdk.ListObjectsV2Request(bucket=BUCKET, **more))


def list_v1(client, **more):
    return client.list_objects(sdk.ListObjectsRequest(bucket=BUCKET, **more))


def keys(page):
    return [entry.key for entry in page.contents or []]


def prefixes(page):
    return [entry.prefix for entry in page.common_prefixes or []]


@pytest.fixture
def filled(client):
    for key in KEYS:
        put(client, key, key.encode())
    return client


def test_entries_tell_what_the_objects_are(filled):
    data = b"a/b/3"
    for page in (list_v2(filled, prefix="a/b", fetch_owner=True), list_v1(filled, prefix="a/b")):
        [entry] = page.contents
        assert (entry.key, entry.size, entry.etag) == ("a/b/3", len(data), etag(data))
        assert (entry.object_type, entry.storage_class) == ("Normal", "Standard")
        assert entry.last_modified is not None
        assert entry.owner.id
        assert entry.owner.display_name
        assert (page.name, page.prefix, page.max_keys, page.is_truncated) == (BUCKET, "a/b", 100, False)
    assert list_v2(filled, prefix="a/b").contents[0].owner is None


def test_the_request_is_repeated_in_the_answer(client):
    page = list_v2(
        client,
        delimiter="/",
        start_after="b",
        encoding_type="url",
        continuation_token="",
        max_keys=10,
        prefix="aaa",
        fetch_owner=True,
        request_payer="requester",
    )
    assert (page.status_code, len(page.request_id)) == (200, 24)
    assert (page.name, page.delimiter, page.start_after) == (BUCKET, "/", "b")
    assert (page.encoding_type, page.max_keys, page.prefix) == ("url", 10, "aaa")
    assert (page.is_truncated, page.contents, page.key_count) == (False, None, 0)


def test_keys_come_in_byte_order_and_prefixes_are_plain_text(filled):
    assert keys(list_v2(filled)) == keys(list_v1(filled)) == KEYS
    assert keys(list_v2(filled, prefix="a")) == ["a", "a/1", "a/2", "a/b/3"]
    assert keys(list_v2(filled, prefix="中")) == ["中/1"]
    assert keys(list_v2(filled, start_after="a/2")) == KEYS[3:]
    assert keys(list_v2(filled, start_after="a/1zzz")) == KEYS[2:]
    assert keys(list_v1(filled, marker="a/2")) == KEYS[3:]


def test_a_delimiter_groups_what_follows_the_prefix(filled):
    for page in (list_v2(filled, delimiter="/"), list_v1(filled, delimiter="/")):
        assert (keys(page), prefixes(page)) == (["a", "b", "c"], ["a/", "b/", "中/"])
    page = list_v2(filled, delimiter="/", prefix="a/")
    assert (keys(page), prefixes(page), page.key_count) == (["a/1", "a/2"], ["a/b/"], 3)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_pages_cover_keys_and_groups_once(filled, size):
    seen, token = [], None
    while True:
        page = list_v2(filled, delimiter="/", max_keys=size, continuation_token=token)
        assert page.key_count == len(keys(page)) + len(prefixes(page)) <= size
        seen += sorted(keys(page) + prefixes(page), key=str.encode)
        if not page.is_truncated:
            break
        token = page.next_continuation_token
    assert seen == ["a", "a/", "b", "b/", "c", "中/"]
    assert page.next_continuation_token is None

    seen, marker = [], None
    while True:
        page = list_v1(filled, delimiter="/", max_keys=size, marker=marker)
        seen += sorted(keys(page) + prefixes(page), key=str.encode)
        if not page.is_truncated:
            break
        marker = page.next_marker
    assert seen == ["a", "a/", "b", "b/", "c", "中/"]


def test_without_a_limit_a_page_has_a_hundred_keys_and_with_one_a_thousand(v4_client, oss_emulator):
    oss_emulator.fill(BUCKET, "many/", 1001, 1)
    for listing in (list_v1, list_v2):
        assert len(keys(listing(v4_client))) == 100
        assert len(keys(listing(v4_client, max_keys=1000))) == 1000
        for wrong in (0, -1, 1001):
            with refused(400, "InvalidArgument"):
                listing(v4_client, max_keys=wrong)


def test_paginators_walk_whole_listings(filled):
    for paginator, request in (
        (filled.list_objects_paginator(limit=3), sdk.ListObjectsRequest(bucket=BUCKET)),
        (filled.list_objects_v2_paginator(limit=3), sdk.ListObjectsV2Request(bucket=BUCKET)),
    ):
        pages = list(paginator.iter_page(request))
        assert [len(page.contents) for page in pages] == [3, 3, 2]
        assert [key for page in pages for key in keys(page)] == KEYS
        assert {page.max_keys for page in pages} == {3}
        one = list(paginator.iter_page(request, limit=1))
        assert [key for page in one for key in keys(page)] == KEYS


def test_odd_keys_survive_pages_with_and_without_encoding(client):
    for key in ODD_KEYS:
        put(client, key)
    expected = sorted(ODD_KEYS, key=str.encode)
    for paginator, request in (
        (client.list_objects_paginator(limit=1), sdk.ListObjectsRequest(bucket=BUCKET)),
        (client.list_objects_v2_paginator(limit=1), sdk.ListObjectsV2Request(bucket=BUCKET)),
    ):
        assert [key for page in paginator.iter_page(request) for key in keys(page)] == expected
    odd = ODD_KEYS[-1]
    assert keys(list_v2(client, prefix=odd)) == keys(list_v1(client, prefix=odd)) == [odd]
    assert prefixes(list_v2(client, delimiter="\x0b")) == [odd[: odd.index("\x0b") + 1]]


# Versions


def test_versions_of_a_plain_bucket_are_its_objects(filled):
    paginator = filled.list_object_versions_paginator(limit=3)
    pages = list(paginator.iter_page(sdk.ListObjectVersionsRequest(bucket=BUCKET)))
    assert [entry.key for page in pages for entry in page.version] == KEYS
    page = filled.list_object_versions(
        sdk.ListObjectVersionsRequest(
            bucket=BUCKET,
            delimiter="/",
            key_marker="MARKER",
            max_keys=999,
            prefix="AA/a",
            encoding_type="url",
        )
    )
    assert (page.name, page.is_truncated, page.max_keys, page.delimiter) == (BUCKET, False, 999, "/")
    assert (page.key_marker, page.prefix, page.encoding_type) == ("MARKER", "AA/a", "url")
    entry = filled.list_object_versions(sdk.ListObjectVersionsRequest(bucket=BUCKET, prefix="a/b")).version[0]
    assert (entry.key, entry.size, entry.etag, entry.is_latest) == ("a/b/3", 5, etag(b"a/b/3"), True)
    assert (entry.version_id, entry.storage_class) == ("null", "Standard")


# Uploads and parts


def start_upload(client, key):
    return client.initiate_multipart_upload(
        sdk.InitiateMultipartUploadRequest(bucket=BUCKET, key=key)
    ).upload_id


def test_uploads_are_listed_by_key_and_in_pages(client):
    odd = "upload-%123-/?#:key\x01\x1f"
    started = {key: start_upload(client, key) for key in ("key-0", "key-1", "key-2", odd)}
    page = client.list_multipart_uploads(sdk.ListMultipartUploadsRequest(bucket=BUCKET))
    assert {upload.key: upload.upload_id for upload in page.uploads} == started
    assert (page.bucket, page.is_truncated, page.max_uploads, page.key_marker) == (BUCKET, False, 1000, None)
    assert page.next_key_marker == odd
    assert all(upload.initiated for upload in page.uploads)
    paginator = client.list_multipart_uploads_paginator(limit=1)
    pages = list(paginator.iter_page(sdk.ListMultipartUploadsRequest(bucket=BUCKET)))
    assert [[upload.key for upload in page.uploads] for page in pages] == [[key] for key in started]
    [found] = client.list_multipart_uploads(
        sdk.ListMultipartUploadsRequest(bucket=BUCKET, prefix="upload-%")
    ).uploads
    assert found.key == odd
    nothing = client.list_multipart_uploads(sdk.ListMultipartUploadsRequest(bucket=BUCKET, prefix="no"))
    assert nothing.uploads is None


def test_parts_are_listed_by_number_and_in_pages(client):
    key = "url-%123-/?#:key-\x02"
    upload_id = start_upload(client, key)
    parts = {number: body(MINIMUM_PART_BYTES + number) for number in (1, 2, 7)}
    for number, data in parts.items():
        client.upload_part(
            sdk.UploadPartRequest(bucket=BUCKET, key=key, upload_id=upload_id, part_number=number, body=data)
        )
    request = sdk.ListPartsRequest(bucket=BUCKET, key=key, upload_id=upload_id)
    page = client.list_parts(request)
    assert (page.bucket, page.key, page.upload_id) == (BUCKET, key, upload_id)
    assert (page.part_number_marker, page.next_part_number_marker, page.max_parts) == (0, 7, 1000)
    assert (page.is_truncated, page.storage_class) == (False, "Standard")
    described = [(part.part_number, part.size, part.etag, part.hash_crc64) for part in page.parts]
    assert described == [(n, len(data), etag(data), crc64(data)) for n, data in parts.items()]
    assert all(part.last_modified for part in page.parts)
    pages = list(client.list_parts_paginator(limit=2).iter_page(request))
    assert [[part.part_number for part in page.parts] for page in pages] == [[1, 2], [7]]
    assert {page.max_parts for page in pages} == {2}


# Buckets


def test_buckets_are_listed_in_pages(client):
    names = [f"{BUCKET}-list-{number}" for number in (1, 2, 3)]
    for name in names:
        client.put_bucket(sdk.PutBucketRequest(bucket=name))
    request = sdk.ListBucketsRequest(prefix=f"{BUCKET}-list")
    pages = list(client.list_buckets_paginator(limit=1).iter_page(request))
    assert [[bucket.name for bucket in page.buckets] for page in pages] == [[name] for name in names]
    [page] = client.list_buckets_paginator().iter_page(request)
    assert [bucket.name for bucket in page.buckets] == names
    for bucket in page.buckets:
        assert (bucket.location, bucket.region, bucket.storage_class) == (
            "oss-cn-local",
            "cn-local",
            "Standard",
        )
        assert bucket.creation_date
        assert bucket.extranet_endpoint
        assert bucket.intranet_endpoint
    assert page.owner.id
