"""Copies within OSS: by one request, and above 1 GB in parts of one version."""

from __future__ import annotations

import pytest

from osstorchconnector.connection import Connection
from osstorchconnector.errors import NotFoundError, ObjectChangedError, UploadError

GIGABYTE = 1_000_000_000


@pytest.fixture
def native(site):
    return Connection(**site.arguments, cred_provider=None).native()


@pytest.fixture
def large(site):
    """Give an object beyond what one CopyObject takes; the emulator keeps no byte of it."""
    site.oss.fill("bucket", "large/", 1, GIGABYTE + 1)
    return "oss://bucket/large/00000000"


def operations(site):
    return [entry["operation"] for entry in site.oss.requests()]


def test_a_small_object_is_copied_by_one_request_when_its_size_is_known(site, native):
    site.fill({"a": b"data"})
    native.copy_object("oss://bucket/a", "oss://bucket/b", 4)
    assert operations(site) == ["CopyObject"]
    native.copy_object("oss://bucket/a", "oss://bucket/c")
    assert operations(site) == ["CopyObject", "HeadObject", "CopyObject"]
    assert [native.get_object(f"oss://bucket/{key}") for key in "abc"] == [b"data"] * 3
    with pytest.raises(NotFoundError, match="oss://bucket/none"):
        native.copy_object("oss://bucket/none", "oss://bucket/b")
    assert native.get_object("oss://bucket/b") == b"data"


def test_a_large_object_is_copied_in_parts(site, native, large):
    native.copy_object(large, "oss://bucket/copy")
    done = operations(site)
    assert (done.count("UploadPartCopy"), done.count("CompleteMultipartUpload")) == (8, 1)
    source, copy = native.head_object(large), native.head_object("oss://bucket/copy")
    assert (copy.size, copy.crc64) == (GIGABYTE + 1, source.crc64)


def test_f38_a_large_object_that_changes_under_the_copy_is_not_copied(site, native, large):
    change = {
        "match": {"op": "UploadPartCopy", "nth": [3]},
        "action": {"status": 412, "code": "PreconditionFailed"},
    }
    site.oss.rules([change])
    with pytest.raises(ObjectChangedError, match=large):
        native.copy_object(large, "oss://bucket/copy")
    assert "AbortMultipartUpload" in operations(site)
    with pytest.raises(NotFoundError):
        native.head_object("oss://bucket/copy")


def test_f57_a_lost_answer_to_the_completion_of_a_copy_is_settled(site, native, large):
    site.oss.rules(
        [{"match": {"op": "CompleteMultipartUpload"}, "action": {"commit_then_reset": True}, "times": 1}]
    )
    native.copy_object(large, "oss://bucket/copy")
    assert native.head_object("oss://bucket/copy").size == GIGABYTE + 1


def test_a_copy_that_cannot_be_completed_leaves_the_target_and_no_upload(site, native, large):
    site.fill({"copy": b"old"})
    refusal = {"status": 400, "code": "InvalidPart"}
    site.oss.rules([{"match": {"op": "CompleteMultipartUpload"}, "action": refusal, "times": 1}])
    with pytest.raises(UploadError, match="nothing was published") as failed:
        native.copy_object(large, "oss://bucket/copy")
    assert failed.value.state == "not_committed"
    assert operations(site)[-1] == "AbortMultipartUpload"
    assert native.get_object("oss://bucket/copy") == b"old"


@pytest.mark.parametrize("may_abort", [True, False])
def test_f57_a_completion_of_a_copy_that_was_met_with_silence_is_called_back(may_abort, site, native, large):
    site.fill({"copy": b"old"})
    denied = {"status": 403, "code": "AccessDenied"}
    site.oss.rules(
        [
            {
                "match": {"op": "CompleteMultipartUpload", "nth": 1},
                "action": {"fail_without_commit": "reset"},
            },
            {"match": {"op": "CompleteMultipartUpload"}, "action": denied},
            *([] if may_abort else [{"match": {"op": "AbortMultipartUpload"}, "action": denied}]),
        ]
    )
    with pytest.raises(UploadError) as failed:
        native.copy_object(large, "oss://bucket/copy")
    assert failed.value.state == ("not_committed" if may_abort else "unknown")
    assert operations(site).count("AbortMultipartUpload") == 1
    assert native.get_object("oss://bucket/copy") == b"old"
