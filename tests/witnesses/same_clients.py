"""`OssClient` and the package itself."""

from __future__ import annotations

import contextlib

from same_programs import BUCKET, FILES, kept, program


def client_of(package, place):
    return kept(package.OssClient(**place.arguments))


def keys(listed):
    return [[item.key, item.size, item.label] for item in listed]


@program(objects={})
def a_star_import(package, place):
    names = {}
    exec("from osstorchconnector import *", names)
    return "OssClient" in names


@program(objects={})
def tar_archives(package, place):
    return callable(package.generate_tar_archive)


@program()
def head_of_an_object(package, place):
    found = client_of(package, place).head_object(BUCKET, "data/a")
    return [found.key, found.size]


@program()
def head_of_a_directory(package, place):
    return client_of(package, place).head_object(BUCKET, "data").size


@program()
def head_of_a_missing_object(package, place):
    return client_of(package, place).head_object(BUCKET, "gone").size


@program()
def listing(package, place):
    return keys(client_of(package, place).list_objects(BUCKET, "data/"))


@program(objects={**FILES, "data/empty": b""})
def listing_without_empty_objects(package, place):
    return len(keys(client_of(package, place).list_objects(BUCKET, "data/")))


@program()
def reading_an_item_of_a_listing(package, place):
    client = client_of(package, place)
    return [item.read().decode() for item in client.list_objects(BUCKET, "data/a")]


@program()
def listing_with_contents(package, place):
    client = client_of(package, place)
    return sorted(item.read().decode() for item in client.list_objects_with_preload(BUCKET, "data/"))


@program()
def contents_of_detached_objects(package, place):
    client = client_of(package, place)
    wanted = [package.new_data_object(place.uri(key), 0, key) for key in FILES]
    return [
        [item.read().decode(), item.label] for item in client.list_objects_from_uris(wanted, prefetch=True)
    ]


@program()
def contents_of_uris_given_as_text(package, place):
    client = client_of(package, place)
    return [
        item.read().decode() for item in client.list_objects_from_uris([place.uri("data/a")], prefetch=True)
    ]


@program()
def errors_included_in_a_listing(package, place):
    client = client_of(package, place)
    wanted = [package.new_data_object(place.uri(key)) for key in ("data/a", "gone")]
    return sorted(
        item.err() for item in client.list_objects_from_uris_with_preload(wanted, include_errors=True)
    )


@program()
def renaming_an_object(package, place):
    client = client_of(package, place)
    client.rename_object(BUCKET, "data/a", BUCKET, "data/z")
    return [item.key for item in client.list_objects(BUCKET, "data/")]


@program()
def renaming_a_missing_object(package, place):
    client_of(package, place).rename_object(BUCKET, "gone", BUCKET, "new")


@program()
def renaming_an_object_to_itself(package, place):
    client_of(package, place).rename_object(BUCKET, "data/a", BUCKET, "data/a")


@program()
def what_is_there_after_renaming_an_object_to_itself(package, place):
    client = client_of(package, place)
    with contextlib.suppress(RuntimeError):
        client.rename_object(BUCKET, "data/a", BUCKET, "data/a")
    return len(list(client.list_objects(BUCKET, "data/")))


@program()
def removing_objects(package, place):
    client = client_of(package, place)
    client.remove_object(BUCKET, "data/a")
    client.remove_object(BUCKET, "never there")
    return len(list(client.list_objects(BUCKET, "data/")))


@program(objects={})
def putting_an_object(package, place):
    client = client_of(package, place)
    with client.put_object(BUCKET, "k") as stream:
        stream.write(b"four")
        key = stream.key
    return [key, client.head_object(BUCKET, "k").size]


@program()
def a_client_with_its_place_in_the_old_scheme(package, place):
    client = kept(package.OssClient(uuid="1234", id=0, total=1, **place.arguments))
    return len(list(client.list_objects(BUCKET, "data/")))
