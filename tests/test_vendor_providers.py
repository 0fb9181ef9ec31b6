"""Provider objects of the vendor's packages, as a job has them: the real ones, against an emulator."""

from __future__ import annotations

import json
import pickle
import time
import urllib.request

import oss2
import pytest
from alibabacloud_oss_v2 import credentials as v2
from torch.utils.data import DataLoader

from osstorchconnector import OssCheckpoint, OssIterableDataset, credentials


def vendors():
    """Return the module that `alibabacloud-credentials` gives; it is a development requirement like any other."""
    return pytest.importorskip("alibabacloud_credentials", reason="install requirements/dev.txt")


def new_keys(oss):
    """Take keys of a role as anybody does."""
    with urllib.request.urlopen(f"{oss.identity}/credentials", timeout=10) as answer:
        document = json.load(answer)
    return document["AccessKeyId"], document["AccessKeySecret"], document["SecurityToken"]


def client_of(kind, **settings):
    vendors()
    from alibabacloud_credentials.client import Client
    from alibabacloud_credentials.models import Config

    return Client(Config(type=kind, **settings))


def pair(oss):
    return oss.access_key_id, oss.access_key_secret


def named(keys):
    return dict(zip(("access_key_id", "access_key_secret", "security_token"), keys, strict=False))


def provider_of(name, **settings):
    vendors()
    from alibabacloud_credentials import provider

    return getattr(provider, name)(**settings)


# Where the metadata service of the emulator has the keys of its role.
ROLE = "/latest/meta-data/ram/security-credentials/emulator-role"

LASTING = {
    "oss2 static": lambda oss: oss2.credentials.StaticCredentialsProvider(*pair(oss)),
    "oss2 static with a token": lambda oss: oss2.credentials.StaticCredentialsProvider(*new_keys(oss)),
    "oss2 role": lambda oss: oss2.credentials.EcsRamRoleCredentialsProvider(oss.identity + ROLE),
    "v2 static": lambda oss: v2.StaticCredentialsProvider(*pair(oss)),
    "v2 static with a token": lambda oss: v2.StaticCredentialsProvider(*new_keys(oss)),
    "v2 function": lambda oss: v2.CredentialsProviderFunc(lambda: v2.Credentials(*new_keys(oss))),
    "client of a key": lambda oss: client_of("access_key", **named(pair(oss))),
    "client of a token": lambda oss: client_of("sts", **named(new_keys(oss))),
    "provider of a key": lambda oss: provider_of("StaticAKCredentialsProvider", **named(pair(oss))),
    "provider of a token": lambda oss: provider_of("StaticSTSCredentialsProvider", **named(new_keys(oss))),
}
RENEWING = {
    "client of a URI": lambda oss: client_of(
        "credentials_uri", credentials_uri=f"{oss.identity}/credentials"
    ),
    "provider of a URI": lambda oss: provider_of("URLCredentialsProvider", uri=f"{oss.identity}/credentials"),
}


def given(site, provider):
    arguments = {key: value for key, value in site.arguments.items() if key != "cred_path"}
    return {**arguments, "cred_provider": provider}


def read(checkpoint, uri):
    with checkpoint.reader(uri) as reader:
        return reader.read()


@pytest.mark.parametrize("make", (LASTING | RENEWING).values(), ids=LASTING | RENEWING)
def test_an_object_of_the_vendors_is_taken_as_it_is(site, make):
    # Neither oss2 nor a library of that age knows tokens of the metadata service.
    site.oss.identity_behaves(without_token=True)
    [uri] = site.fill({"k/a": b"whole"})
    arguments = given(site, make(site.oss))
    checkpoint = OssCheckpoint(**arguments)
    assert read(checkpoint, uri) == b"whole"
    with checkpoint.writer("oss://bucket/saved") as writer:
        writer.write(b"saved")
    assert read(checkpoint, "oss://bucket/saved") == b"saved"
    dataset = OssIterableDataset.from_prefix("oss://bucket/k/", **arguments)
    assert [sample.read() for sample in dataset] == [b"whole"]


@pytest.mark.parametrize("make", RENEWING.values(), ids=RENEWING)
def test_keys_that_an_object_of_the_vendors_renews_are_asked_for_again(site, make):
    # Such keys end within the quarter of an hour before which these objects fetch new ones whenever they are asked.
    site.oss.identity_behaves(lifetime_seconds=600, accepted=1)
    [uri] = site.fill({"a": b"whole"})
    checkpoint = OssCheckpoint(**given(site, make(site.oss)))
    assert read(checkpoint, uri) == b"whole"
    first = site.oss.newest_key()
    new_keys(site.oss)
    assert read(checkpoint, uri) == b"whole", "the first keys are refused now"
    assert site.oss.newest_key() != first


def test_an_expiry_behind_a_getter_is_read(site):
    site.oss.identity_behaves(lifetime_seconds=1200)
    provider = RENEWING["provider of a URI"](site.oss)
    expiry = credentials.fetch(provider)[3]
    assert expiry is not None
    assert 1100 < expiry - time.time() <= 1200


def test_forked_workers_go_on_with_what_an_object_of_the_vendors_holds(site):
    uris = site.fill({f"k/{number}": b"x" for number in range(20)})
    provider = RENEWING["client of a URI"](site.oss)
    dataset = OssIterableDataset.from_prefix("oss://bucket/k/", **given(site, provider))
    dataset.prepare()
    asked = site.oss.identity_asked()["uri"]
    loader = DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context="fork")
    assert sorted(f"oss:/{sample.key}" for sample in loader) == uris
    assert site.oss.identity_asked()["uri"] == asked, "what was fetched before the fork serves"


def test_an_object_with_locks_says_that_spawned_workers_cannot_have_it(site):
    source = credentials.choose("", RENEWING["client of a URI"](site.oss))
    with pytest.raises(TypeError, match=r"cred_provider Client cannot be pickled, .* use cred_path"):
        pickle.dumps(source)
