"""`list_entries` and `delete_objects` of the native client: directories as a file system wants them, and bulk deletion."""

from __future__ import annotations

import time

import pytest

from osstorchconnector.connection import Connection
from osstorchconnector.errors import (
    ConfigError,
    ListingError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
)


@pytest.fixture
def native(site):
    given = site.configured(network={"firstByteSeconds": 1, "completeSeconds": 1})
    return Connection(
        given["endpoint"], given["cred_path"], given["config_path"], None, given["region"]
    ).native()


def answer(*lines):
    return '<?xml version="1.0" encoding="UTF-8"?><DeleteResult>' + "".join(lines) + "</DeleteResult>"


def test_objects_and_common_prefixes_come_together_in_byte_order(site, native):
    site.fill({key: b"x" * len(key) for key in ("d/a", "d/b/1", "d/b/2", "d/b.txt", "d/c", "d/", "e")})
    found = list(native.list_entries("oss://bucket/d/"))
    assert [(key, size) for key, size, _, _ in found] == [
        ("d/", 2),
        ("d/a", 3),
        ("d/b.txt", 7),
        ("d/b/", None),
        ("d/c", 3),
    ]
    now = time.time()
    for _, size, etag, changed in found:
        if size is None:
            assert (etag, changed) == ("", 0)
        else:
            assert etag.startswith('"')
            assert abs(now - changed) < 60


def test_without_a_delimiter_there_are_objects_alone(site, native):
    site.fill({"d/a": b"x", "d/b/1": b"x"})
    assert [entry[:2] for entry in native.list_entries("oss://bucket/d/", None)] == [("d/a", 1), ("d/b/1", 1)]


def test_pages_are_asked_for_as_they_are_needed(site, native):
    site.fill(
        {f"{number:03}/x": b"x" for number in range(30)} | {f"{number:03}": b"x" for number in range(30)}
    )
    entries = native.list_entries("oss://bucket/", page_size=7)
    assert next(entries)[0] == "000"
    assert len(site.oss.requests("ListObjectsV2")) == 1
    assert len(list(entries)) == 59
    assert len(site.oss.requests("ListObjectsV2")) == 9


@pytest.mark.parametrize("fault", ["same", "missing", "not_rising"])
def test_f44_entries_that_repeat_themselves_are_an_error(site, native, fault):
    site.fill({f"p/{number:02}": b"x" for number in range(30)})
    site.oss.rules([{"match": {"op": "ListObjectsV2"}, "action": {"repeat_token": fault}, "times": 100}])
    with pytest.raises(ListingError, match="oss://bucket/p/"):
        list(native.list_entries("oss://bucket/p/", page_size=5))


def test_a_missing_bucket_is_not_an_empty_one(native):
    with pytest.raises(NotFoundError, match="no such bucket"):
        list(native.list_entries("oss://nobody/"))


def test_a_thousand_objects_go_with_each_request(site, native):
    keys = [f"d/{number}" for number in range(1001)]
    site.fill(dict.fromkeys([*keys, "stays"], b""))
    native.delete_objects([f"oss://bucket/{key}" for key in keys])
    assert len(site.oss.requests("DeleteMultipleObjects")) == 2
    assert [key for key, *_ in native.list_entries("oss://bucket/")] == ["stays"]


def test_strange_keys_and_missing_ones_are_deleted_and_nothing_sends_nothing(site, native):
    strange = ["a&b<c>\"'", "weiß/%2F+ ", "line\nbreak\r\t", "新"]
    site.fill(dict.fromkeys(strange, b"x"))
    native.delete_objects([f"oss://bucket/{key}" for key in [*strange, "never was"]])
    assert list(native.list_entries("oss://bucket/")) == []
    native.delete_objects([])
    assert len(site.oss.requests("DeleteMultipleObjects")) == 1


def test_buckets_are_never_mixed(site, native):
    for bucket in ("one", "two"):
        site.fill({"a": b"", "b": b""}, bucket)
    native.delete_objects(["oss://one/a", "oss://two/b"])
    assert [key for key, *_ in native.list_entries("oss://one/")] == ["b"]
    assert [key for key, *_ in native.list_entries("oss://two/")] == ["a"]


def test_a_bucket_is_no_object(native):
    with pytest.raises(ConfigError):
        native.delete_objects(["oss://bucket/"])


def test_a_key_that_is_refused_is_named(site, native):
    refusal = answer(
        "<Deleted><Key>a</Key></Deleted>",
        "<Error><Key>b</Key><Code>AccessDenied</Code><Message>by policy</Message></Error>",
    )
    site.oss.rules([{"match": {"op": "DeleteMultipleObjects"}, "action": {"status": 200, "body": refusal}}])
    with pytest.raises(PermissionDeniedError, match="by policy") as refused:
        native.delete_objects(["oss://bucket/a", "oss://bucket/b"])
    assert (refused.value.uri, refused.value.code) == ("oss://bucket/b", "AccessDenied")
    assert len(site.oss.requests("DeleteMultipleObjects")) == 1


def test_a_key_that_the_answer_leaves_out_is_not_taken_for_deleted(site, native):
    silent = answer("<Deleted><Key>a</Key></Deleted>")
    site.oss.rules([{"match": {"op": "DeleteMultipleObjects"}, "action": {"status": 200, "body": silent}}])
    with pytest.raises(ProtocolError, match='what became of "b"'):
        native.delete_objects(["oss://bucket/a", "oss://bucket/b"])
    site.oss.rules([])
    native.delete_objects(["oss://bucket/a", "oss://bucket/b"])


def test_f26_a_bulk_deletion_is_repeated_as_it_is(site, native):
    site.fill({"a": b"", "b": b""})
    site.oss.rules(
        [{"match": {"op": "DeleteMultipleObjects"}, "action": {"commit_then_status": 503}, "times": 2}]
    )
    native.delete_objects(["oss://bucket/a", "oss://bucket/b"])
    assert len(site.oss.requests("DeleteMultipleObjects")) == 3
    assert list(native.list_entries("oss://bucket/")) == []


def test_f34_a_bulk_deletion_without_the_right_is_refused_at_once(site, native):
    site.oss.rules(
        [{"match": {"op": "DeleteMultipleObjects"}, "action": {"status": 403, "code": "AccessDenied"}}]
    )
    with pytest.raises(PermissionDeniedError, match="oss:DeleteObject"):
        native.delete_objects(["oss://bucket/a"])
    assert len(site.oss.requests("DeleteMultipleObjects")) == 1
