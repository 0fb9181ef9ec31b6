"""The official SDK's copies: in one request or by parts, metadata and tags kept or replaced."""

from __future__ import annotations

import alibabacloud_oss_v2 as sdk
import pytest
from refusals import refused
from witness_data import BUCKET, MINIMUM_PART_BYTES, body, crc64, etag

OTHER = "another-bucket"
SOURCE = "source/a b+%中"
DATA = body(2 * MINIMUM_PART_BYTES + 1234)
HEADERS = {
    "content_type": "text/plain",
    "content_disposition": "attachment;filename=aaa.txt",
    "content_encoding": "x-own",
    "cache_control": "no-cache",
    "expires": "Wed, 08 Jul 2022 16:57:01 GMT",
}
METADATA = {"auth": "owner", "version": "1.01"}
TAGS = {"TagA": "A", "TagB": "B"}

# How the copier is made to work: the request it prefers, and the kind of object that comes out.
MANNERS = {
    "one-request": ({}, "Normal"),
    "shallow": ({"multipart_copy_threshold": MINIMUM_PART_BYTES}, "Normal"),
    "parts": (
        {
            "multipart_copy_threshold": MINIMUM_PART_BYTES,
            "part_size": MINIMUM_PART_BYTES,
            "disable_shallow_copy": True,
        },
        "Multipart",
    ),
}


@pytest.fixture
def stored(client):
    """Give a client whose bucket has the source of all copies."""
    client.put_bucket(sdk.PutBucketRequest(bucket=OTHER))
    client.put_object(
        sdk.PutObjectRequest(
            bucket=BUCKET,
            key=SOURCE,
            body=DATA,
            metadata=METADATA,
            tagging="TagA=A&TagB=B",
            headers={"Content-Language": "zh"},
            **HEADERS,
        )
    )
    return client


def head(client, bucket, key):
    return client.head_object(sdk.HeadObjectRequest(bucket=bucket, key=key))


def tags(client, bucket, key):
    tagging = client.get_object_tagging(sdk.GetObjectTaggingRequest(bucket=bucket, key=key))
    return {tag.key: tag.value for tag in tagging.tag_set.tags or []}


@pytest.mark.parametrize("bucket", [BUCKET, OTHER])
@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("directive", [None, "COPY"])
def test_copies_keep_bytes_metadata_and_tags(stored, manner, bucket, directive):
    options, kind = MANNERS[manner]
    if manner == "shallow" and bucket == OTHER:
        kind = "Multipart"
    request = sdk.CopyObjectRequest(
        bucket=bucket,
        key="copy",
        source_bucket=BUCKET,
        source_key=SOURCE,
        metadata_directive=directive,
        tagging_directive=directive,
    )
    copied = stored.copier().copy(request, **options)
    assert (copied.status_code, copied.hash_crc64, copied.version_id) == (200, crc64(DATA), None)
    assert (copied.upload_id is None) == (kind == "Normal") == (copied.etag == etag(DATA))
    seen = head(stored, bucket, "copy")
    assert (seen.object_type, seen.hash_crc64, seen.content_length) == (kind, crc64(DATA), len(DATA))
    assert {name: getattr(seen, name) for name in HEADERS} == HEADERS
    assert seen.headers["Content-Language"] == "zh"
    assert (seen.metadata, seen.tagging_count) == (METADATA, 2)
    assert tags(stored, bucket, "copy") == TAGS
    assert stored.get_object(sdk.GetObjectRequest(bucket=bucket, key="copy")).body.content == DATA


@pytest.mark.parametrize("manner", MANNERS)
def test_copies_may_drop_metadata_and_tags(stored, manner):
    options, kind = MANNERS[manner]
    request = sdk.CopyObjectRequest(
        bucket=BUCKET,
        key="copy",
        source_key=SOURCE,
        metadata_directive="REPLACE",
        tagging_directive="REPLACE",
    )
    stored.copier().copy(request, **options)
    seen = head(stored, BUCKET, "copy")
    assert (seen.object_type, seen.metadata, seen.tagging_count) == (kind, None, None)
    assert seen.headers.get("Content-Language") is None
    for name in HEADERS:
        if name != "content_type":
            assert getattr(seen, name) is None
    # A copy in one request keeps the type when none is given; a new upload has the default one.
    assert seen.content_type == ("text/plain" if kind == "Normal" else "application/octet-stream")


@pytest.mark.parametrize("manner", ["one-request", "parts"])
@pytest.mark.parametrize("bucket", [BUCKET, OTHER])
def test_copies_may_replace_metadata_and_tags(stored, manner, bucket):
    options, kind = MANNERS[manner]
    metadata = {
        "auth": "jack",
        "x-oss-meta-version": "1.23",
        "content-type": "text/txt",
        "Content-Length": "116",
    }
    request = sdk.CopyObjectRequest(
        bucket=bucket,
        key="copy",
        source_bucket=BUCKET,
        source_key=SOURCE,
        metadata_directive="REPLACE",
        metadata=metadata,
        content_type="text/js",
        cache_control="no-cache,123",
        tagging_directive="REPLACE",
        tagging="TagA3=A3&TagB3=B3",
        storage_class="IA",
        acl="public-read",
    )
    stored.copier().copy(request, **options)
    seen = head(stored, bucket, "copy")
    assert (seen.object_type, seen.storage_class, seen.content_length) == (kind, "IA", len(DATA))
    assert {name: seen.metadata.get(name) for name in metadata} == metadata
    assert (seen.content_type, seen.cache_control, seen.content_encoding) == ("text/js", "no-cache,123", None)
    assert tags(stored, bucket, "copy") == {"TagA3": "A3", "TagB3": "B3"}
    assert stored.get_object_acl(sdk.GetObjectAclRequest(bucket=bucket, key="copy")).acl == "public-read"
    assert tags(stored, BUCKET, SOURCE) == TAGS


def test_an_object_copied_onto_itself_changes_its_metadata_alone(client):
    client.put_object(sdk.PutObjectRequest(bucket=BUCKET, key="self", body=DATA, metadata={"a": "1"}))
    request = sdk.CopyObjectRequest(
        bucket=BUCKET, key="self", source_key="self", metadata_directive="REPLACE", metadata={"b": "2"}
    )
    assert client.copy_object(request).status_code == 200
    seen = head(client, BUCKET, "self")
    assert (seen.metadata, seen.etag, seen.hash_crc64) == ({"b": "2"}, etag(DATA), crc64(DATA))


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ({"if_match": etag(DATA)}, 200),
        ({"if_match": etag(b"other")}, 412),
        ({"if_none_match": etag(b"other")}, 200),
        ({"if_none_match": etag(DATA)}, 304),
        ({"if_modified_since": "Sun, 01 Jan 2012 00:00:00 GMT"}, 200),
        ({"if_unmodified_since": "Sun, 01 Jan 2012 00:00:00 GMT"}, 412),
    ],
)
def test_a_copy_may_have_conditions_on_its_source(stored, condition, status):
    request = sdk.CopyObjectRequest(bucket=BUCKET, key="copy", source_key=SOURCE, **condition)
    if status == 200:
        assert stored.copy_object(request).status_code == 200
        return
    with pytest.raises(sdk.exceptions.OperationError) as raised:
        stored.copy_object(request)
    assert raised.value.unwrap().status_code == status
    assert not stored.is_object_exist(BUCKET, "copy")


def test_a_copy_may_be_forbidden_to_overwrite(stored):
    stored.put_object(sdk.PutObjectRequest(bucket=BUCKET, key="taken", body=b"x"))
    with refused(409, "FileAlreadyExists"):
        stored.copy_object(
            sdk.CopyObjectRequest(bucket=BUCKET, key="taken", source_key=SOURCE, forbid_overwrite=True)
        )


def test_a_copy_of_nothing_fails_and_leaves_nothing(client):
    with refused(404, "NoSuchKey"):
        client.copy_object(sdk.CopyObjectRequest(bucket=BUCKET, key="copy", source_key="nothing"))
    with refused(404, "NoSuchBucket"):
        client.copy_object(
            sdk.CopyObjectRequest(bucket=BUCKET, key="copy", source_bucket="no-such-bucket", source_key="k")
        )
    pretended = sdk.HeadObjectResult(content_length=len(DATA))
    options, _ = MANNERS["parts"]
    request = sdk.CopyObjectRequest(bucket=BUCKET, key="copy", source_key="nothing")
    with pytest.raises(sdk.CopyError, match="UploadPartCopy") as raised:
        client.copier().copy(request, metadata_properties=pretended, **options)
    uploads = sdk.ListMultipartUploadsRequest(bucket=BUCKET)
    assert raised.value.upload_id
    assert client.list_multipart_uploads(uploads).uploads is None
    with pytest.raises(sdk.CopyError) as raised:
        client.copier().copy(request, metadata_properties=pretended, leave_parts_on_error=True, **options)
    [left] = client.list_multipart_uploads(uploads).uploads
    assert left.upload_id == raised.value.upload_id
    assert not client.is_object_exist(BUCKET, "copy")
