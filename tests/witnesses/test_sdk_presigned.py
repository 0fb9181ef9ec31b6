"""The official SDK's presigned URLs, fetched by a plain HTTP library that signs nothing."""

from __future__ import annotations

import datetime as dt

import alibabacloud_oss_v2 as sdk
import pytest
import requests
from witness_data import BUCKET, MINIMUM_PART_BYTES, ODD_KEYS, body, crc64, etag

KEY = "presigned/a b+%中.txt"
DATA = body(2 * MINIMUM_PART_BYTES)
HOUR = dt.timedelta(hours=1)


def fetch(presigned, data=None, **more):
    headers = dict(presigned.signed_headers)
    headers.update(more)
    return requests.request(presigned.method, presigned.url, headers=headers, data=data, timeout=10)


def put(client, key=KEY, data=DATA):
    return client.put_object(sdk.PutObjectRequest(bucket=BUCKET, key=key, body=data))


def get(client, key=KEY):
    return client.get_object(sdk.GetObjectRequest(bucket=BUCKET, key=key))


def error_code(answer):
    """Return the code of an error document."""
    return answer.text.partition("<Code>")[2].partition("</Code>")[0]


@pytest.mark.parametrize("key", [KEY, *ODD_KEYS])
def test_an_object_is_read_by_url(client, key):
    put(client, key)
    presigned = client.presign(sdk.GetObjectRequest(bucket=BUCKET, key=key), expires=HOUR)
    assert presigned.method == "GET"
    with fetch(presigned) as answer:
        assert (answer.status_code, answer.content) == (200, DATA)
        assert (answer.headers["ETag"], answer.headers["x-oss-hash-crc64ecma"]) == (etag(DATA), crc64(DATA))
        assert len(answer.headers["x-oss-request-id"]) == 24
    with fetch(presigned, Range="bytes=5-9") as answer:
        assert (answer.status_code, answer.content) == (206, DATA[5:10])


def test_an_object_is_headed_by_url(client):
    put(client)
    with fetch(client.presign(sdk.HeadObjectRequest(bucket=BUCKET, key=KEY))) as answer:
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["Content-Length"] == str(len(DATA))
        assert answer.headers["x-oss-object-type"] == "Normal"
        assert answer.headers["ETag"] == etag(DATA)
        assert answer.headers["Last-Modified"]


def test_an_object_is_written_by_url_with_the_headers_that_were_signed(client):
    request = sdk.PutObjectRequest(bucket=BUCKET, key=KEY, content_type="text/txt", metadata={"a": "b"})
    presigned = client.presign(request, expires=HOUR)
    assert presigned.signed_headers["Content-Type"] == "text/txt"
    with fetch(presigned, DATA) as answer:
        assert answer.status_code == 200
    read = get(client)
    assert (read.body.content, read.content_type, read.metadata) == (DATA, "text/txt", {"a": "b"})
    with requests.put(presigned.url, data=b"other", timeout=10) as answer:
        assert (answer.status_code, error_code(answer)) == (403, "SignatureDoesNotMatch")
    assert get(client).body.content == DATA


def test_a_url_signs_its_parameters_and_its_method(client):
    put(client)
    request = sdk.GetObjectRequest(bucket=BUCKET, key=KEY, response_content_type="text/plain")
    presigned = client.presign(request)
    with fetch(presigned) as answer:
        assert (answer.headers["Content-Type"], answer.content) == ("text/plain", DATA)
    tampered = presigned.url.replace("text%2Fplain", "text%2Fhtml")
    assert tampered != presigned.url
    for answer in (requests.get(tampered, timeout=10), requests.delete(presigned.url, timeout=10)):
        assert (answer.status_code, error_code(answer)) == (403, "SignatureDoesNotMatch")


def test_a_url_ends_when_it_said(client, oss_emulator):
    put(client)
    presigned = client.presign(sdk.GetObjectRequest(bucket=BUCKET, key=KEY), expires=HOUR)
    now = dt.datetime.now(dt.timezone.utc)
    assert abs((presigned.expiration - now - HOUR).total_seconds()) < 30
    for offset, status in ((3500, 200), (3700, 403)):
        oss_emulator.clock(offset)
        try:
            with fetch(presigned) as answer:
                assert answer.status_code == status
        finally:
            oss_emulator.clock(0)
    assert error_code(answer) == "AccessDenied"
    assert "expire" in answer.text.lower()


def test_a_url_of_seven_days_is_taken_and_a_longer_one_is_never_signed(v4_client):
    put(v4_client)
    request = sdk.GetObjectRequest(bucket=BUCKET, key=KEY)
    with fetch(v4_client.presign(request, expires=dt.timedelta(days=7))) as answer:
        assert answer.content == DATA
    with pytest.raises(sdk.exceptions.PresignExpirationError):
        v4_client.presign(request, expires=dt.timedelta(days=8))
    with pytest.raises(sdk.exceptions.ParamInvalidError):
        v4_client.presign(sdk.ListObjectsV2Request(bucket=BUCKET))


def test_a_url_may_carry_a_security_token(make_client, v4_client, oss_emulator):
    put(v4_client)
    keys = {"access_key_id": "sts-id", "access_key_secret": "sts-secret", "security_token": "token+/="}
    oss_emulator.accept(**keys)
    for setting in ("v4-path", "v4-virtual"):
        presigned = make_client(setting, **keys).presign(sdk.GetObjectRequest(bucket=BUCKET, key=KEY))
        with fetch(presigned) as answer:
            assert (answer.status_code, answer.content) == (200, DATA)
        with requests.get(presigned.url.replace("token", "taken"), timeout=10) as answer:
            assert answer.status_code == 403


@pytest.mark.parametrize("ending", ["list", "all"])
def test_a_multipart_upload_goes_by_urls_alone(client, ending):
    start = sdk.InitiateMultipartUploadRequest(bucket=BUCKET, key=KEY, content_type="text/txt")
    with fetch(client.presign(start)) as answer:
        assert answer.status_code == 200
        started = sdk.InitiateMultipartUploadResult()
        sdk.serde.deserialize_xml(xml_data=answer.content, obj=started)
    assert (started.bucket, started.key) == (BUCKET, KEY)
    upload = {"bucket": BUCKET, "key": KEY, "upload_id": started.upload_id}
    parts = []
    for number in (1, 2, 3):
        presigned = client.presign(sdk.UploadPartRequest(**upload, part_number=number))
        assert f"partNumber={number}" in presigned.url
        with fetch(presigned, DATA) as answer:
            assert answer.status_code == 200
            parts.append(sdk.UploadPart(part_number=number, etag=answer.headers["ETag"]))
    if ending == "all":
        request, document = sdk.CompleteMultipartUploadRequest(**upload, complete_all="yes"), None
    else:
        listed = sdk.CompleteMultipartUpload(parts=parts)
        request = sdk.CompleteMultipartUploadRequest(**upload, complete_multipart_upload=listed)
        operation = sdk.OperationInput(op_name="CompleteMultipartUpload", method="POST", bucket=BUCKET)
        document = sdk.serde.serialize_input(request, operation).body
    with fetch(client.presign(request), document) as answer:
        assert answer.status_code == 200, answer.text
        done = sdk.CompleteMultipartUploadResult()
        sdk.serde.deserialize_xml(xml_data=answer.content, obj=done)
    assert (done.bucket, done.key) == (BUCKET, KEY)
    read = get(client)
    assert (read.body.content, read.object_type, read.content_type) == (DATA * 3, "Multipart", "text/txt")


def test_an_upload_is_aborted_by_url(client):
    started = client.initiate_multipart_upload(sdk.InitiateMultipartUploadRequest(bucket=BUCKET, key=KEY))
    request = sdk.AbortMultipartUploadRequest(bucket=BUCKET, key=KEY, upload_id=started.upload_id)
    presigned = client.presign(request)
    assert (presigned.method, f"uploadId={started.upload_id}" in presigned.url) == ("DELETE", True)
    with fetch(presigned) as answer:
        assert answer.status_code == 204
    left = client.list_multipart_uploads(sdk.ListMultipartUploadsRequest(bucket=BUCKET))
    assert left.uploads is None
    with fetch(presigned) as answer:
        assert (answer.status_code, error_code(answer)) == (404, "NoSuchUpload")
