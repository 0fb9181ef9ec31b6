"""The old SDK on listings, multipart uploads, resumed transfers and signed URLs."""

from __future__ import annotations

import oss2
import pytest
import requests
from refusals import old_refused
from witness_data import BUCKET, CONTROL_CHARACTERS, MINIMUM_PART_BYTES, body, crc64, etag, pieces

KEY = "old/one.bin"
DATA = body(5 * MINIMUM_PART_BYTES + 1234)


# Listings


@pytest.fixture
def filled(old_bucket):
    for key in ("a", "a/1", "a/2", "b/1", "c", "odd" + CONTROL_CHARACTERS, "中/1"):
        old_bucket.put_object(key, key.encode())
    return old_bucket


@pytest.mark.parametrize("iterator", [oss2.ObjectIterator, oss2.ObjectIteratorV2])
@pytest.mark.parametrize("size", [1, 3, 100])
def test_iterators_walk_whole_listings(filled, iterator, size):
    entries = list(iterator(filled, max_keys=size))
    keys = [entry.key for entry in entries]
    assert keys == ["a", "a/1", "a/2", "b/1", "c", "odd" + CONTROL_CHARACTERS, "中/1"]
    for entry in entries:
        data = entry.key.encode()
        assert (entry.size, f'"{entry.etag}"', entry.type) == (len(data), etag(data), "Normal")
    grouped = list(iterator(filled, delimiter="/", max_keys=size))
    expected = ["a", "a/", "b/", "c", "odd" + CONTROL_CHARACTERS, "中/"]
    assert sorted((entry.key for entry in grouped), key=str.encode) == expected
    assert {entry.key for entry in grouped if entry.is_prefix()} == {"a/", "b/", "中/"}
    assert [entry.key for entry in iterator(filled, prefix="a/", max_keys=size)] == ["a/1", "a/2"]


def test_listings_start_after_a_key(filled):
    assert [entry.key for entry in filled.list_objects_v2(start_after="b").object_list][:2] == ["b/1", "c"]
    assert [entry.key for entry in filled.list_objects(marker="b/1").object_list][:1] == ["c"]
    page = filled.list_objects_v2(max_keys=2)
    assert (page.is_truncated, len(page.object_list)) == (True, 2)
    assert page.next_continuation_token


def test_buckets_are_listed(old_bucket, oss_emulator):
    auth = oss2.Auth(oss_emulator.access_key_id, oss_emulator.access_key_secret)
    service = oss2.Service(auth, oss_emulator.endpoint)
    names = [bucket.name for bucket in oss2.BucketIterator(service, prefix=BUCKET, max_keys=1)]
    assert BUCKET in names
    info = old_bucket.get_bucket_info()
    assert (info.name, info.location, info.acl.grant) == (BUCKET, "oss-cn-local", "private")
    assert old_bucket.get_bucket_location().location == "oss-cn-local"


# Multipart uploads


def test_parts_become_one_object(old_bucket):
    key = "multipart/中 +"
    upload_id = old_bucket.init_multipart_upload(key).upload_id
    parts = []
    for number, piece in enumerate(pieces(DATA, MINIMUM_PART_BYTES), 1):
        sent = old_bucket.upload_part(key, upload_id, number, piece)
        assert (f'"{sent.etag}"', str(sent.crc)) == (etag(piece), crc64(piece))
        parts.append(oss2.models.PartInfo(number, sent.etag, size=len(piece), part_crc=sent.crc))
    listed = list(oss2.PartIterator(old_bucket, key, upload_id, max_parts=2))
    assert [(part.part_number, part.etag, part.size) for part in listed] == [
        (part.part_number, part.etag, part.size) for part in parts
    ]
    uploads = list(oss2.MultipartUploadIterator(old_bucket, max_uploads=1))
    assert [(upload.key, upload.upload_id) for upload in uploads] == [(key, upload_id)]
    # With sizes and checksums the SDK combines them and compares the whole.
    done = old_bucket.complete_multipart_upload(key, upload_id, parts)
    assert str(done.crc) == crc64(DATA)
    assert old_bucket.get_object(key).read() == DATA
    assert list(oss2.MultipartUploadIterator(old_bucket)) == []


def test_parts_are_copied_and_uploads_aborted(old_bucket):
    old_bucket.put_object("source 中", DATA)
    upload_id = old_bucket.init_multipart_upload(KEY).upload_id
    copied = old_bucket.upload_part_copy(
        BUCKET, "source 中", (1000, 1000 + MINIMUM_PART_BYTES - 1), KEY, upload_id, 1
    )
    parts = [oss2.models.PartInfo(1, copied.etag)]
    old_bucket.complete_multipart_upload(KEY, upload_id, parts)
    assert old_bucket.get_object(KEY).read() == DATA[1000 : 1000 + MINIMUM_PART_BYTES]
    upload_id = old_bucket.init_multipart_upload(KEY).upload_id
    assert old_bucket.abort_multipart_upload(KEY, upload_id).status == 204
    with pytest.raises(oss2.exceptions.NoSuchUpload):
        old_bucket.abort_multipart_upload(KEY, upload_id)


def test_the_service_may_collect_the_parts_itself(old_bucket):
    upload_id = old_bucket.init_multipart_upload(KEY).upload_id
    old_bucket.upload_part(KEY, upload_id, 1, DATA)
    headers = {"x-oss-complete-all": "yes"}
    old_bucket.complete_multipart_upload(KEY, upload_id, None, headers=headers)
    assert old_bucket.get_object(KEY).read() == DATA


# Resumed transfers


def test_transfers_in_parts_give_the_same_bytes(old_bucket, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(DATA)
    store = {"store": oss2.ResumableStore(root=str(tmp_path)), "num_threads": 3}
    cut = {"multipart_threshold": MINIMUM_PART_BYTES, "part_size": MINIMUM_PART_BYTES}
    oss2.resumable_upload(old_bucket, KEY, str(source), **store, **cut)
    assert old_bucket.head_object(KEY).object_type == "Multipart"
    store = {"store": oss2.ResumableDownloadStore(root=str(tmp_path)), "num_threads": 3}
    cut = {"multiget_threshold": MINIMUM_PART_BYTES, "part_size": MINIMUM_PART_BYTES}
    oss2.resumable_download(old_bucket, KEY, str(target), **store, **cut)
    assert target.read_bytes() == DATA


# Signed URLs


@pytest.mark.parametrize("slash_safe", [True, False])
def test_signed_urls_put_get_and_head(old_bucket, slash_safe):
    key = "signed/a b+%中.txt"
    headers = {"Content-Type": "text/x-own", "x-oss-meta-a": "b"}
    url = old_bucket.sign_url("PUT", key, 60, headers=headers, slash_safe=slash_safe)
    assert requests.put(url, data=DATA, headers=headers, timeout=10).status_code == 200
    assert requests.put(url, data=b"x", timeout=10).status_code == 403
    answer = requests.get(old_bucket.sign_url("GET", key, 60, slash_safe=slash_safe), timeout=10)
    assert (answer.content, answer.headers["x-oss-meta-a"]) == (DATA, "b")
    answer = requests.head(old_bucket.sign_url("HEAD", key, 60, slash_safe=slash_safe), timeout=10)
    assert (answer.status_code, answer.headers["Content-Length"]) == (200, str(len(DATA)))


def test_signed_urls_carry_parameters_and_end(old_bucket, oss_emulator):
    old_bucket.put_object(KEY, DATA)
    asked = {"response-content-type": "text/plain", "response-content-disposition": "attachment"}
    url = old_bucket.sign_url("GET", KEY, 60, params=asked)
    answer = requests.get(url, timeout=10)
    assert (answer.headers["Content-Type"], answer.headers["Content-Disposition"]) == (
        "text/plain",
        "attachment",
    )
    oss_emulator.clock(120)
    try:
        assert requests.get(url, timeout=10).status_code == 403
    finally:
        oss_emulator.clock(0)


def test_additional_headers_are_signed_where_asked_for(oss_emulator, old_bucket):
    auth = oss2.AuthV4(oss_emulator.access_key_id, oss_emulator.access_key_secret)
    bucket = oss2.Bucket(auth, oss_emulator.endpoint, BUCKET, region=oss_emulator.region)
    headers = {"Content-Length": str(len(DATA)), "custom-header": "abc", "x-oss-forbid-overwrite": "true"}
    signed = {"Content-Length", "custom-header", "noexist-header", "x-oss-forbid-overwrite"}
    url = bucket.sign_url("PUT", KEY, 60, headers=headers, additional_headers=signed)
    assert "x-oss-additional-headers=content-length%3Bcustom-header" in url
    assert (
        requests.put(url, data=DATA, headers={**headers, "custom-header": "no"}, timeout=10).status_code
        == 403
    )
    assert requests.put(url, data=DATA, headers=headers, timeout=10).status_code == 200
    assert old_bucket.get_object(KEY).read() == DATA


def test_a_get_that_announces_a_body_is_answered_without_waiting_for_it(old_bucket):
    """The old SDK's own suite sends the headers of a PUT with its GETs."""
    old_bucket.put_object(KEY, b"Hello OSS")
    url = old_bucket.sign_url("GET", KEY, 60)
    answer = requests.get(url, headers={"Content-Length": "9"}, timeout=10)
    assert (answer.status_code, answer.content) == (200, b"Hello OSS")


def test_a_token_goes_along(oss_emulator, old_bucket):
    old_bucket.put_object(KEY, DATA)
    oss_emulator.accept(access_key_id="sts-id", access_key_secret="sts-secret", security_token="token+/=")
    for version in (oss2.AUTH_VERSION_1, oss2.AUTH_VERSION_4):
        auth = oss2.StsAuth("sts-id", "sts-secret", "token+/=", auth_version=version)
        bucket = oss2.Bucket(auth, oss_emulator.endpoint, BUCKET, region=oss_emulator.region)
        assert bucket.get_object(KEY).read() == DATA
        assert requests.get(bucket.sign_url("GET", KEY, 60), timeout=10).content == DATA
        other = oss2.StsAuth("sts-id", "sts-secret", "other", auth_version=version)
        bucket = oss2.Bucket(other, oss_emulator.endpoint, BUCKET, region=oss_emulator.region)
        with old_refused(403, "InvalidSecurityToken"):
            bucket.get_object(KEY)
