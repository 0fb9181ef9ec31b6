"""The official SDK on buckets: making, describing, counting, versioning, deleting them."""

from __future__ import annotations

import uuid

import alibabacloud_oss_v2 as sdk
import pytest
from refusals import refused
from witness_data import BUCKET


@pytest.fixture
def name():
    """Give the name of a bucket that no other test has made; the emulator keeps buckets."""
    return f"bucket-{uuid.uuid4().hex[:12]}"


def make(client, name, storage_class="IA", acl="private"):
    configuration = sdk.CreateBucketConfiguration(storage_class=storage_class)
    request = sdk.PutBucketRequest(bucket=name, acl=acl, create_bucket_configuration=configuration)
    return client.put_bucket(request)


def put(client, name, key, data):
    return client.put_object(sdk.PutObjectRequest(bucket=name, key=key, body=data))


def set_versioning(client, name, status):
    configuration = sdk.VersioningConfiguration(status=status)
    client.put_bucket_versioning(
        sdk.PutBucketVersioningRequest(bucket=name, versioning_configuration=configuration)
    )


def test_a_bucket_is_made_described_and_deleted(client, name):
    made = make(client, name)
    assert (made.status_code, made.status, len(made.request_id)) == (200, "OK", 24)
    info = client.get_bucket_info(sdk.GetBucketInfoRequest(bucket=name)).bucket_info
    assert (info.name, info.acl, info.storage_class) == (name, "private", "IA")
    assert (info.location, info.data_redundancy_type) == ("oss-cn-local", "LRS")
    assert (info.access_monitor, info.cross_region_replication) == ("Disabled", "Disabled")
    assert info.block_public_access is False
    assert info.owner.id
    assert info.owner.display_name
    for field in ("resource_group_id", "creation_date", "extranet_endpoint", "intranet_endpoint"):
        assert getattr(info, field), field
    assert info.transfer_acceleration is not None
    assert info.sse_rule.sse_algorithm is not None
    location = client.get_bucket_location(sdk.GetBucketLocationRequest(bucket=name))
    assert location.location == "oss-cn-local"
    assert client.delete_bucket(sdk.DeleteBucketRequest(bucket=name)).status_code == 204
    with refused(404, "NoSuchBucket"):
        client.get_bucket_info(sdk.GetBucketInfoRequest(bucket=name))


def test_a_bucket_with_objects_or_uploads_is_not_deleted(client, name):
    make(client, name)
    put(client, name, "key", b"x")
    with refused(409, "BucketNotEmpty"):
        client.delete_bucket(sdk.DeleteBucketRequest(bucket=name))
    client.delete_object(sdk.DeleteObjectRequest(bucket=name, key="key"))
    upload = client.initiate_multipart_upload(sdk.InitiateMultipartUploadRequest(bucket=name, key="key"))
    with refused(409, "BucketNotEmpty"):
        client.delete_bucket(sdk.DeleteBucketRequest(bucket=name))
    client.abort_multipart_upload(
        sdk.AbortMultipartUploadRequest(bucket=name, key="key", upload_id=upload.upload_id)
    )
    client.delete_bucket(sdk.DeleteBucketRequest(bucket=name))


def test_an_acl_is_read_and_changed(client, name):
    make(client, name)
    request = sdk.GetBucketAclRequest(bucket=name)
    assert client.get_bucket_acl(request).acl == "private"
    client.put_bucket_acl(sdk.PutBucketAclRequest(bucket=name, acl="public-read-write"))
    assert client.get_bucket_acl(request).acl == "public-read-write"
    assert client.get_bucket_acl(request).owner.id
    with refused(404, "NoSuchBucket"):
        client.get_bucket_acl(sdk.GetBucketAclRequest(bucket="no-such-bucket"))


COUNTERS = [
    "storage",
    "object_count",
    "multi_part_upload_count",
    "live_channel_count",
    "standard_storage",
    "standard_object_count",
    "infrequent_access_storage",
    "infrequent_access_real_storage",
    "infrequent_access_object_count",
    "archive_storage",
    "archive_real_storage",
    "archive_object_count",
    "cold_archive_storage",
    "cold_archive_real_storage",
    "cold_archive_object_count",
    "deep_cold_archive_storage",
    "deep_cold_archive_real_storage",
    "deep_cold_archive_object_count",
    "delete_marker_count",
]


def test_a_bucket_is_counted(client, name):
    make(client, name, storage_class="Standard")
    request = sdk.GetBucketStatRequest(bucket=name)
    empty = client.get_bucket_stat(request)
    assert {name: getattr(empty, name) for name in COUNTERS} == dict.fromkeys(COUNTERS, 0)
    assert empty.last_modified_time == 0
    put(client, name, "a", b"12345")
    put(client, name, "b", b"1")
    client.initiate_multipart_upload(sdk.InitiateMultipartUploadRequest(bucket=name, key="c"))
    counted = client.get_bucket_stat(request)
    assert (counted.storage, counted.object_count, counted.multi_part_upload_count) == (6, 2, 1)
    assert (counted.standard_storage, counted.standard_object_count) == (6, 2)


def test_making_a_bucket_again_changes_nothing_in_it(client, name):
    make(client, name, storage_class="Standard")
    put(client, name, "kept", b"x")
    assert make(client, name, storage_class="Standard").status_code == 200
    assert client.is_object_exist(name, "kept")


@pytest.mark.parametrize("bad", ["ab", "-begins", "ends-", "Upper", "a" * 64, "under_score"])
def test_a_bad_name_is_refused(v4_client, bad, monkeypatch):
    with pytest.raises(sdk.exceptions.OperationError):
        v4_client.put_bucket(sdk.PutBucketRequest(bucket=bad))
    # The SDK checks names itself; without that, the service has to.
    monkeypatch.setattr(sdk.validation, "is_valid_bucket_name", lambda _: True)
    with refused(400, "InvalidBucketName"):
        v4_client.put_bucket(sdk.PutBucketRequest(bucket=bad))


def test_regions_are_described(v4_client):
    listed = v4_client.describe_regions(sdk.DescribeRegionsRequest()).region_info
    assert len(listed) > 1
    [one] = v4_client.describe_regions(sdk.DescribeRegionsRequest(regions="oss-cn-hangzhou")).region_info
    assert (one.region, one.internet_endpoint) == ("oss-cn-hangzhou", "oss-cn-hangzhou.aliyuncs.com")
    assert one.internal_endpoint == "oss-cn-hangzhou-internal.aliyuncs.com"
    assert one.accelerate_endpoint == "oss-accelerate.aliyuncs.com"


# Versions


def test_versions_are_kept_marked_and_deleted_one_by_one(client, name):
    make(client, name)
    state = sdk.GetBucketVersioningRequest(bucket=name)
    assert client.get_bucket_versioning(state).version_status in (None, "")
    set_versioning(client, name, "Enabled")
    assert client.get_bucket_versioning(state).version_status == "Enabled"
    ids = [put(client, name, "key", data).version_id for data in (b"one", b"two", b"three")]
    assert len(set(ids)) == 3
    read = client.get_object(sdk.GetObjectRequest(bucket=name, key="key", version_id=ids[0]))
    assert (read.body.content, read.version_id) == (b"one", ids[0])
    marker = client.delete_object(sdk.DeleteObjectRequest(bucket=name, key="key"))
    assert marker.delete_marker is True
    with refused(404, "NoSuchKey"):
        client.get_object(sdk.GetObjectRequest(bucket=name, key="key"))
    request = sdk.ListObjectVersionsRequest(bucket=name)
    page = client.list_object_versions(request)
    assert [(entry.version_id, entry.is_latest) for entry in page.version] == [(i, False) for i in ids[::-1]]
    assert [(entry.version_id, entry.is_latest) for entry in page.delete_marker] == [
        (marker.version_id, True)
    ]
    paged = client.list_object_versions_paginator(limit=1).iter_page(request)
    seen = [entry.version_id for page in paged for entry in (page.version or []) + (page.delete_marker or [])]
    assert seen == [marker.version_id, *ids[::-1]]

    client.delete_object(sdk.DeleteObjectRequest(bucket=name, key="key", version_id=marker.version_id))
    assert client.get_object(sdk.GetObjectRequest(bucket=name, key="key")).body.content == b"three"
    answer = client.delete_multiple_objects(
        sdk.DeleteMultipleObjectsRequest(
            bucket=name, objects=[sdk.DeleteObject(key="key", version_id=i) for i in ids]
        )
    )
    assert [entry.version_id for entry in answer.deleted_objects] == ids
    assert client.list_object_versions(request).version is None
    client.delete_bucket(sdk.DeleteBucketRequest(bucket=name))


def test_forbidding_to_overwrite_means_nothing_where_versions_are_kept(client, name):
    make(client, name)
    set_versioning(client, name, "Enabled")
    for data in (b"one", b"two"):
        client.put_object(sdk.PutObjectRequest(bucket=name, key="key", body=data, forbid_overwrite=True))
    assert client.get_object(sdk.GetObjectRequest(bucket=name, key="key")).body.content == b"two"


def test_the_suite_of_the_sdk_can_clean_up_after_itself(client, name):
    """It finds buckets by prefix, and reaches each one at the endpoint that its listing names."""
    make(client, name)
    put(client, name, "key", b"x")
    [listed] = client.list_buckets(sdk.ListBucketsRequest(prefix=name)).buckets
    assert BUCKET not in listed.name
    config = sdk.config.load_default()
    config.credentials_provider = client._client._options.credentials_provider
    config.region, config.endpoint = listed.region, listed.extranet_endpoint
    again = sdk.Client(config)
    again.delete_object(sdk.DeleteObjectRequest(bucket=name, key="key"))
    assert again.delete_bucket(sdk.DeleteBucketRequest(bucket=name)).status_code == 204
