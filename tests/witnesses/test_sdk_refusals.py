"""The official SDK where it is refused: who may, which key, which region, which hour; and what it is told."""

from __future__ import annotations

import alibabacloud_oss_v2 as sdk
import pytest
from refusals import refused
from witness_data import BUCKET

KEY = "key"
UPLOAD = {"key": KEY, "upload_id": "no-upload"}

# Every operation of the SDK that the emulator knows, by the words in which the SDK reports it.
REQUESTS = {
    "PutObject:PUT": lambda c, b: c.put_object(sdk.PutObjectRequest(bucket=b, key=KEY, body=b"x")),
    "GetObject:GET": lambda c, b: c.get_object(sdk.GetObjectRequest(bucket=b, key=KEY)),
    "HeadObject:HEAD": lambda c, b: c.head_object(sdk.HeadObjectRequest(bucket=b, key=KEY)),
    "GetObjectMeta:HEAD": lambda c, b: c.get_object_meta(sdk.GetObjectMetaRequest(bucket=b, key=KEY)),
    "AppendObject:POST": lambda c, b: c.append_object(
        sdk.AppendObjectRequest(bucket=b, key=KEY, position=0, body=b"x")
    ),
    "CopyObject:PUT": lambda c, b: c.copy_object(sdk.CopyObjectRequest(bucket=b, key=KEY, source_key="s")),
    "DeleteObject:DELETE": lambda c, b: c.delete_object(sdk.DeleteObjectRequest(bucket=b, key=KEY)),
    "DeleteMultipleObjects:POST": lambda c, b: c.delete_multiple_objects(
        sdk.DeleteMultipleObjectsRequest(bucket=b, objects=[sdk.DeleteObject(key=KEY)])
    ),
    "GetObjectAcl:GET": lambda c, b: c.get_object_acl(sdk.GetObjectAclRequest(bucket=b, key=KEY)),
    "PutObjectAcl:PUT": lambda c, b: c.put_object_acl(
        sdk.PutObjectAclRequest(bucket=b, key=KEY, acl="private")
    ),
    "GetObjectTagging:GET": lambda c, b: c.get_object_tagging(sdk.GetObjectTaggingRequest(bucket=b, key=KEY)),
    "RestoreObject:POST": lambda c, b: c.restore_object(sdk.RestoreObjectRequest(bucket=b, key=KEY)),
    "PutSymlink:PUT": lambda c, b: c.put_symlink(
        sdk.PutSymlinkRequest(bucket=b, key=KEY, symlink_target="t")
    ),
    "GetSymlink:GET": lambda c, b: c.get_symlink(sdk.GetSymlinkRequest(bucket=b, key=KEY)),
    "InitiateMultipartUpload:POST": lambda c, b: c.initiate_multipart_upload(
        sdk.InitiateMultipartUploadRequest(bucket=b, key=KEY)
    ),
    "UploadPart:PUT": lambda c, b: c.upload_part(
        sdk.UploadPartRequest(bucket=b, **UPLOAD, part_number=1, body=b"x")
    ),
    "UploadPartCopy:PUT": lambda c, b: c.upload_part_copy(
        sdk.UploadPartCopyRequest(bucket=b, **UPLOAD, part_number=1, source_key="s")
    ),
    "CompleteMultipartUpload:POST": lambda c, b: c.complete_multipart_upload(
        sdk.CompleteMultipartUploadRequest(bucket=b, **UPLOAD, complete_all="yes")
    ),
    "AbortMultipartUpload:DELETE": lambda c, b: c.abort_multipart_upload(
        sdk.AbortMultipartUploadRequest(bucket=b, **UPLOAD)
    ),
    "ListParts:GET": lambda c, b: c.list_parts(sdk.ListPartsRequest(bucket=b, **UPLOAD)),
    "ListMultipartUploads:GET": lambda c, b: c.list_multipart_uploads(
        sdk.ListMultipartUploadsRequest(bucket=b)
    ),
    "ListObjects:GET": lambda c, b: c.list_objects(sdk.ListObjectsRequest(bucket=b)),
    "ListObjectsV2:GET": lambda c, b: c.list_objects_v2(sdk.ListObjectsV2Request(bucket=b)),
    "ListObjectVersions:GET": lambda c, b: c.list_object_versions(sdk.ListObjectVersionsRequest(bucket=b)),
    "GetBucketStat:GET": lambda c, b: c.get_bucket_stat(sdk.GetBucketStatRequest(bucket=b)),
    "GetBucketLocation:GET": lambda c, b: c.get_bucket_location(sdk.GetBucketLocationRequest(bucket=b)),
    "GetBucketInfo:GET": lambda c, b: c.get_bucket_info(sdk.GetBucketInfoRequest(bucket=b)),
    "GetBucketVersioning:GET": lambda c, b: c.get_bucket_versioning(sdk.GetBucketVersioningRequest(bucket=b)),
}


@pytest.mark.usefixtures("v4_client")
@pytest.mark.parametrize("name", REQUESTS)
def test_an_unknown_key_id_is_refused_in_every_operation(name, make_client):
    operation, method = name.split(":")
    with refused(403, "InvalidAccessKeyId") as refusal:
        REQUESTS[name](make_client(access_key_id="stranger"), BUCKET)
    assert operation in refusal.text
    assert f"Endpoint: {method}" in refusal.text


@pytest.mark.parametrize("name", REQUESTS)
def test_a_missing_bucket_is_named_before_the_key_id_is_looked_at(name, make_client):
    with refused(404, "NoSuchBucket"):
        REQUESTS[name](make_client(), "no-such-bucket")
    with refused(404, "NoSuchBucket"):
        REQUESTS[name](make_client(access_key_id="stranger"), "no-such-bucket")


def test_only_making_a_bucket_asks_for_the_key_id_first(make_client):
    stranger = make_client(access_key_id="stranger")
    with refused(403, "InvalidAccessKeyId"):
        stranger.put_bucket(sdk.PutBucketRequest(bucket=BUCKET))
    with refused(403, "InvalidAccessKeyId"):
        stranger.put_bucket_acl(sdk.PutBucketAclRequest(bucket=BUCKET, acl="private"))
    with refused(403, "InvalidAccessKeyId"):
        stranger.list_buckets(sdk.ListBucketsRequest())


@pytest.mark.parametrize(
    "name",
    ["GetObject:GET", "HeadObject:HEAD", "GetObjectMeta:HEAD", "GetObjectAcl:GET", "CopyObject:PUT"],
)
def test_a_missing_key_is_said_so_on_head_too(name, client):
    with refused(404, "NoSuchKey") as refusal:
        REQUESTS[name](client, BUCKET)
    assert refusal.error.message
    assert refusal.error.ec
    assert refusal.error.headers["x-oss-request-id"] == refusal.error.request_id


@pytest.mark.usefixtures("v4_client")
def test_a_wrong_secret_is_answered_with_the_string_to_sign(make_client):
    for setting in ("v4-path", "v4-virtual", "v1-path", "v1-virtual"):
        wrong = make_client(setting, access_key_secret="wrong")
        with refused(403, "SignatureDoesNotMatch") as refusal:
            REQUESTS["GetObject:GET"](wrong, BUCKET)
        fields = refusal.error.error_fileds
        assert fields["StringToSign"]
        assert fields["SignatureProvided"]
        with refused(403, "SignatureDoesNotMatch"):
            REQUESTS["HeadObject:HEAD"](wrong, BUCKET)


@pytest.mark.usefixtures("v4_client")
def test_nobody_in_particular_is_denied(make_client):
    nobody = make_client(anonymous=True)
    for name in ("GetObject:GET", "HeadObject:HEAD", "PutObject:PUT", "ListObjectsV2:GET"):
        with refused(403, "AccessDenied"):
            REQUESTS[name](nobody, BUCKET)


def test_nobody_in_particular_may_read_what_is_public(v4_client, make_client):
    v4_client.put_object(sdk.PutObjectRequest(bucket=BUCKET, key=KEY, body=b"public", acl="public-read"))
    v4_client.put_object(sdk.PutObjectRequest(bucket=BUCKET, key="private", body=b"x"))
    nobody = make_client(anonymous=True)
    assert nobody.get_object(sdk.GetObjectRequest(bucket=BUCKET, key=KEY)).body.content == b"public"
    with refused(403, "AccessDenied"):
        nobody.get_object(sdk.GetObjectRequest(bucket=BUCKET, key="private"))


@pytest.mark.usefixtures("v4_client")
@pytest.mark.parametrize("region", ["cn-elsewhere", "oss-cn-local", ""])
def test_a_signature_for_another_region_is_refused(make_client, region):
    with pytest.raises(sdk.exceptions.OperationError) as raised:
        REQUESTS["GetObject:GET"](make_client(region=region), BUCKET)
    error = raised.value.unwrap()
    assert error.status_code == 403
    assert error.ec in ("0002-00000226", "0002-00000228")


@pytest.mark.parametrize("offset", [-1200, 1200])
def test_a_clock_that_is_off_is_told_the_time(client, oss_emulator, offset):
    oss_emulator.clock(offset)
    try:
        with refused(403, "RequestTimeTooSkewed") as refusal:
            REQUESTS["HeadObject:HEAD"](client, BUCKET)
        assert refusal.error.headers["Date"]
    finally:
        oss_emulator.clock(0)
    with refused(404, "NoSuchKey"):
        REQUESTS["HeadObject:HEAD"](client, BUCKET)


@pytest.mark.usefixtures("v4_client")
def test_a_token_is_taken_until_it_expires(make_client, oss_emulator):
    keys = {"access_key_id": "sts-id", "access_key_secret": "sts-secret", "security_token": "token"}
    oss_emulator.accept(**keys)
    for setting in ("v4-path", "v4-virtual"):
        with refused(404, "NoSuchKey"):
            REQUESTS["GetObject:GET"](make_client(setting, **keys), BUCKET)
    with refused(403, "InvalidSecurityToken"):
        REQUESTS["GetObject:GET"](make_client(**{**keys, "security_token": "another"}), BUCKET)
    oss_emulator.expire(security_token="token")
    with refused(403, "SecurityTokenExpired"):
        REQUESTS["GetObject:GET"](make_client(**keys), BUCKET)


def test_an_error_of_the_service_is_retried_and_survived(v4_client, oss_emulator):
    action = {"status": 503, "code": "ServiceUnavailable"}
    oss_emulator.rules([{"match": {"op": "PutObject"}, "action": action, "times": 2}])
    assert REQUESTS["PutObject:PUT"](v4_client, BUCKET).status_code == 200
    statuses = [request["status"] for request in oss_emulator.requests("PutObject")]
    assert statuses == [503, 503, 200]
