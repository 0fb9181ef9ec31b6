"""`OssClient`: the original's single calls."""

from __future__ import annotations

import errno

import pytest

from osstorchconnector import DataObject, OssClient, new_data_object
from osstorchconnector.errors import ConfigError, NotFoundError, ObjectChangedError


@pytest.fixture
def client(site):
    return OssClient(**site.arguments)


def test_put_then_get_then_head(client, site):
    site.fill({"other": b"x"})
    with client.put_object("bucket", "dir/k") as writer:
        writer.write(b"data")
    with client.get_object("bucket", "dir/k", label="x") as reader:
        assert isinstance(reader, DataObject)
        assert (reader.key, reader.size, reader.label, reader.read()) == ("/bucket/dir/k", 4, "x", b"data")
    head = client.head_object("bucket", "dir/k")
    assert (head.key, head.size) == ("/bucket/dir/k", 4)


@pytest.mark.parametrize("kind", [0, 1, 2])
@pytest.mark.parametrize("size", [0, 4])
def test_size_and_type_never_change_what_is_read(site, client, kind, size):
    site.fill({"k": b"data"})
    assert client.get_object("bucket", "k", size, kind).read() == b"data"


def test_a_missing_object_is_file_not_found_and_a_runtime_error(client, site):
    site.fill({"other": b"x"})
    with pytest.raises(FileNotFoundError) as missing:
        client.head_object("bucket", "k")
    assert isinstance(missing.value, RuntimeError)
    assert missing.value.errno == errno.ENOENT
    reader = client.get_object("bucket", "k")
    with pytest.raises(NotFoundError) as missing:
        reader.read()
    assert reader.err() == errno.ENOENT
    assert missing.value.request_id


def test_head_of_a_directory_is_an_object_of_no_bytes(client, site):
    site.fill({"dir/k": b"x"})
    assert client.head_object("bucket", "dir").size == 0


def test_rename_moves_and_refuses_what_makes_no_sense(client, site):
    site.fill({"a": b"data"})
    client.rename_object("bucket", "a", "bucket", "b")
    assert client.get_object("bucket", "b").read() == b"data"
    with pytest.raises(NotFoundError):
        client.rename_object("bucket", "a", "bucket", "c")
    with pytest.raises(ConfigError, match="same object"):
        client.rename_object("bucket", "b", "bucket", "b")
    assert client.get_object("bucket", "b").read() == b"data"


def test_removing_twice_is_no_error(client, site):
    site.fill({"a": b"data"})
    client.remove_object("bucket", "a")
    client.remove_object("bucket", "a")
    assert list(client.list_objects("bucket")) == []


def test_listings_are_sorted_readable_and_leave_out_empty_objects(client, site):
    site.fill({"p/b": b"b", "p/a": b"a", "p/": b"", "p/empty": b"", "q": b"q"})
    for listed in (client.list_objects("bucket", "p/"), client.list_objects_with_preload("bucket", "p/")):
        found = list(listed)
        assert [item.key for item in found] == ["/bucket/p/a", "/bucket/p/b"]
        assert [item.size for item in found] == [1, 1]
        assert [item.read() for item in found] == [b"a", b"b"]


def test_names_of_every_kind_become_readable(client, site):
    site.fill({"a": b"data"})
    named = [new_data_object("oss://bucket/a", label="x"), "oss://bucket/a", "/bucket/a"]
    for found in (
        list(client.list_objects_from_uris(named)),
        list(client.list_objects_from_uris_with_preload(named)),
    ):
        assert [(item.key, item.read(), item.label) for item in found] == [
            ("/bucket/a", b"data", "x"),
            ("/bucket/a", b"data", ""),
            ("/bucket/a", b"data", ""),
        ]


def test_failed_names_are_delivered_with_their_error_when_wanted(client, site):
    site.fill({"a": b"data"})
    found = list(client.list_objects_from_uris(["oss://bucket/a", "oss://bucket/gone"], include_errors=True))
    assert [item.err() for item in found] == [0, errno.ENOENT]
    assert "oss://bucket/gone" in found[1].error_msg()


def test_the_originals_positional_arguments_are_accepted(site):
    site.fill({"a": b"data"})
    given = site.arguments
    client = OssClient(
        given["endpoint"], given["cred_path"], given["config_path"], "uuid", 3, 8, None, given["region"]
    )
    assert client.get_object("bucket", "a").read() == b"data"


def test_empty_names_are_refused_before_anything_is_sent(client, site):
    for use in (
        lambda: client.get_object("", "k"),
        lambda: client.put_object("bucket", ""),
        lambda: list(client.list_objects("")),
    ):
        with pytest.raises(ValueError, match="bucket"):
            use()
    assert site.oss.requests() == []


def test_archives_are_refused_with_one_line(client):
    for use in (
        lambda: client.get_object("bucket", "k", 0, 3),
        lambda: client.list_objects_from_tar("b", "t", "i"),
        lambda: client.gen_tar_archive("t", "i", "s"),
    ):
        with pytest.raises(NotImplementedError, match="tar archives"):
            use()


def test_stats_count_requests(client, site):
    site.fill({"a": b"data"})
    client.get_object("bucket", "a").read()
    stats = client.stats()
    assert stats["requests"] >= 1
    assert stats["bytes_received"] == 4


def replaced_after_listing(client, site, old, new):
    site.fill({"a": old})
    (found,) = client.list_objects("bucket")
    site.fill({"a": new})
    return found


@pytest.mark.parametrize(
    "sizes", [(100, 340), (340, 100), (100, 3 << 20), (3 << 20, 5 << 20), (5 << 20, 100)]
)
def test_f38_an_object_replaced_after_it_was_listed_is_read_whole_as_the_new_one(sizes, client, site):
    old, new = (bytes([number]) * size for number, size in enumerate(sizes))
    found = replaced_after_listing(client, site, old, new)
    assert found.read() == new
    assert found.size == len(new)
    assert found.seek(-5, 2) == len(new) - 5
    buffer = bytearray(6 << 20)
    found = replaced_after_listing(client, site, old, new)
    assert found.readinto(buffer) == len(new)
    assert buffer[: len(new)] == new


def test_f38_an_object_replaced_after_its_size_was_told_is_an_error(client, site):
    found = replaced_after_listing(client, site, b"old", b"newer")
    assert found.size == 3
    with pytest.raises(ObjectChangedError):
        found.read()


@pytest.mark.parametrize("size", [1, 3, 100, 1 << 40])
def test_a_size_that_was_given_is_never_believed(size, client, site):
    site.fill({"a": b"data"})
    for found in (
        client.get_object("bucket", "a", size),
        *client.list_objects_from_uris([new_data_object("/bucket/a", size)]),
        *client.list_objects_from_uris([new_data_object("/bucket/a", size)], include_errors=True),
    ):
        assert (found.seek(-1, 2), found.read(), found.size) == (3, b"a", 4)
