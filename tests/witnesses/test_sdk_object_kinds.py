"""The official SDK on what objects can be besides bytes: appended, linked, archived, tagged, with an ACL."""

from __future__ import annotations

from urllib.parse import quote, unquote

import alibabacloud_oss_v2 as sdk
import pytest
from refusals import refused
from witness_data import BUCKET, body, crc64, etag

DATA = body(4321)


def put(client, key, data=DATA, **more):
    return client.put_object(sdk.PutObjectRequest(bucket=BUCKET, key=key, body=data, **more))


def get(client, key, **more):
    return client.get_object(sdk.GetObjectRequest(bucket=BUCKET, key=key, **more))


def head(client, key, **more):
    return client.head_object(sdk.HeadObjectRequest(bucket=BUCKET, key=key, **more))


def append(client, key, position, data, **more):
    request = sdk.AppendObjectRequest(bucket=BUCKET, key=key, position=position, body=data, **more)
    return client.append_object(request)


def acl_of(client, key):
    return client.get_object_acl(sdk.GetObjectAclRequest(bucket=BUCKET, key=key)).acl


def tags_of(client, key):
    tagging = client.get_object_tagging(sdk.GetObjectTaggingRequest(bucket=BUCKET, key=key))
    return {tag.key: tag.value or "" for tag in tagging.tag_set.tags or []}


# Appending


def test_appends_grow_an_object_and_know_its_whole_checksum(client):
    first = append(client, "log", 0, b"hello", metadata={"user": "test"}, content_type="text/x-log")
    assert (first.status_code, first.next_position, first.hash_crc64) == (200, 5, crc64(b"hello"))
    second = append(client, "log", 5, b" world", metadata={"user": "too late"})
    assert (second.next_position, second.hash_crc64) == (11, crc64(b"hello world"))
    seen = get(client, "log")
    assert (seen.body.content, seen.object_type) == (b"hello world", "Appendable")
    assert (seen.content_type, seen.metadata) == ("text/x-log", {"user": "test"})
    assert (head(client, "log").next_append_position, seen.hash_crc64) == (11, crc64(b"hello world"))


def test_an_append_elsewhere_than_at_the_end_is_told_where_the_end_is(client):
    append(client, "log", 0, b"hello")
    for position in (0, 4, 6):
        with refused(409, "PositionNotEqualToLength") as refusal:
            append(client, "log", position, b"x")
        assert refusal.error.headers["x-oss-next-append-position"] == "5"
    with refused(409, "PositionNotEqualToLength") as refusal:
        append(client, "not there", 7, b"x")
    put(client, "whole")
    with refused(409, "ObjectNotAppendable"):
        append(client, "whole", len(DATA), b"x")
    assert get(client, "whole").body.content == DATA


# Links


def test_a_link_is_read_as_its_target_and_described_as_itself(client):
    target = "target/中文 +.bin"
    put(client, target, content_type="text/x-target")
    made = client.put_symlink(
        sdk.PutSymlinkRequest(
            bucket=BUCKET, key="link", symlink_target=quote(target), metadata={"of": "link"}
        )
    )
    assert made.status_code == 200
    link = client.get_symlink(sdk.GetSymlinkRequest(bucket=BUCKET, key="link"))
    assert unquote(link.target) == target
    assert link.headers["x-oss-meta-of"] == "link"
    seen = get(client, "link")
    assert (seen.body.content, seen.etag, seen.object_type) == (DATA, etag(DATA), "Symlink")
    assert (head(client, "link").content_length, head(client, "link").etag) == (len(DATA), etag(DATA))
    meta = client.get_object_meta(sdk.GetObjectMetaRequest(bucket=BUCKET, key="link"))
    assert meta.etag != etag(DATA), "GetObjectMeta tells of the link itself"


def test_links_to_nothing_and_to_links_are_told_apart(client):
    for key, target in (("dangling", "nothing"), ("second", "dangling")):
        client.put_symlink(sdk.PutSymlinkRequest(bucket=BUCKET, key=key, symlink_target=target))
    with refused(404, "SymlinkTargetNotExist"):
        get(client, "dangling")
    with refused(404, "SymlinkTargetNotExist"):
        head(client, "dangling")
    with refused(400, "InvalidTargetType"):
        get(client, "second")
    put(client, "no link")
    with refused(400, "NotSymlink"):
        client.get_symlink(sdk.GetSymlinkRequest(bucket=BUCKET, key="no link"))
    with refused(404, "NoSuchKey"):
        client.get_symlink(sdk.GetSymlinkRequest(bucket=BUCKET, key="nothing"))


# Archives


def test_an_archived_object_is_headed_but_not_read_until_restored(client):
    put(client, "cold", storage_class="Archive")
    assert head(client, "cold").storage_class == "Archive"
    with refused(403, "InvalidObjectState"):
        get(client, "cold")
    restore = sdk.RestoreObjectRequest(bucket=BUCKET, key="cold")
    assert client.restore_object(restore).status_code == 202
    assert head(client, "cold").restore == 'ongoing-request="true"'
    with refused(409, "RestoreAlreadyInProgress") as refusal:
        client.restore_object(restore)
    assert refusal.error.message == "The restore operation is in progress."
    put(client, "warm")
    with refused(400, "OperationNotSupported"):
        client.restore_object(sdk.RestoreObjectRequest(bucket=BUCKET, key="warm"))
    with refused(404, "NoSuchKey"):
        client.restore_object(sdk.RestoreObjectRequest(bucket=BUCKET, key="nothing"))


@pytest.mark.parametrize("storage_class", ["Standard", "IA", "Archive", "ColdArchive", "DeepColdArchive"])
def test_storage_classes_are_remembered_and_listed(v4_client, storage_class):
    put(v4_client, "key", storage_class=storage_class)
    assert head(v4_client, "key").storage_class == storage_class
    [entry] = v4_client.list_objects_v2(sdk.ListObjectsV2Request(bucket=BUCKET)).contents
    assert entry.storage_class == storage_class


# Access control lists


@pytest.mark.parametrize("field", ["acl", "object_acl"])
def test_an_acl_is_set_with_the_object_and_changed_later(client, field):
    put(client, "put", **{field: "private"})
    assert acl_of(client, "put") == "private"
    client.put_object_acl(sdk.PutObjectAclRequest(bucket=BUCKET, key="put", **{field: "public-read"}))
    assert acl_of(client, "put") == "public-read"
    append(client, "appended", 0, b"x", **{field: "private"})
    assert acl_of(client, "appended") == "private"
    copy = sdk.CopyObjectRequest(bucket=BUCKET, key="copied", source_key="put", **{field: "default"})
    client.copy_object(copy)
    assert acl_of(client, "copied") == "default"
    client.put_symlink(
        sdk.PutSymlinkRequest(bucket=BUCKET, key="link", symlink_target="put", **{field: "private"})
    )
    assert acl_of(client, "link") == "private"
    with refused(404, "NoSuchKey"):
        acl_of(client, "nothing")


# Tags


def test_tags_are_set_read_replaced_and_deleted(client):
    put(client, "key", tagging="TagA=A&%2B-%3A%2F=%20%2B%E4%B8%AD")
    assert tags_of(client, "key") == {"TagA": "A", "+-:/": " +中"}
    assert head(client, "key").tagging_count == 2
    replaced = sdk.TagSet(tags=[sdk.Tag(key="k1", value="v1"), sdk.Tag(key="k2", value="")])
    client.put_object_tagging(
        sdk.PutObjectTaggingRequest(bucket=BUCKET, key="key", tagging=sdk.Tagging(tag_set=replaced))
    )
    assert tags_of(client, "key") == {"k1": "v1", "k2": ""}
    gone = client.delete_object_tagging(sdk.DeleteObjectTaggingRequest(bucket=BUCKET, key="key"))
    assert gone.status_code == 204
    assert tags_of(client, "key") == {}
    assert head(client, "key").tagging_count is None


@pytest.mark.parametrize(
    "tagging",
    [
        pytest.param("=value", id="no-key"),
        pytest.param("a" * 129 + "=b", id="key-too-long"),
        pytest.param("a=" + "b" * 257, id="value-too-long"),
        pytest.param("%25%40abc=b", id="characters"),
        pytest.param("&".join(f"k{n}=v" for n in range(11)), id="too-many"),
    ],
)
def test_tags_that_oss_does_not_take_are_refused(v4_client, tagging):
    with refused(400, "InvalidTag"):
        put(v4_client, "key", tagging=tagging)
    with refused(404, "NoSuchKey"):
        head(v4_client, "key")
