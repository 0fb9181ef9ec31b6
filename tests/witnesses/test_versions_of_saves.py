"""In a bucket that keeps versions, the official SDK sees what a save whose checksum was wrong leaves: nothing."""

from __future__ import annotations

import alibabacloud_oss_v2 as sdk
import pytest
from witness_data import BUCKET

from osstorchconnector import OssCheckpoint
from osstorchconnector.errors import UploadError

MIB = 1 << 20
KEY = "ckpt/e0"
OLD = b"the version before"


def keep_versions(v4_client, bucket):
    """Switch versioning on."""
    versioning = sdk.VersioningConfiguration(status="Enabled")
    v4_client.put_bucket_versioning(
        sdk.PutBucketVersioningRequest(bucket=bucket, versioning_configuration=versioning)
    )


SIZES = pytest.mark.parametrize("size", [1000, 3 * MIB], ids=["one put", "in parts"])


@SIZES
def test_if_absent_says_that_it_had_no_effect(size, v4_client, oss_emulator, tmp_path, caplog):
    config = oss_emulator.write_config(tmp_path, {"checkpointConfig": {"uploadIoSizeMB": 1}})
    saving = OssCheckpoint(**oss_emulator.arguments(), config_path=config)
    bucket = f"absent-{size}"
    v4_client.put_bucket(sdk.PutBucketRequest(bucket=bucket))

    def save(key):
        with saving.writer(f"oss://{bucket}/{key}", if_absent=True) as writer:
            writer.write(bytes(size))

    save("before")
    assert "if_absent" not in caplog.text
    keep_versions(v4_client, bucket)
    for _ in range(2):
        save(KEY)
    warned = [record.getMessage() for record in caplog.records if "if_absent" in record.getMessage()]
    publishing = "PutObject" if size < MIB else "CompleteMultipartUpload"
    assert len(warned) == 2
    assert warned[0].startswith(f"{publishing} oss://{bucket}/{KEY}: the bucket keeps versions")


@SIZES
@pytest.mark.parametrize("can_delete", [True, False], ids=["deleted", "deletion refused"])
def test_f19_a_wrong_version_alone_is_deleted_and_the_one_before_is_current_again(
    size, can_delete, v4_client, oss_emulator, tmp_path
):
    keep_versions(v4_client, BUCKET)
    before = v4_client.put_object(sdk.PutObjectRequest(bucket=BUCKET, key=KEY, body=OLD)).version_id
    config = oss_emulator.write_config(tmp_path, {"checkpointConfig": {"uploadIoSizeMB": 1}})
    saving = OssCheckpoint(**oss_emulator.arguments(), config_path=config)
    publishing = "PutObject" if size < MIB else "CompleteMultipartUpload"
    rules = [{"match": {"op": publishing}, "action": {"wrong_crc": True}}]
    if not can_delete:
        rules.append({"match": {"op": "DeleteObject"}, "action": {"status": 403, "code": "AccessDenied"}})
    oss_emulator.rules(rules)

    def save():
        with saving.writer(f"oss://{BUCKET}/{KEY}") as writer:
            writer.write(bytes(size))

    with pytest.raises(UploadError) as failed:
        save()
    oss_emulator.rules([])
    assert failed.value.state == "committed"
    assert ("that version was deleted" in str(failed.value)) == can_delete
    page = v4_client.list_object_versions(sdk.ListObjectVersionsRequest(bucket=BUCKET))
    versions = [entry.version_id for entry in page.version]
    assert (versions == [before]) == can_delete
    # A marker would hide the version before.
    assert page.delete_marker is None
    current = v4_client.get_object(sdk.GetObjectRequest(bucket=BUCKET, key=KEY)).body.content
    assert (current == OLD) == can_delete
