"""Local-directory mode: the same datasets on files, without a network or an account."""

from __future__ import annotations

import logging
import pickle

import pytest
from torch.utils.data import DataLoader

from log_listening import listening_for
from osstorchconnector import (
    OssClient,
    OssIterableDataset,
    OssMapDataset,
    imagenet_manifest_parser,
    new_data_object,
)
from osstorchconnector.errors import EmptyDatasetError, NotFoundError

CONTENT = {"a/1.txt": b"one", "a/2.txt": b"", "a.txt": b"dot", "b/.hidden": b"h", "b/z/deep": b"deep"}
ORDER = ["a.txt", "a/1.txt", "a/2.txt", "b/.hidden", "b/z/deep"]


@pytest.fixture
def root(tmp_path):
    for name, data in CONTENT.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "link").symlink_to(tmp_path / "a.txt")
    (tmp_path / "links").symlink_to(tmp_path / "a")
    return tmp_path


def names(dataset, root):
    return [sample.key.removeprefix(f"{root}/") for sample in dataset]


def key_and_data(sample):
    return sample.key, sample.read(), sample.label


def first(batch):
    return batch[0]


@pytest.mark.parametrize("kind", [OssIterableDataset, OssMapDataset])
def test_a_directory_is_delivered_recursively_in_byte_order_without_links(kind, root):
    dataset = kind.from_prefix(f"{root}/", "")
    assert names(dataset, root) == ORDER
    assert names(dataset, root) == ORDER
    assert [sample.read() for sample in dataset] == [CONTENT[name] for name in ORDER]
    assert [sample.size for sample in dataset] == [len(CONTENT[name]) for name in ORDER]


def test_both_forms_of_a_path_mean_the_same(root):
    assert names(OssMapDataset.from_prefix(f"oss:/{root}", ""), root) == ORDER


def test_a_prefix_is_a_directory_here(root):
    with pytest.raises(NotADirectoryError):
        len(OssMapDataset.from_prefix(f"{root}/a.txt", ""))
    with pytest.raises(NotFoundError):
        len(OssMapDataset.from_prefix(f"{root}/nowhere", ""))


def test_an_empty_directory_is_an_error_unless_allowed(root):
    (root / "empty").mkdir()
    with pytest.raises(EmptyDatasetError, match="allow_empty"):
        next(iter(OssIterableDataset.from_prefix(f"{root}/empty", "")))
    assert list(OssIterableDataset.from_prefix(f"{root}/empty", "", allow_empty=True)) == []


def test_positions_count_from_both_ends_and_slices_are_lists(root):
    dataset = OssMapDataset.from_prefix(f"{root}/", "")
    assert len(dataset) == dataset.prepare() == 5
    assert dataset[-1].read() == b"deep"
    assert [sample.read() for sample in dataset[3:0:-1]] == [b"h", b"", b"one"]
    assert [sample.read() for sample in dataset.__getitems__([4, 0, 4])] == [b"deep", b"dot", b"deep"]
    assert dataset.__getitems__([]) == []
    for wrong in (5, -6):
        with pytest.raises(IndexError, match="out of range"):
            dataset[wrong]
    with pytest.raises(TypeError):
        dataset["0"]
    assert dataset.is_continuous([1, 2, 3])
    assert not dataset.is_continuous([1, 3])
    assert dataset.is_continuous([])


def test_missing_files_are_errors_that_name_the_way_out(root):
    uris = [f"{root}/a.txt", f"{root}/gone"]
    samples = iter(OssIterableDataset.from_objects(uris, ""))
    assert next(samples).read() == b"dot"
    with pytest.raises(NotFoundError, match='on_missing="skip"'):
        next(samples)
    with pytest.raises(NotFoundError, match='on_missing="skip"'):
        OssMapDataset.from_objects(uris, "").__getitems__([0, 1])
    with pytest.raises(NotFoundError):
        OssMapDataset.from_objects(uris, "")[1]


def test_missing_files_can_be_skipped_and_are_counted(root, caplog):
    uris = [f"{root}/gone", f"{root}/a.txt", f"{root}/gone"]
    dataset = OssIterableDataset.from_objects(uris, "", transform=key_and_data, on_missing="skip")
    assert list(dataset) == [(f"{root}/a.txt", b"dot", "")]
    assert dataset.stats()["dataset_missing_skipped"] == 2
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1
    batch = OssMapDataset.from_objects(uris, "", on_missing="skip").__getitems__([0, 1, 2])
    assert [sample.read() for sample in batch] == [b"dot"]


def test_a_function_may_stand_in_for_missing_files(root):
    def stand_in(missing):
        return None if missing.label == "none" else missing

    (root / "m").write_text("a.txt\t1\ngone\tnone\nlost\tx\n")
    seen = []
    dataset = OssMapDataset.from_manifest_file(
        root / "m", imagenet_manifest_parser, f"{root}/", "", transform=seen.append, on_missing=stand_in
    )
    list(dataset)
    dataset[1]
    assert [getattr(sample, "key", None) for sample in seen] == [f"{root}/a.txt", None, f"{root}/lost", None]


def test_the_config_file_brings_back_the_originals_outcomes(root, tmp_path_factory):
    config = tmp_path_factory.mktemp("config") / "c.json"
    config.write_text('{"compatibility": {"missing": "skip", "emptyPrefix": "allow"}}')
    assert list(OssIterableDataset.from_objects([f"{root}/gone"], "", config_path=config)) == []
    (root / "empty").mkdir()
    assert len(OssMapDataset.from_prefix(f"{root}/empty", "", config_path=config)) == 0
    with pytest.raises(NotFoundError):
        OssMapDataset.from_objects([f"{root}/gone"], "", config_path=config, on_missing="raise")[0]


def test_transform_gets_each_object_once_and_its_result_is_the_sample(root):
    seen = []

    def transform(sample):
        seen.append(sample.key)
        return sample.size

    assert list(OssIterableDataset.from_prefix(f"{root}/", "", transform=transform)) == [3, 3, 0, 1, 4]
    assert len(seen) == 5
    dataset = OssMapDataset.from_prefix(f"{root}/", "", transform=transform)
    assert (dataset[0], dataset[1:3], dataset.__getitems__([4])) == (3, [3, 0], [4])
    assert len(seen) == 9


def test_what_transform_raises_passes_through(root):
    def broken(sample):
        raise NotFoundError(f"own trouble with {sample.key}")

    with pytest.raises(NotFoundError) as raised:
        list(OssIterableDataset.from_prefix(f"{root}/", "", transform=broken))
    assert "on_missing" not in str(raised.value)


def test_a_delivered_object_can_be_read_after_the_loop_moved_on(root):
    samples = list(OssIterableDataset.from_prefix(f"{root}/", ""))
    assert [sample.read() for sample in samples] == [CONTENT[name] for name in ORDER]


def test_a_generator_of_names_lasts_for_every_epoch(root):
    dataset = OssIterableDataset.from_objects((f"{root}/{name}" for name in ("a.txt", "a/1.txt")), "")
    assert names(dataset, root) == names(dataset, root) == ["a.txt", "a/1.txt"]


def test_a_manifest_gives_labels_in_its_own_order(root):
    (root / "m").write_text("b/z/deep\tx\na.txt\ty\n\na.txt\n")
    dataset = OssIterableDataset.from_manifest_file(root / "m", imagenet_manifest_parser, f"{root}/", "")
    assert [(sample.read(), sample.label) for sample in dataset] == [
        (b"deep", "x"),
        (b"dot", "y"),
        (b"dot", ""),
    ]


def test_a_users_function_may_say_which_objects(root):
    def chosen(client):
        assert isinstance(client, OssClient)
        yield new_data_object(f"{root}/b/z/deep", label="mine")
        yield from client.list_objects(str(root).strip("/"), "a/")

    for kind in (OssIterableDataset, OssMapDataset):
        dataset = kind("", "", "", chosen, key_and_data)
        assert list(dataset) == [(f"{root}/b/z/deep", b"deep", "mine"), (f"{root}/a/1.txt", b"one", "")]


def test_an_iterables_length_is_known_only_after_listing(root):
    dataset = OssIterableDataset.from_prefix(f"{root}/", "")
    assert dataset
    with pytest.raises(TypeError, match="prepare"):
        len(dataset)
    assert dataset.prepare() == 5
    assert len(dataset) == 5


def test_two_iterators_and_an_early_end_do_not_disturb_each_other(root):
    dataset = OssIterableDataset.from_prefix(f"{root}/", "")
    left, right = iter(dataset), iter(dataset)
    assert next(left).key == next(right).key
    assert next(left).key != next(dataset.__iter__()).key
    left.close()
    assert len(list(right)) == 4


@pytest.mark.parametrize(
    ("kind", "start_method"),
    [(OssIterableDataset, "fork"), (OssMapDataset, "fork"), (OssIterableDataset, "spawn")],
)
def test_workers_of_every_start_method_deliver_each_file_once(kind, start_method, root):
    dataset = kind.from_prefix(f"{root}/", "", transform=key_and_data)
    expected = sorted((f"{root}/{name}", data, "") for name, data in CONTENT.items())
    loader = DataLoader(
        dataset, batch_size=1, num_workers=2, multiprocessing_context=start_method, collate_fn=first
    )
    assert sorted(loader) == sorted(dataset) == expected


def test_datasets_pickle_before_and_after_use(root):
    for kind in (OssIterableDataset, OssMapDataset):
        dataset = kind.from_objects([f"{root}/a.txt"], "", transform=key_and_data)
        for _ in range(2):
            again = pickle.loads(pickle.dumps(dataset))
            assert list(again) == list(dataset) == [(f"{root}/a.txt", b"dot", "")]


@pytest.mark.parametrize("kind", [OssIterableDataset, OssMapDataset])
def test_arguments_are_checked_before_anything_is_listed(kind):
    for make in (
        lambda: kind.from_prefix("", ""),
        lambda: kind.from_prefix("relative/", ""),
        lambda: kind.from_objects([], ""),
        lambda: kind.from_manifest_file("", imagenet_manifest_parser, "/a/", ""),
        lambda: kind.from_manifest_file("m", None, "/a/", ""),
        lambda: kind("", "", ""),
        lambda: kind.from_prefix("/a/", "", on_missing="ignore"),
    ):
        with pytest.raises(ValueError, match=r"empty|not an OSS location|missing"):
            make()


@pytest.mark.parametrize("kind", [OssIterableDataset, OssMapDataset])
def test_archives_are_refused_with_one_line(kind):
    with pytest.raises(NotImplementedError, match="tar archives"):
        kind.from_tar("oss://b/t", "oss://b/i", "http://127.0.0.1:1")


def test_shuffling_of_archives_is_refused_with_one_line(root):
    with pytest.raises(NotImplementedError, match="tar archives"):
        OssIterableDataset.from_prefix(f"{root}/", "").shuffle()


def test_the_client_works_on_files_too(root):
    client = OssClient("")
    bucket = str(root).strip("/")
    with client.put_object(bucket, "new/file") as writer:
        writer.write(b"da")
        writer.write(b"ta")
        assert not (root / "new/file").exists()
    assert (root / "new/file").read_bytes() == b"data"
    assert client.head_object(bucket, "new/file").size == 4
    with client.get_object(bucket, "new/file", label="x") as reader:
        assert (reader.read(), reader.key, reader.size, reader.label) == (b"data", f"{root}/new/file", 4, "x")
    client.rename_object(bucket, "new/file", bucket, "moved")
    assert (root / "moved").read_bytes() == b"data"
    with pytest.raises(ValueError, match="same object"):
        client.rename_object(bucket, "moved", bucket, "moved")
    client.remove_object(bucket, "moved")
    client.remove_object(bucket, "moved")
    with pytest.raises(NotFoundError):
        client.rename_object(bucket, "moved", bucket, "x")
    assert sorted(sample.read() for sample in client.list_objects(bucket)) == sorted(
        data for data in CONTENT.values() if data
    )
    uris = [new_data_object(f"{root}/a.txt"), f"{root}/gone", root / "a/1.txt"]
    found = list(client.list_objects_from_uris(uris, include_errors=True))
    assert [(item.err(), item.size) for item in found] == [(0, 3), (2, 0), (0, 3)]


def test_a_local_writer_that_fails_leaves_the_old_file(root):
    client = OssClient("")
    bucket = str(root).strip("/")

    def save():
        with client.put_object(bucket, "a.txt") as writer:
            writer.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        save()
    assert (root / "a.txt").read_bytes() == b"dot"
    assert not list(root.glob(".osstorchconnector-*"))


def test_what_is_written_here_is_as_readable_as_any_new_file(root):
    with OssClient("").put_object(str(root).strip("/"), "new") as writer:
        writer.write(b"data")
    (root / "plain").write_bytes(b"data")
    assert (root / "new").stat().st_mode == (root / "plain").stat().st_mode


def test_the_client_knows_files_directories_and_nothing(root):
    client, bucket = OssClient(""), str(root).strip("/")
    assert client.head_object(bucket, "a").size == 0
    with pytest.raises(NotFoundError, match=f"{root}/gone"):
        client.head_object(bucket, "gone")
    with pytest.raises(NotFoundError):
        client.rename_object(bucket, "a", bucket, "b")


def test_counters_are_logged_as_often_as_the_config_says(root, tmp_path_factory, caplog):
    caplog.set_level(logging.INFO, "osstorchconnector")
    config = tmp_path_factory.mktemp("config") / "c.json"
    config.write_text('{"network": {"statsLogSeconds": 0.001}}')
    with listening_for("dataset_objects=", "osstorchconnector.stats_log") as said:
        samples = iter(OssIterableDataset.from_prefix(f"{root}/", "", config_path=config))
        next(samples)
        assert said.wait(30)
    lines = [record.message for record in caplog.records if "dataset_objects=" in record.message]
    assert all("dataset_bytes=" in line and "\n" not in line for line in lines)
