"""A provider that holds what it is the provider of: a trainer that fetches keys, and has the dataset."""

from __future__ import annotations

import gc
import time
import weakref

import pytest

from osstorchconnector import OssCheckpoint, OssClient, OssIterableDataset


class Trainer:
    def __init__(self, site, make):
        self.keys = site.oss.access_key_id, site.oss.access_key_secret
        self.asked = 0
        arguments = {key: value for key, value in site.arguments.items() if key != "cred_path"}
        self.made = make(cred_provider=self, **arguments)

    def get_credentials(self):
        self.asked += 1
        return dict(zip(("access_key_id", "access_key_secret"), self.keys, strict=True))


def dataset(**arguments):
    return OssIterableDataset.from_prefix("oss://bucket/", **arguments)


def whole(checkpoint):
    with checkpoint.reader("oss://bucket/a") as reader:
        return reader.read()


USES = {
    "client": (OssClient, lambda client: client.head_object("bucket", "a")),
    "dataset": (dataset, list),
    "checkpoint": (OssCheckpoint, whole),
}


def is_gone(reference):
    """Collect garbage until it is gone; a thread may still be putting its work down."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        gc.collect()
        if reference() is None:
            return True
    return False


@pytest.mark.parametrize(("make", "use"), USES.values(), ids=USES)
def test_a_ring_of_a_provider_and_what_asks_it_is_collected(site, make, use):
    site.fill({"a": b"whole"})
    trainer = Trainer(site, make)
    use(trainer.made)
    assert trainer.asked == 1
    reference = weakref.ref(trainer)
    del trainer
    assert is_gone(reference)


def test_a_ring_that_a_reader_needs_is_not(site):
    uri, *_ = site.fill({"a": bytes(30_000_000)})
    trainer = Trainer(site, OssCheckpoint)
    lasting, trainer.keys = trainer.keys, ("passing", "passing-secret")
    site.oss.accept(access_key_id="passing", access_key_secret="passing-secret")
    reference = weakref.ref(trainer)
    reader = trainer.made.reader(uri)
    assert reader.read(10) == bytes(10)
    del trainer
    gc.collect()
    # The keys that were fetched are refused from now on, so the provider is asked again.
    site.oss.expire(access_key_id="passing")
    reference().keys = lasting
    reader.seek(20_000_000)
    assert len(reader.read()) == 10_000_000
    assert reference().asked == 2
    reader.close()
    del reader
    assert is_gone(reference)
