"""Datasets: what they deliver, in which order, and what they do about what is not there."""

from __future__ import annotations

import pickle

from same_programs import BUCKET, FILES, described, kept, program

EMPTY_AMONG = {**FILES, "data/empty": b""}
GONE = {"status": 403, "code": "AccessDenied"}


def iterable(package, place, **changed):
    return kept(
        package.OssIterableDataset.from_prefix(
            place.uri("data/"), transform=described, **place.changed(**changed)
        )
    )


def mapped(package, place, **changed):
    return kept(
        package.OssMapDataset.from_prefix(place.uri("data/"), transform=described, **place.changed(**changed))
    )


def named(package, place, kind, *keys):
    factory = getattr(package, kind).from_objects
    return kept(factory([place.uri(key) for key in keys], transform=described, **place.arguments))


@program()
def an_iterable_of_a_prefix(package, place):
    return sorted(iterable(package, place))


@program()
def an_iterable_twice(package, place):
    dataset = iterable(package, place)
    return [len(list(dataset)), len(list(dataset))]


@program()
def an_iterable_left_early_and_begun_again(package, place):
    dataset = iterable(package, place)
    next(iter(dataset))
    return len(list(dataset))


@program(rules=[{"match": {"op": "GetObject", "key": "data/a"}, "action": {"delay_ms": 400}}])
def whether_an_iterable_keeps_the_order_when_its_first_object_is_slow(package, place):
    keys = list(iterable(package, place))
    return keys == sorted(keys)


@program()
def an_iterable_in_two_workers(package, place):
    from torch.utils.data import DataLoader

    return sorted(DataLoader(iterable(package, place), batch_size=None, num_workers=2))


@program()
def a_map_dataset_of_a_prefix(package, place):
    dataset = mapped(package, place)
    return [len(dataset), *(dataset[number] for number in range(len(dataset)))]


@program()
def a_map_dataset_in_a_for_loop(package, place):
    return list(mapped(package, place))


@program()
def a_map_dataset_in_batches_of_two_workers(package, place):
    from torch.utils.data import DataLoader

    return [list(batch) for batch in DataLoader(mapped(package, place), batch_size=2, num_workers=2)]


@program()
def the_last_item_by_minus_one(package, place):
    return mapped(package, place)[-1]


@program()
def an_index_out_of_range(package, place):
    return mapped(package, place)[3]


@program()
def a_slice_of_a_map_dataset(package, place):
    return mapped(package, place)[0:2]


@program()
def a_batch_with_a_duplicate(package, place):
    return mapped(package, place).__getitems__([2, 0, 2])


@program()
def an_empty_batch(package, place):
    return mapped(package, place).__getitems__([])


@program()
def whether_indices_follow_each_other(package, place):
    dataset = mapped(package, place)
    return [dataset.is_continuous([0, 1, 2]), dataset.is_continuous([0, 2])]


@program(objects=EMPTY_AMONG)
def empty_objects_below_a_prefix(package, place):
    return [len(list(iterable(package, place))), len(mapped(package, place))]


@program(objects=EMPTY_AMONG)
def an_empty_object_named_in_an_iterable(package, place):
    return list(named(package, place, "OssIterableDataset", "data/empty"))


@program(objects=EMPTY_AMONG)
def an_empty_object_by_index(package, place):
    return named(package, place, "OssMapDataset", "data/empty")[0]


@program()
def an_iterable_of_a_prefix_without_objects(package, place):
    return list(kept(package.OssIterableDataset.from_prefix(place.uri("none/"), **place.arguments)))


@program()
def a_map_dataset_of_a_prefix_without_objects(package, place):
    return len(kept(package.OssMapDataset.from_prefix(place.uri("none/"), **place.arguments)))


@program(config={"compatibility": {"emptyPrefix": "allow"}})
def a_prefix_without_objects_with_the_switch(package, place):
    return list(kept(package.OssIterableDataset.from_prefix(place.uri("none/"), **place.arguments)))


@program()
def a_missing_object_in_an_iterable(package, place):
    return sorted(named(package, place, "OssIterableDataset", "data/a", "data/gone"))


@program(config={"compatibility": {"missing": "skip"}})
def a_missing_object_in_an_iterable_with_the_switch(package, place):
    return sorted(named(package, place, "OssIterableDataset", "data/a", "data/gone"))


@program()
def a_missing_object_by_index(package, place):
    # Without a transform of its own, which the original calls with None.
    dataset = kept(package.OssMapDataset.from_objects([place.uri("data/gone")], **place.arguments))
    return dataset[0].read().decode()


@program()
def a_missing_object_in_a_batch(package, place):
    return named(package, place, "OssMapDataset", "data/a", "data/gone").__getitems__([0, 1])


@program(config={"compatibility": {"missing": "skip"}})
def a_missing_object_in_a_batch_with_the_switch(package, place):
    return named(package, place, "OssMapDataset", "data/a", "data/gone").__getitems__([0, 1])


@program(rules=[{"match": {"op": "GetObject", "key": "data/b"}, "action": GONE}])
def a_refused_object_in_an_iterable(package, place):
    return sorted(iterable(package, place))


@program(rules=[{"match": {"op": "GetObject", "key": "data/b"}, "action": GONE}])
def a_refused_object_by_index(package, place):
    return mapped(package, place)[1]


@program(rules=[{"match": {"op": "GetObject", "key": "data/b", "nth": [1, 2]}, "action": GONE}])
def a_refusal_that_goes_away(package, place):
    return mapped(package, place)[1]


@program(rules=[{"match": {"op": "GetObject", "key": "data/b", "nth": [1, 2]}, "action": {"status": 404}}])
def an_object_that_is_missing_at_first(package, place):
    return mapped(package, place)[1]


@program()
def an_object_added_between_two_epochs(package, place):
    dataset, client = iterable(package, place), kept(package.OssClient(**place.arguments))
    before = len(list(dataset))
    with client.put_object(BUCKET, "data/new") as writer:
        writer.write(b"new")
    return [before, len(list(dataset))]


@program(rules=[{"match": {"op": "ListObjectsV2"}, "action": GONE}])
def a_refused_listing(package, place):
    return list(iterable(package, place))


@program(rules=[{"match": {"op": "ListObjectsV2"}, "action": GONE}])
def when_a_map_dataset_finds_its_listing_refused(package, place):
    try:
        dataset = mapped(package, place)
    except RuntimeError:
        return "when it is made"
    try:
        return len(dataset)
    except RuntimeError:
        return "when it is used"


@program(
    rules=[{"match": {"op": "GetObject"}, "action": {"status": 500}, "times": 60}],
    config={"network": {"deadlineSeconds": 30, "retryBaseSeconds": 0.002, "retryCapSeconds": 0.05}},
)
def a_service_that_fails_sixty_times(package, place):
    return mapped(package, place)[0]


@program()
def a_proxy_of_the_environment(package, place):
    import os

    os.environ["http_proxy"] = place.closed
    return mapped(package, place)[0]


@program()
def an_endpoint_where_nobody_listens(package, place):
    return list(iterable(package, place, endpoint=place.closed))


@program()
def objects_at_an_endpoint_where_nobody_listens(package, place):
    uris = [place.uri("data/a")]
    return list(kept(package.OssIterableDataset.from_objects(uris, **place.changed(endpoint=place.closed))))


@program()
def an_endpoint_whose_name_is_unknown(package, place):
    return list(iterable(package, place, endpoint="http://oss-cn-nowhere.invalid"))


@program()
def objects_at_an_endpoint_whose_name_is_unknown(package, place):
    given = place.changed(endpoint="http://oss-cn-nowhere.invalid")
    return list(kept(package.OssIterableDataset.from_objects([place.uri("data/a")], **given)))


@program()
def one_uri_as_a_string(package, place):
    return list(
        kept(
            package.OssIterableDataset.from_objects(
                place.uri("data/a"), transform=described, **place.arguments
            )
        )
    )


@program()
def a_uri_twice(package, place):
    return list(named(package, place, "OssIterableDataset", "data/a", "data/a"))


@program()
def a_generator_of_uris_in_two_epochs(package, place):
    uris = (place.uri(key) for key in FILES)
    dataset = kept(package.OssIterableDataset.from_objects(uris, transform=described, **place.arguments))
    return [len(list(dataset)), len(list(dataset))]


@program()
def sizes_known_before_reading(package, place):
    uris = [place.uri(key) for key in FILES]
    dataset = kept(package.OssIterableDataset.from_objects(uris, **place.arguments))
    return sorted([item.key, item.size] for item in dataset)


@program()
def a_transform_that_raises(package, place):
    def fail(item):
        raise ZeroDivisionError

    return list(
        kept(package.OssIterableDataset.from_prefix(place.uri("data/"), transform=fail, **place.arguments))
    )


@program()
def length_of_an_iterable(package, place):
    return len(iterable(package, place))


@program()
def pickling_a_map_dataset(package, place):
    return len(pickle.loads(pickle.dumps(mapped(package, place))))


@program()
def pickling_an_iterable_before_use(package, place):
    return len(list(pickle.loads(pickle.dumps(iterable(package, place)))))


@program()
def pickling_an_iterable_after_use(package, place):
    dataset = iterable(package, place)
    list(dataset)
    return len(list(pickle.loads(pickle.dumps(dataset))))


@program()
def a_dataset_made_with_detached_objects(package, place):
    def objects(client, **_):
        return [package.new_data_object(place.uri(key), 0, "label") for key in FILES]

    dataset = kept(
        package.OssIterableDataset(
            place.arguments["endpoint"],
            place.arguments["cred_path"],
            place.arguments["config_path"],
            objects,
            transform=described,
            region=place.arguments["region"],
        )
    )
    return sorted(dataset)


@program()
def a_dataset_made_with_a_listing_of_its_own(package, place):
    def objects(client, **_):
        return client.list_objects_with_preload(BUCKET, "data/")

    dataset = kept(
        package.OssIterableDataset(
            place.arguments["endpoint"],
            place.arguments["cred_path"],
            place.arguments["config_path"],
            objects,
            transform=described,
            region=place.arguments["region"],
        )
    )
    return sorted(dataset)


@program()
def an_object_kept_after_its_dataset(package, place):
    import gc

    items = list(package.OssIterableDataset.from_prefix(place.uri("data/"), **place.arguments))
    gc.collect()
    return sorted(item.read().decode() for item in items)


@program()
def a_prefix_that_is_no_directory(package, place):
    dataset = kept(package.OssMapDataset.from_prefix(place.uri("da"), **place.arguments))
    return [item.key for item in dataset]


def manifest(package, place, text, parser=None, path=None, kind="OssMapDataset"):
    path = path or place.file("manifest", text)
    dataset = getattr(package, kind).from_manifest_file(
        path,
        parser or package.imagenet_manifest_parser,
        place.uri("data/"),
        transform=lambda item: [item.key, item.label, item.read().decode()],
        **place.arguments,
    )
    return sorted(dataset) if kind == "OssIterableDataset" else list(dataset)


@program()
def a_manifest_with_labels(package, place):
    return manifest(package, place, b"c\tcat\na\tdog\tmore\n")


@program()
def a_manifest_in_an_iterable(package, place):
    return manifest(package, place, b"c\tcat\na\n", kind="OssIterableDataset")


@program(objects={**FILES, "m.txt": b"b\tbird\n"})
def a_manifest_on_oss(package, place):
    return manifest(package, place, None, path=place.uri("m.txt"))


@program()
def a_manifest_with_a_blank_line(package, place):
    return manifest(package, place, b"c\tcat\n\na\tdog\n")


@program()
def a_manifest_that_is_missing(package, place):
    return manifest(package, place, None, path=place.directory + "/gone")


@program()
def a_manifest_with_labels_that_are_none(package, place):
    return manifest(package, place, b"", parser=lambda reader: [("a", None)])


@program()
def a_manifest_with_labels_that_are_numbers(package, place):
    return manifest(package, place, b"", parser=lambda reader: [("a", 1)])


@program()
def what_the_manifest_parser_yields(package, place):
    import io

    return [list(pair) for pair in package.imagenet_manifest_parser(io.BytesIO(b"a\tx\n\nb\n"))]
