"""The old SDK on objects: bytes, checksums, ranges, metadata, kinds, deletions, and what it is refused."""

from __future__ import annotations

import time

import oss2
import pytest
from refusals import old_refused
from witness_data import BUCKET, CONTROL_CHARACTERS, ODD_KEYS, body, content_md5, crc64, etag

KEY = "old/one.bin"
DATA = body(123_457)


def test_what_is_put_comes_back_with_its_checksums(old_bucket):
    stored = old_bucket.put_object(KEY, DATA)
    assert (stored.status, f'"{stored.etag}"', str(stored.crc)) == (200, etag(DATA), crc64(DATA))
    assert len(stored.request_id) == 24
    read = old_bucket.get_object(KEY)
    # Reading to the end makes the SDK compare its own checksum with the header's.
    assert (b"".join(read), read.content_length) == (DATA, len(DATA))
    assert str(read.client_crc) == str(read.server_crc) == crc64(DATA)
    for seen in (old_bucket.head_object(KEY), old_bucket.get_object_meta(KEY)):
        assert (seen.content_length, f'"{seen.etag}"') == (len(DATA), etag(DATA))
        assert abs(seen.last_modified - time.time()) < 30
    assert old_bucket.head_object(KEY).object_type == "Normal"


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys_are_stored_under_their_own_name(old_bucket, key):
    old_bucket.put_object(key, key.encode())
    assert old_bucket.get_object(key).read() == key.encode()
    assert old_bucket.object_exists(key)
    assert [entry.key for entry in oss2.ObjectIterator(old_bucket)] == [key]
    old_bucket.copy_object(BUCKET, key, key + "-copy")
    assert old_bucket.get_object(key + "-copy").read() == key.encode()
    url = old_bucket.sign_url("GET", key, 60, slash_safe=True)
    assert old_bucket.get_object_with_url(url).read() == key.encode()


def test_bodies_without_a_length_are_sent_in_chunks(old_bucket):
    def chunks():
        for start in range(0, len(DATA), 8192):
            yield DATA[start : start + 8192]

    stored = old_bucket.put_object(KEY, chunks())
    assert (str(stored.crc), old_bucket.get_object(KEY).read()) == (crc64(DATA), DATA)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [((10, 19), slice(10, 20)), ((None, 10), slice(-10, None)), ((500, None), slice(500, None))],
)
def test_ranges_are_the_slices_they_name(old_bucket, asked, expected):
    old_bucket.put_object(KEY, DATA)
    read = old_bucket.get_object(KEY, byte_range=asked)
    assert (read.status, read.read()) == (206, DATA[expected])


def test_a_range_past_the_end_is_the_whole_object_unless_standard_is_asked_for(old_bucket):
    old_bucket.put_object(KEY, DATA)
    asked = (len(DATA) - 5, len(DATA) + 5)
    assert old_bucket.get_object(KEY, byte_range=asked).read() == DATA
    standard = {"x-oss-range-behavior": "standard"}
    read = old_bucket.get_object(KEY, byte_range=asked, headers=standard)
    assert (read.status, read.read()) == (206, DATA[-5:])
    with old_refused(416, "InvalidRange"):
        old_bucket.get_object(KEY, byte_range=(len(DATA), None), headers=standard)


def test_metadata_is_kept_and_replaced(old_bucket):
    headers = {"x-oss-meta-key": "value", "Content-Type": "text/x-own", "Expires": "2022-10-12T00:00:00.000Z"}
    old_bucket.put_object(KEY, DATA, headers=headers)
    seen = old_bucket.head_object(KEY).headers
    assert {name: seen[name] for name in headers} == headers
    old_bucket.update_object_meta(KEY, {"x-oss-meta-other": "中文".encode().hex()})
    seen = old_bucket.head_object(KEY)
    assert (seen.headers["x-oss-meta-other"], seen.etag) == ("中文".encode().hex(), etag(DATA).strip('"'))
    assert "x-oss-meta-key" not in seen.headers


def test_conditions_are_told_from_errors(old_bucket):
    old_bucket.put_object(KEY, DATA)
    tag = etag(DATA)
    assert old_bucket.get_object(KEY, headers={"if-match": tag}).read() == DATA
    for ask in (old_bucket.get_object, old_bucket.head_object):
        with old_refused(412, "PreconditionFailed"):
            ask(KEY, headers={"if-match": '"other"'})
        with pytest.raises(oss2.exceptions.NotModified):
            ask(KEY, headers={"if-none-match": tag})
    assert old_bucket.get_object_meta(KEY).content_length == len(DATA)


def test_appends_grow_an_object(old_bucket):
    first = old_bucket.append_object(KEY, 0, b"hello", init_crc=0)
    second = old_bucket.append_object(KEY, first.next_position, b" world", init_crc=first.crc)
    assert (second.next_position, str(second.crc)) == (11, crc64(b"hello world"))
    with pytest.raises(oss2.exceptions.PositionNotEqualToLength) as raised:
        old_bucket.append_object(KEY, 5, b"x")
    assert raised.value.next_position == 11
    assert old_bucket.get_object(KEY).read() == b"hello world"
    old_bucket.put_object("whole", b"x")
    with pytest.raises(oss2.exceptions.ObjectNotAppendable):
        old_bucket.append_object("whole", 1, b"x")


def test_links_are_followed(old_bucket):
    old_bucket.put_object("目标/t +", DATA)
    old_bucket.put_symlink("目标/t +", "link", headers={"x-oss-meta-of": "link"})
    assert old_bucket.get_symlink("link").target_key == "目标/t +"
    assert old_bucket.get_object("link").read() == DATA
    assert old_bucket.head_object("link").object_type == "Symlink"
    with pytest.raises(oss2.exceptions.NoSuchKey):
        old_bucket.get_symlink("nothing")


def test_tags_are_kept_and_replaced(old_bucket):
    rule = oss2.models.TaggingRule()
    rule.add("+-:/ 中", " =:+")
    rule.add("a" * 128, "b" * 256)
    old_bucket.put_object(KEY, DATA, headers={"x-oss-tagging": rule.to_query_string()})
    kept = old_bucket.get_object_tagging(KEY).tag_set.tagging_rule
    assert kept == {"+-:/ 中": " =:+", "a" * 128: "b" * 256}
    rule.delete("a" * 128)
    old_bucket.put_object_tagging(KEY, oss2.models.Tagging(rule))
    assert old_bucket.get_object_tagging(KEY).tag_set.tagging_rule == {"+-:/ 中": " =:+"}
    old_bucket.delete_object_tagging(KEY)
    assert old_bucket.get_object_tagging(KEY).tag_set.len() == 0


def test_archives_are_restored(old_bucket):
    old_bucket.put_object(KEY, DATA, headers={"x-oss-storage-class": "Archive"})
    with old_refused(403, "InvalidObjectState"):
        old_bucket.get_object(KEY)
    assert old_bucket.restore_object(KEY).status == 202
    with pytest.raises(oss2.exceptions.RestoreAlreadyInProgress):
        old_bucket.restore_object(KEY)
    old_bucket.put_object("standard", b"x")
    with pytest.raises(oss2.exceptions.OperationNotSupported):
        old_bucket.restore_object("standard")


def test_acls_are_set_and_read(old_bucket):
    old_bucket.put_object(KEY, DATA)
    assert old_bucket.get_object_acl(KEY).acl == oss2.OBJECT_ACL_DEFAULT
    for acl in (oss2.OBJECT_ACL_PRIVATE, oss2.OBJECT_ACL_PUBLIC_READ, oss2.OBJECT_ACL_PUBLIC_READ_WRITE):
        old_bucket.put_object_acl(KEY, acl)
        assert old_bucket.get_object_acl(KEY).acl == acl


def test_deleting_is_silent_about_what_is_not_there(old_bucket):
    old_bucket.put_object(KEY, DATA)
    assert old_bucket.delete_object(KEY).status == 204
    assert old_bucket.delete_object(KEY).status == 204
    keys = ["a<b>&c", "中文/+", "odd" + CONTROL_CHARACTERS, "never-there"]
    for key in keys[:3]:
        old_bucket.put_object(key, b"x")
    assert old_bucket.batch_delete_objects(keys).deleted_keys == keys
    assert list(oss2.ObjectIterator(old_bucket)) == []


def test_a_missing_key_and_a_missing_bucket_have_names(old_bucket, oss_emulator):
    for ask in (old_bucket.get_object, old_bucket.head_object, old_bucket.get_object_meta):
        with pytest.raises(oss2.exceptions.NotFound) as raised:
            ask("nothing")
        assert (raised.value.status, len(raised.value.request_id)) == (404, 24)
    with pytest.raises(oss2.exceptions.NoSuchKey):
        old_bucket.get_object("nothing")
    assert not old_bucket.object_exists("nothing")
    auth = oss2.Auth(oss_emulator.access_key_id, oss_emulator.access_key_secret)
    nowhere = oss2.Bucket(auth, oss_emulator.endpoint, "no-such-bucket")
    with pytest.raises(oss2.exceptions.NoSuchBucket):
        nowhere.get_object(KEY)
    with pytest.raises(oss2.exceptions.NoSuchBucket):
        nowhere.object_exists(KEY)


@pytest.mark.usefixtures("old_bucket")
@pytest.mark.parametrize("make", [oss2.Auth, oss2.AuthV4])
def test_wrong_keys_are_refused(make, oss_emulator):
    for keys, code in (
        (("stranger", "secret"), "InvalidAccessKeyId"),
        ((oss_emulator.access_key_id, "wrong"), "SignatureDoesNotMatch"),
    ):
        bucket = oss2.Bucket(make(*keys), oss_emulator.endpoint, BUCKET, region=oss_emulator.region)
        with old_refused(403, code) as refusal:
            bucket.get_object(KEY)
        assert refusal.error.ec
    nobody = oss2.Bucket(oss2.AnonymousAuth(), oss_emulator.endpoint, BUCKET)
    with old_refused(403, "AccessDenied"):
        nobody.get_object(KEY)


def test_a_body_that_is_not_what_its_digest_says_is_refused(old_bucket):
    with old_refused(400, "InvalidDigest"):
        old_bucket.put_object(KEY, DATA, headers={"Content-MD5": content_md5(b"other")})
    with old_refused(400, "InvalidObjectName"):
        old_bucket.put_object("\\begins-badly", DATA)
