"""The official SDK on multipart uploads: parts, order, sizes, checksums, what ends an upload."""

from __future__ import annotations

import alibabacloud_oss_v2 as sdk
import pytest
from refusals import refused
from witness_data import BUCKET, MINIMUM_PART_BYTES, ODD_KEYS, body, content_md5, crc64, etag, pieces

KEY = "multipart/one.bin"
DATA = body(3 * MINIMUM_PART_BYTES + 1245)


def start(client, key=KEY, **more):
    started = client.initiate_multipart_upload(
        sdk.InitiateMultipartUploadRequest(bucket=BUCKET, key=key, **more)
    )
    assert (started.status_code, started.bucket, started.key) == (200, BUCKET, key)
    return started.upload_id


def send(client, upload_id, number, data, key=KEY, **more):
    request = sdk.UploadPartRequest(
        bucket=BUCKET, key=key, upload_id=upload_id, part_number=number, body=data, **more
    )
    return client.upload_part(request)


def finish(client, upload_id, parts, key=KEY, **more):
    chosen = [sdk.UploadPart(part_number=number, etag=tag) for number, tag in parts]
    request = sdk.CompleteMultipartUploadRequest(
        bucket=BUCKET,
        key=key,
        upload_id=upload_id,
        complete_multipart_upload=sdk.CompleteMultipartUpload(parts=chosen),
        **more,
    )
    return client.complete_multipart_upload(request)


def abort(client, upload_id, key=KEY):
    request = sdk.AbortMultipartUploadRequest(bucket=BUCKET, key=key, upload_id=upload_id)
    return client.abort_multipart_upload(request)


def get(client, key=KEY, **more):
    return client.get_object(sdk.GetObjectRequest(bucket=BUCKET, key=key, **more))


@pytest.mark.parametrize("key", [KEY, ODD_KEYS[-1]], ids=["plain", "control-characters"])
def test_parts_become_one_object(client, key):
    upload_id = start(client, key, content_type="text/x-parts", metadata={"a": "b"}, storage_class="IA")
    parts = []
    for number, piece in enumerate(pieces(DATA, MINIMUM_PART_BYTES), 1):
        sent = send(client, upload_id, number, piece, key)
        assert (sent.status_code, sent.etag, sent.hash_crc64) == (200, etag(piece), crc64(piece))
        assert sent.content_md5 == content_md5(piece)
        parts.append((number, sent.etag))
    with refused(404, "NoSuchKey"):
        get(client, key)
    done = finish(client, upload_id, parts, key)
    assert (done.status_code, done.bucket, done.key) == (200, BUCKET, key)
    assert done.hash_crc64 == crc64(DATA)
    read = get(client, key)
    assert (read.body.content, read.etag, read.hash_crc64) == (DATA, done.etag, crc64(DATA))
    assert (read.object_type, read.content_md5) == ("Multipart", None)
    assert read.etag != etag(DATA)
    assert (read.content_type, read.metadata, read.storage_class) == ("text/x-parts", {"a": "b"}, "IA")
    listed = client.list_objects_v2(sdk.ListObjectsV2Request(bucket=BUCKET)).contents[0]
    assert (listed.key, listed.object_type, listed.size) == (key, "Multipart", len(DATA))


def test_a_part_sent_twice_counts_as_sent_last_and_numbers_may_have_gaps(client):
    first, last = body(MINIMUM_PART_BYTES, 1), body(10, 2)
    upload_id = start(client)
    send(client, upload_id, 5, body(MINIMUM_PART_BYTES, 3))
    parts = [
        (5, send(client, upload_id, 5, first).etag),
        (10_000, send(client, upload_id, 10_000, last).etag),
    ]
    assert finish(client, upload_id, parts).hash_crc64 == crc64(first + last)
    assert get(client).body.content == first + last


def test_the_service_may_collect_the_parts_itself(client):
    upload_id = start(client)
    for number, piece in enumerate(pieces(DATA, MINIMUM_PART_BYTES), 1):
        send(client, upload_id, number, piece)
    done = client.complete_multipart_upload(
        sdk.CompleteMultipartUploadRequest(bucket=BUCKET, key=KEY, upload_id=upload_id, complete_all="yes")
    )
    assert (done.status_code, done.hash_crc64) == (200, crc64(DATA))
    assert get(client).body.content == DATA


def test_a_small_part_is_refused_only_at_the_end_and_the_upload_lives_on(client):
    upload_id = start(client)
    small, last = body(1000, 1), body(10, 2)
    parts = [(1, send(client, upload_id, 1, small).etag), (2, send(client, upload_id, 2, last).etag)]
    with refused(400, "EntityTooSmall"):
        finish(client, upload_id, parts)
    whole = body(MINIMUM_PART_BYTES, 3)
    parts[0] = (1, send(client, upload_id, 1, whole).etag)
    finish(client, upload_id, parts)
    assert get(client).body.content == whole + last


def test_complete_demands_the_parts_as_they_are(client):
    upload_id = start(client)
    one = send(client, upload_id, 1, body(MINIMUM_PART_BYTES, 1)).etag
    two = send(client, upload_id, 2, body(MINIMUM_PART_BYTES, 2)).etag
    for parts, code in (
        ([(2, two), (1, one)], "InvalidPartOrder"),
        ([(1, one), (1, one)], "InvalidPartOrder"),
        ([(1, two), (2, two)], "InvalidPart"),
        ([(1, one), (3, two)], "InvalidPart"),
    ):
        with refused(400, code):
            finish(client, upload_id, parts)
    # The SDK writes ETags with their quotes; clients without them are understood as well.
    finish(client, upload_id, [(1, one.strip('"')), (2, two)])
    assert get(client).content_length == 2 * MINIMUM_PART_BYTES


@pytest.mark.parametrize("number", [0, -1, 10_001])
def test_part_numbers_end_at_ten_thousand(v4_client, number):
    upload_id = start(v4_client)
    with refused(400, "InvalidArgument"):
        send(v4_client, upload_id, number, b"x")


def test_a_part_with_a_wrong_digest_is_not_kept(client):
    upload_id = start(client)
    with refused(400, "InvalidDigest"):
        send(client, upload_id, 1, b"data", content_md5=content_md5(b"other"))
    request = sdk.ListPartsRequest(bucket=BUCKET, key=KEY, upload_id=upload_id)
    assert client.list_parts(request).parts is None


def test_an_ended_upload_is_gone(client):
    aborted, completed = start(client), start(client)
    assert abort(client, aborted).status_code == 204
    tag = send(client, completed, 1, b"only").etag
    finish(client, completed, [(1, tag)])
    for upload_id in (aborted, completed, "0123456789ABCDEF0123456789ABCDEF"):
        with refused(404, "NoSuchUpload"):
            send(client, upload_id, 1, b"x")
        with refused(404, "NoSuchUpload"):
            finish(client, upload_id, [(1, tag)])
        with refused(404, "NoSuchUpload"):
            abort(client, upload_id)
        with refused(404, "NoSuchUpload"):
            client.list_parts(sdk.ListPartsRequest(bucket=BUCKET, key=KEY, upload_id=upload_id))
    assert get(client).body.content == b"only"
    uploads = client.list_multipart_uploads(sdk.ListMultipartUploadsRequest(bucket=BUCKET))
    assert uploads.uploads is None


def test_an_upload_may_be_forbidden_to_overwrite(client):
    client.put_object(sdk.PutObjectRequest(bucket=BUCKET, key=KEY, body=b"here first"))
    with refused(409, "FileAlreadyExists"):
        start(client, forbid_overwrite=True)
    upload_id = start(client)
    tag = send(client, upload_id, 1, b"later").etag
    with refused(409, "FileAlreadyExists"):
        finish(client, upload_id, [(1, tag)], forbid_overwrite=True)
    assert get(client).body.content == b"here first"


def test_parts_may_be_copied_from_objects(client):
    client.put_object(sdk.PutObjectRequest(bucket=BUCKET, key="source/中 +", body=DATA))
    upload_id = start(client)
    middle = slice(1000, 1000 + MINIMUM_PART_BYTES)
    copied = client.upload_part_copy(
        sdk.UploadPartCopyRequest(
            bucket=BUCKET,
            key=KEY,
            upload_id=upload_id,
            part_number=1,
            source_key="source/中 +",
            source_range=f"bytes={middle.start}-{middle.stop - 1}",
        )
    )
    assert copied.etag == etag(DATA[middle])
    assert copied.last_modified
    whole = client.upload_part_copy(
        sdk.UploadPartCopyRequest(
            bucket=BUCKET, key=KEY, upload_id=upload_id, part_number=2, source_key="source/中 +"
        )
    )
    finish(client, upload_id, [(1, copied.etag), (2, whole.etag)])
    assert get(client).body.content == DATA[middle] + DATA
    with refused(404, "NoSuchKey"):
        client.upload_part_copy(
            sdk.UploadPartCopyRequest(
                bucket=BUCKET, key=KEY, upload_id=start(client), part_number=1, source_key="nothing"
            )
        )


def test_an_acl_given_at_the_end_holds(client):
    upload_id = start(client)
    tag = send(client, upload_id, 1, b"data").etag
    finish(client, upload_id, [(1, tag)], acl="private")
    assert client.get_object_acl(sdk.GetObjectAclRequest(bucket=BUCKET, key=KEY)).acl == "private"
