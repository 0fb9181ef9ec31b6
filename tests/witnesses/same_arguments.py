"""Arguments that are right, odd or wrong: URIs, endpoints, regions, credentials, config files."""

from __future__ import annotations

from same_programs import BUCKET, FILES, kept, program, short_programs


def keys_of(package, place, uri=None, **changed):
    """List by a dataset, which uses every argument."""
    dataset = kept(package.OssMapDataset.from_prefix(uri or place.uri("data/"), **place.changed(**changed)))
    return len(dataset)


def read_of(package, place, **changed):
    """Read one object, which credentials are needed for."""
    client = kept(package.OssClient(**place.changed(**changed)))
    return client.get_object(BUCKET, "data/a", type=2).read().decode()


def prefix(uri):
    return lambda package, place: keys_of(package, place, uri)


def objects(uris):
    return lambda package, place: list(kept(package.OssIterableDataset.from_objects(uris, **place.arguments)))


def manifest(path, parser):
    return lambda package, place: list(
        kept(package.OssIterableDataset.from_manifest_file(path, parser, "oss://b/", **place.arguments))
    )


def without_endpoint(name):
    return lambda package, place: getattr(package, name)(**place.changed(endpoint=""))


def reader(uri):
    def run(package, place):
        checkpoint = kept(package.OssCheckpoint(**place.arguments))
        checkpoint.reader(uri)
        return "opened"

    return run


short_programs(
    {
        "a_prefix_without_a_slash": prefix(f"oss://{BUCKET}/data"),
        "a_prefix_as_bucket_and_key": prefix(f"/{BUCKET}/data/"),
        "a_whole_bucket": prefix(f"oss://{BUCKET}"),
        "a_whole_bucket_with_a_slash": prefix(f"oss://{BUCKET}/"),
        "a_prefix_of_another_scheme": prefix("s3://bucket/data/"),
        "a_prefix_in_capitals": prefix("OSS://bucket/data/"),
        "a_relative_prefix": prefix("bucket/data/"),
        "a_prefix_without_a_bucket": prefix("oss:///data/"),
        "a_prefix_of_nothing": prefix("oss://"),
        "no_uris": objects([]),
        "no_uri": objects(""),
        "a_uri_of_another_scheme": objects(["s3://bucket/k"]),
        "no_manifest": manifest("", list),
        "no_parser": manifest("/tmp/m", None),
        "a_checkpoint_without_an_endpoint": without_endpoint("OssCheckpoint"),
        "tensors_without_an_endpoint": without_endpoint("OssSafetensor"),
        "a_file_system_without_an_endpoint": without_endpoint("OssDCPFileSystem"),
        "a_reader_of_another_scheme": reader("s3://b/k"),
        "a_reader_without_a_bucket": reader("oss:///k"),
    }
)


def endpoint(change):
    return lambda package, place: keys_of(package, place, endpoint=change(place.arguments["endpoint"]))


def region(value):
    return lambda package, place: keys_of(package, place, region=value)


short_programs(
    {
        "an_endpoint_with_a_slash": endpoint(lambda url: f"{url}/"),
        "an_endpoint_with_a_path": endpoint(lambda url: f"{url}/path"),
        "an_endpoint_in_capitals": endpoint(lambda url: url.replace("http://", "HTTP://")),
        "an_endpoint_that_is_an_address": endpoint(lambda url: f"http://127.0.0.1:{url.rpartition(':')[2]}"),
        "an_endpoint_that_begins_with_the_bucket": endpoint(lambda url: url.replace("//", f"//{BUCKET}.")),
        "a_region_that_is_none": region(None),
        "a_region_that_begins_with_oss": lambda package, place: keys_of(
            package, place, region="oss-" + place.arguments["region"]
        ),
    }
)


@program()
def an_endpoint_that_is_none(package, place):
    import os

    os.environ["OSS_ENDPOINT"] = place.arguments["endpoint"]
    return keys_of(package, place, endpoint=None)


class Keys:
    """Keys as attributes."""

    def __init__(self, key, secret, token=None):
        self.access_key_id, self.access_key_secret, self.security_token = key, secret, token


class Getters:
    """Keys behind methods."""

    def __init__(self, key, secret):
        self._keys = key, secret

    def get_access_key_id(self):
        return self._keys[0]

    def get_access_key_secret(self):
        return self._keys[1]

    def get_security_token(self):
        return None


class Provider:
    """Gives what it was made with."""

    def __init__(self, keys):
        self._keys = keys

    def get_credentials(self):
        if isinstance(self._keys, Exception):
            raise self._keys
        return self._keys


@program()
def whether_a_provider_is_asked_once(package, place):
    asked = []

    class Counting(Provider):
        def get_credentials(self):
            asked.append(1)
            return super().get_credentials()

    counting = Counting(Keys(*keys_in(place)))
    client = kept(package.OssClient(**place.changed(cred_path="", cred_provider=counting)))
    for key in FILES:
        client.get_object(BUCKET, key, type=2).read()
    return len(asked) == 1


def keys_in(place):
    import json

    with open(place.arguments["cred_path"], encoding="utf-8") as file:
        document = json.load(file)
    return document["AccessKeyId"], document["AccessKeySecret"]


def provided(make):
    return lambda package, place: read_of(
        package, place, cred_path="", cred_provider=Provider(make(*keys_in(place)))
    )


def credentials(document):
    """Read with a credentials file; a function of the right keys makes it."""

    def run(package, place):
        path = place.file("keys", document(*keys_in(place)))
        return read_of(package, place, cred_path=path)

    return run


def file_of_keys(key, secret, **more):
    return {"AccessKeyId": key, "AccessKeySecret": secret, **more}


short_programs(
    {
        "a_provider_of_attributes": provided(Keys),
        "a_provider_of_getters": provided(Getters),
        "a_provider_of_a_dictionary": provided(
            lambda key, secret: {"access_key_id": key, "access_key_secret": secret}
        ),
        "a_provider_of_nothing": provided(lambda *_: None),
        "a_provider_of_empty_keys": provided(lambda *_: Keys("", "")),
        "a_provider_that_raises": provided(lambda *_: ZeroDivisionError("on purpose")),
        "a_provider_that_is_a_function": lambda package, place: read_of(
            package, place, cred_path="", cred_provider=lambda: Keys(*keys_in(place))
        ),
        "a_file_beside_a_provider_of_wrong_keys": lambda package, place: read_of(
            package, place, cred_provider=Provider(Keys("wrong", "wrong"))
        ),
        "credentials_that_are_missing": lambda package, place: read_of(
            package, place, cred_path=place.directory + "/gone"
        ),
        "credentials_that_are_wrong": credentials(lambda key, _: file_of_keys(key, "wrong")),
        "credentials_without_a_secret": credentials(lambda key, _: {"AccessKeyId": key}),
        "credentials_that_are_not_json": credentials(lambda *_: b"[default]"),
        "credentials_of_next_century": credentials(
            lambda key, secret: file_of_keys(key, secret, Expiration="2126-01-01T00:00:00Z")
        ),
        "credentials_that_expired": credentials(
            lambda key, secret: file_of_keys(key, secret, Expiration="2020-01-01T00:00:00Z")
        ),
        "credentials_whose_expiry_has_an_offset": credentials(
            lambda key, secret: file_of_keys(key, secret, Expiration="2126-01-01T00:00:00+08:00")
        ),
    }
)


def configured(document):
    """List with a config file of one's own."""

    def run(package, place):
        return keys_of(package, place, config_path=place.file("own.json", document))

    return run


SILENT = {"logPath": "", "auditPath": ""}

short_programs(
    {
        "a_published_config_file": configured(
            {
                "logLevel": 1,
                **SILENT,
                "datasetConfig": {"prefetchConcurrency": 24, "prefetchWorker": 2},
                "checkpointConfig": {"prefetchConcurrency": 24, "prefetchWorker": 4, "uploadConcurrency": 64},
            }
        ),
        "a_config_file_that_is_missing": lambda package, place: keys_of(
            package, place, config_path=place.directory + "/gone"
        ),
        "a_config_file_that_is_not_json": configured(b"{"),
        "a_config_file_with_a_comment": configured(b'{"logLevel": 1} // comment'),
        "a_config_file_that_is_a_list": configured([]),
        "a_config_file_with_an_unknown_key": configured({**SILENT, "unknown": 1}),
        "a_config_file_with_a_wrong_type": configured({**SILENT, "logLevel": [1]}),
        "a_config_file_with_a_level_by_name": configured({**SILENT, "logLevel": "INFO"}),
        "a_config_file_with_a_negative_number": configured(
            {**SILENT, "datasetConfig": {"prefetchConcurrency": -1}}
        ),
        "a_config_file_with_a_timeout_of_zero": configured({**SILENT, "datasetConfig": {"timeoutMs": 0}}),
        "no_config_file": lambda package, place: keys_of(package, place, config_path=""),
    },
    objects=FILES,
)
