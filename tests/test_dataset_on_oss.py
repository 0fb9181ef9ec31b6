"""Datasets over the wire: which objects, in which order, with how many requests."""

from __future__ import annotations

import logging
import pickle
import socket
import time

import numpy as np
import pytest

from osstorchconnector import OssIterableDataset, OssMapDataset, imagenet_manifest_parser, new_data_object
from osstorchconnector.errors import (
    ConfigError,
    ConnectionFailedError,
    EmptyDatasetError,
    NotFoundError,
    PermissionDeniedError,
)

KINDS = [OssIterableDataset, OssMapDataset]
OBJECTS = {f"p/{number:03}": b"%d" % number * number for number in range(1, 40)}


class Provider:
    """A user's provider; pickled by reference, keys and all, as users do."""

    def __init__(self, key_id, secret):
        self.access_key_id, self.access_key_secret, self.security_token = key_id, secret, None

    def get_credentials(self):
        return self


def split_on_spaces(reader):
    for line in reader.read().decode("utf-8").strip().split("\n"):
        key, _, label = line.partition(" ")
        yield key, label


@pytest.mark.parametrize("kind", KINDS)
def test_a_prefix_is_delivered_in_byte_order_with_one_listing_and_one_get_each(kind, site):
    site.fill({**OBJECTS, "p2/other": b"matches p", "q/not": b"x"})
    dataset = kind.from_prefix("oss://bucket/p", **site.arguments)
    expected = {f"/bucket/{key}": data for key, data in OBJECTS.items()} | {"/bucket/p2/other": b"matches p"}
    for _ in range(2):
        delivered = [(sample.key, sample.size, sample.read()) for sample in dataset]
        assert [key for key, _, _ in delivered] == sorted(expected)
        assert all(expected[key] == data and size == len(data) for key, size, data in delivered)
    assert len(site.oss.requests("ListObjectsV2")) == 1
    site.assert_read(2 * len(expected), dataset.stats()["hedges_sent"])


@pytest.mark.parametrize("kind", KINDS)
def test_making_a_dataset_sends_nothing(kind, site):
    kind.from_prefix("oss://bucket/p", **site.arguments)
    kind.from_objects(["oss://bucket/a"], **site.arguments)
    assert site.oss.requests() == []


@pytest.mark.parametrize("kind", KINDS)
def test_named_objects_know_their_size_before_they_are_read(kind, site):
    site.fill({"a": b"data", "empty": b"", "dir/": b""})
    uris = ["oss://bucket/empty", "/bucket/a", "oss://bucket/a", "oss://bucket/dir/"]
    dataset = kind.from_objects(uris, **site.arguments)
    assert [(s.key, s.size, s.label) for s in dataset] == [
        ("/bucket/empty", 0, ""),
        ("/bucket/a", 4, ""),
        ("/bucket/a", 4, ""),
        ("/bucket/dir/", 0, ""),
    ]
    assert [sample.read() for sample in dataset] == [b"", b"data", b"data", b""]
    assert site.oss.requests("ListObjectsV2") == []


@pytest.mark.parametrize("kind", KINDS)
def test_f53_a_prefix_leaves_out_empty_objects_unless_asked(kind, site, caplog):
    caplog.set_level(logging.INFO, "osstorchconnector")
    site.fill({"p/": b"", "p/empty": b"", "p/full": b"x", "p/sub/": b""})
    assert [sample.key for sample in kind.from_prefix("oss://bucket/p/", **site.arguments)] == [
        "/bucket/p/full"
    ]
    assert len([record for record in caplog.records if "3 zero-byte objects left out" in record.message]) == 1
    wide = kind.from_prefix("oss://bucket/p/", include_empty=True, **site.arguments)
    assert [(sample.key, sample.read()) for sample in wide] == [
        ("/bucket/p/empty", b""),
        ("/bucket/p/full", b"x"),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_f52_an_empty_prefix_is_an_error_unless_allowed(kind, site):
    site.fill({"other": b"x", "only/": b""})
    with pytest.raises(EmptyDatasetError, match="oss://bucket/p/") as empty:
        next(iter(kind.from_prefix("oss://bucket/p/", **site.arguments)))
    assert isinstance(empty.value, FileNotFoundError)
    with pytest.raises(EmptyDatasetError, match="only 1 zero-byte objects"):
        kind.from_prefix("oss://bucket/only", **site.arguments).prepare()
    assert list(kind.from_prefix("oss://bucket/p/", allow_empty=True, **site.arguments)) == []
    assert [s.key for s in kind.from_prefix("oss://bucket/other", **site.arguments)] == ["/bucket/other"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_bucket_is_not_an_empty_dataset(kind, site):
    with pytest.raises(NotFoundError) as missing:
        kind.from_prefix("oss://no-such-bucket/p/", **site.arguments).prepare()
    assert missing.value.code == "NoSuchBucket"


@pytest.mark.parametrize("kind", KINDS)
def test_an_unreachable_endpoint_is_a_connection_error_and_never_an_empty_epoch(kind, site):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
    arguments = {**site.configured(network={"firstContactSeconds": 0.5}), "endpoint": endpoint}
    for dataset in (
        kind.from_prefix("oss://bucket/p/", **arguments),
        kind.from_objects(["oss://bucket/a"], on_missing="skip", **arguments),
    ):
        with pytest.raises(ConnectionFailedError):
            list(dataset)


def test_f42_missing_objects_are_errors_by_default(site):
    uris = [*site.fill({"a": b"1"}), "oss://bucket/gone"]
    samples = iter(OssIterableDataset.from_objects(uris, **site.arguments))
    assert next(samples).read() == b"1"
    with pytest.raises(NotFoundError, match='on_missing="skip"') as missing:
        next(samples)
    assert missing.value.uri.startswith("oss://bucket/gone")
    assert missing.value.request_id
    images = OssMapDataset.from_objects(uris, **site.arguments)
    for use in (lambda: images[1], lambda: images.__getitems__([0, 1])):
        with pytest.raises(FileNotFoundError, match='on_missing="skip"'):
            use()


def test_f42_missing_objects_can_be_skipped_and_are_counted(site):
    uris = [*site.fill({"a": b"1", "b": b"2"}), "oss://bucket/gone"]
    seen = []
    dataset = OssIterableDataset.from_objects(
        uris, transform=seen.append, on_missing="skip", **site.arguments
    )
    assert len(list(dataset)) == 2
    assert None not in seen
    assert dataset.stats()["dataset_missing_skipped"] == 1
    images = OssMapDataset.from_objects(uris, on_missing="skip", **site.arguments)
    assert len(images) == 3
    assert [sample.read() for sample in images.__getitems__([1, 2, 0])] == [b"2", b"1"]


def test_a_refusal_is_never_taken_for_missing(site):
    uris = site.fill({"a": b"1"})
    site.oss.rules([{"match": {"op": "GetObject"}, "action": {"status": 403, "code": "AccessDenied"}}])
    with pytest.raises(PermissionDeniedError):
        list(OssIterableDataset.from_objects(uris, on_missing="skip", **site.arguments))


@pytest.mark.parametrize("kind", KINDS)
def test_manifests_are_parsed_once_and_keep_order_and_labels(kind, site, tmp_path):
    site.fill({"data/a": b"1", "data/b": b"22", "data/c": b""})
    text = "b dog\na cat\nc fish\na cat\n"
    (tmp_path / "m").write_text(text)
    site.oss.put_object("bucket", "m/m.txt", text.encode())
    expected = [
        ("/bucket/data/b", b"22", "dog"),
        ("/bucket/data/a", b"1", "cat"),
        ("/bucket/data/c", b"", "fish"),
    ]
    for path in (tmp_path / "m", "oss://bucket/m/m.txt"):
        dataset = kind.from_manifest_file(path, split_on_spaces, "oss://bucket/data/", **site.arguments)
        for _ in range(2):
            assert [(s.key, s.read(), s.label) for s in dataset] == [*expected, expected[1]]
    assert len([entry for entry in site.oss.requests("GetObject") if entry["key"] == "m/m.txt"]) == 1


def test_a_manifest_over_several_buckets_works_without_a_base(site, tmp_path):
    site.fill({"a": b"1"}, "one-bucket")
    site.fill({"b": b"2"}, "two-bucket")
    (tmp_path / "m").write_text("oss://two-bucket/b\tx\n/one-bucket/a\n")
    dataset = OssMapDataset.from_manifest_file(tmp_path / "m", imagenet_manifest_parser, "", **site.arguments)
    assert [(s.key, s.read(), s.label) for s in dataset] == [
        ("/two-bucket/b", b"2", "x"),
        ("/one-bucket/a", b"1", ""),
    ]


def test_a_missing_manifest_on_oss_is_named(site):
    site.fill({"a": b"1"})
    dataset = OssMapDataset.from_manifest_file(
        "oss://bucket/gone.txt", imagenet_manifest_parser, "oss://bucket/", **site.arguments
    )
    with pytest.raises(NotFoundError, match=r"oss://bucket/gone\.txt"):
        len(dataset)


@pytest.mark.parametrize("kind", KINDS)
def test_a_users_function_chooses_the_objects_and_every_one_is_readable(kind, site):
    site.fill({"a": b"1", "b/1": b"22", "b/2": b"333"})
    calls = []

    def chosen(client):
        calls.append(client)
        yield new_data_object("oss://bucket/a", label="detached")
        yield from client.list_objects_with_preload("bucket", "b/")

    given = site.arguments
    dataset = kind(
        given["endpoint"], given["cred_path"], given["config_path"], chosen, lambda s: (s.key, s.read(), s.label),
        region=given["region"],
    )  # fmt: skip
    expected = [("/bucket/a", b"1", "detached"), ("/bucket/b/1", b"22", ""), ("/bucket/b/2", b"333", "")]
    assert list(dataset) == list(dataset) == expected
    assert len(calls) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 100, 1 << 40])
def test_a_wrong_size_from_a_users_function_changes_nothing(kind, size, site):
    site.fill({"a": b"data"})
    given = {**site.arguments, "get_dataset_objects": lambda _: [new_data_object("/bucket/a", size)]}
    assert [(sample.size, sample.read()) for sample in kind(**given)] == [(4, b"data")]


@pytest.mark.parametrize("answer", [None, 3])
def test_a_users_function_that_gives_no_objects_is_named(answer, site):
    given = {**site.arguments, "get_dataset_objects": lambda _: answer}
    with pytest.raises(TypeError, match="must return an iterable of DataObject"):
        OssMapDataset(**given).prepare()


def test_map_positions_slices_and_batches(site):
    uris = site.fill(OBJECTS)
    values = [OBJECTS[uri.removeprefix("oss://bucket/")] for uri in uris]
    images = OssMapDataset.from_prefix("oss://bucket/p/", transform=lambda s: s.read(), **site.arguments)
    assert len(images) == len(values)
    assert (images[0], images[-1], images[-len(values)]) == (values[0], values[-1], values[0])
    assert images[5:30:7] == values[5:30:7]
    for asked in ([3, -1, 3, 0], np.array([3, -1, 3, 0]), []):
        assert images.__getitems__(asked) == [values[position] for position in asked]
    for wrong in (len(values), -len(values) - 1):
        with pytest.raises(IndexError):
            images[wrong]


def test_an_empty_batch_asks_for_nothing(site):
    dataset = OssMapDataset.from_prefix("oss://bucket/p/", **site.arguments)
    assert dataset.__getitems__([]) == []
    assert site.oss.requests() == []


def test_a_batch_is_fetched_in_parallel(site):
    uris = site.fill({f"p/{number}": b"x" for number in range(16)})
    site.oss.shape(first_byte_ms=100)
    images = OssMapDataset.from_objects(uris, **site.arguments)
    images.prepare()
    started = time.monotonic()
    assert len(images.__getitems__(range(16))) == 16
    assert time.monotonic() - started < 16 * 0.1 / 2


@pytest.mark.parametrize("kind", KINDS)
def test_large_and_odd_objects_arrive_whole(kind, site):
    objects = {"odd/ä +%?#&.bin": b"odd", "odd/line\nend": b"n", "odd/big": bytes(range(256)) * (20 << 12)}
    site.fill(objects)
    dataset = kind.from_prefix("oss://bucket/odd/", **site.arguments)
    assert {s.key.removeprefix("/bucket/"): s.read() for s in dataset} == objects


@pytest.mark.shows_keys("the pickle of a user's own provider follows its own rules")
def test_a_provider_may_stand_in_for_the_file_and_pickles_with_the_dataset(site):
    uris = site.fill({"a": b"1"})
    provider = Provider(site.oss.access_key_id, site.oss.access_key_secret)
    dataset = OssMapDataset.from_objects(
        uris, endpoint=site.oss.endpoint, region=site.oss.region, cred_provider=provider
    )
    assert pickle.loads(pickle.dumps(dataset))[0].read() == b"1"


@pytest.mark.parametrize("kind", KINDS)
def test_f80_a_pickle_holds_no_secret_and_works_before_and_after_use(kind, site):
    uris = site.fill({"a": b"1", "b": b"2"})
    secrets = [site.oss.access_key_id.encode(), site.oss.access_key_secret.encode()]
    for dataset in (
        kind.from_prefix("oss://bucket/", **site.arguments),
        kind.from_objects(iter(uris), **site.arguments),
    ):
        for _ in range(2):
            pickled = pickle.dumps(dataset)
            assert not [secret for secret in secrets if secret in pickled]
            assert site.oss.access_key_secret not in repr(vars(dataset))
            assert [s.read() for s in pickle.loads(pickled)] == [s.read() for s in dataset] == [b"1", b"2"]


def test_pickling_a_long_list_costs_a_path(site):
    dataset = OssMapDataset.from_objects([f"oss://bucket/{n:06}" for n in range(50_000)], **site.arguments)
    assert len(pickle.dumps(dataset)) < 4096


def test_copies_list_once_together(site):
    site.fill(OBJECTS)
    dataset = OssIterableDataset.from_prefix("oss://bucket/p/", **site.arguments)
    copies = [pickle.loads(pickle.dumps(dataset)) for _ in range(3)]
    assert all(len(list(copy)) == len(OBJECTS) for copy in copies)
    assert len(list(dataset)) == len(OBJECTS)
    assert len(site.oss.requests("ListObjectsV2")) == 1


def test_an_abandoned_iterator_and_a_second_one_leave_nothing_behind(site):
    site.fill(OBJECTS)
    dataset = OssIterableDataset.from_prefix("oss://bucket/p/", **site.arguments)
    left, right = iter(dataset), iter(dataset)
    assert next(left).key == next(right).key
    del left
    assert len(list(right)) == len(OBJECTS) - 1
    assert dataset.stats()["in_flight"] == 0


def test_stats_tell_requests_bytes_and_objects(site):
    site.fill(OBJECTS)
    site.oss.shape(first_byte_ms=20)
    dataset = OssIterableDataset.from_prefix("oss://bucket/p/", **site.arguments)
    list(dataset)
    stats = dataset.stats()
    assert stats["dataset_objects"] == len(OBJECTS)
    assert stats["dataset_bytes"] == sum(map(len, OBJECTS.values()))
    assert stats["requests.GetObject.ok"] == len(OBJECTS)
    assert stats["crc_checked"] >= len(OBJECTS)
    assert stats["dataset_wait_seconds"] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_f38_an_object_replaced_after_the_listing_is_delivered_whole_as_the_new_one(kind, site):
    site.fill({"p/a": b"old"})
    dataset = kind.from_prefix("oss://bucket/p/", **site.arguments)
    dataset.prepare()
    site.fill({"p/a": b"the new version, longer"})
    assert [(s.size, s.read()) for s in dataset] == [(23, b"the new version, longer")]
    if kind is OssMapDataset:
        assert dataset[0].read() == b"the new version, longer"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:9/path", "http://bucket.oss-cn-beijing.aliyuncs.com", "ftp://host"]
)
def test_a_wrong_endpoint_is_a_value_error_at_first_use(kind, endpoint, site):
    dataset = kind.from_prefix("oss://bucket/p/", **{**site.arguments, "endpoint": endpoint})
    with pytest.raises(ConfigError):
        dataset.prepare()


def test_without_an_endpoint_the_environment_is_used(site, monkeypatch):
    site.fill({"a": b"1"})
    for name, value in site.oss.environ().items():
        monkeypatch.setenv(name, value)
    assert OssMapDataset.from_prefix("oss://bucket/a")[0].read() == b"1"
    monkeypatch.delenv("OSS_ENDPOINT")
    monkeypatch.delenv("OSS_REGION")
    with pytest.raises(ConfigError, match="OSS_ENDPOINT"):
        OssMapDataset.from_prefix("oss://bucket/a").prepare()


def test_a_region_that_cannot_be_told_is_asked_for(site):
    with pytest.raises(ConfigError, match="region"):
        OssMapDataset.from_prefix("oss://bucket/a", **{**site.arguments, "region": ""}).prepare()
