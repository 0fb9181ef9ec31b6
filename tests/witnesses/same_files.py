"""Local-directory mode: `endpoint=""`."""

from __future__ import annotations

import os

from same_programs import kept, program


def local(place):
    return place.changed(endpoint="", region="")


def filled(place):
    for name in ("dir/b", "dir/a", "dir/.hidden", "dir/sub/c", "dir2/no"):
        place.file(name, name.encode())
    return f"{place.directory}/dir"


def relative(place, paths):
    return [path.removeprefix(place.directory) for path in paths]


def iterated(package, place, uri):
    dataset = kept(package.OssIterableDataset.from_prefix(uri, **local(place)))
    return sorted(relative(place, [item.key for item in dataset]))


def mapped(package, place, uri):
    dataset = kept(package.OssMapDataset.from_prefix(uri, **local(place)))
    return sorted(relative(place, [item.key for item in dataset]))


@program()
def a_local_directory(package, place):
    return iterated(package, place, filled(place) + "/")


@program()
def a_local_directory_by_index(package, place):
    return mapped(package, place, filled(place) + "/")


@program()
def a_local_directory_without_a_slash(package, place):
    return mapped(package, place, filled(place))


@program()
def a_local_directory_as_a_uri(package, place):
    return mapped(package, place, f"oss:/{filled(place)}/")


@program()
def a_local_directory_with_links(package, place):
    directory = filled(place)
    os.symlink(f"{directory}/a", f"{directory}/link")
    os.symlink(f"{directory}/sub", f"{directory}/linked")
    return mapped(package, place, directory)


@program()
def a_local_file_as_a_prefix(package, place):
    return mapped(package, place, filled(place) + "/a")


@program()
def a_local_directory_that_is_missing(package, place):
    return mapped(package, place, place.directory + "/gone")


@program()
def a_local_relative_path(package, place):
    return mapped(package, place, "dir")


@program()
def an_empty_local_file_by_index(package, place):
    place.file("empty/x", b"")
    dataset = kept(package.OssMapDataset.from_prefix(f"{place.directory}/empty", **local(place)))
    return [len(dataset), dataset[0].read().decode()]


@program()
def an_empty_local_file_in_an_iterable(package, place):
    place.file("empty/x", b"")
    return iterated(package, place, f"{place.directory}/empty")


@program()
def contents_of_local_files(package, place):
    uris = [filled(place) + "/a", f"{place.directory}/dir/b"]
    dataset = kept(package.OssMapDataset.from_objects(uris, **local(place)))
    return [item.read().decode() for item in dataset]


@program()
def a_missing_local_file_in_an_iterable(package, place):
    uris = [filled(place) + "/a", f"{place.directory}/gone"]
    dataset = kept(package.OssIterableDataset.from_objects(uris, **local(place)))
    return relative(place, [item.key for item in dataset])


@program()
def a_missing_local_file_by_index(package, place):
    dataset = kept(package.OssMapDataset.from_objects([f"{place.directory}/gone"], **local(place)))
    return dataset[0].read().decode()


@program()
def a_local_manifest(package, place):
    base = filled(place)
    path = place.file("manifest", b"a\tone\nb\ttwo\n")
    dataset = kept(
        package.OssMapDataset.from_manifest_file(
            path, package.imagenet_manifest_parser, f"{base}/", **local(place)
        )
    )
    return [[item.read().decode(), item.label] for item in dataset]


@program()
def a_client_that_writes_a_local_file(package, place):
    client = kept(package.OssClient(**local(place)))
    bucket, _, key = f"{place.directory}/new".lstrip("/").partition("/")
    with client.put_object(bucket, key) as stream:
        stream.write(b"four")
    return os.path.getsize(f"{place.directory}/new")


@program()
def a_client_that_reads_a_local_file(package, place):
    path = place.file("old", b"four")
    client = kept(package.OssClient(**local(place)))
    bucket, _, key = path.lstrip("/").partition("/")
    return client.get_object(bucket, key).read().decode()
