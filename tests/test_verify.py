"""`network.verify`: what becomes of bytes that the service tells no checksum of, and of checksums that nobody wants."""

from __future__ import annotations

import logging

import pytest

from osstorchconnector import OssCheckpoint, OssIterableDataset, connection, errors

WITHOUT_CRC = {"drop_headers": ["x-oss-hash-crc64ecma"]}


def choose(site, verify):
    """Fill a prefix with two objects, of which no answer tells a CRC-64; return the arguments with that choice."""
    site.fill({"k/0": b"zero", "k/1": b"one"})
    site.oss.rules(
        [{"match": {"op": op}, "action": WITHOUT_CRC} for op in ("GetObject", "PutObject", "HeadObject")]
    )
    connection._warn_once.cache_clear()
    return site.configured(network={"verify": verify})


def test_s17_what_cannot_be_verified_is_counted_by_default(site):
    dataset = OssIterableDataset.from_prefix("oss://bucket/k/", **choose(site, "check"))
    assert [sample.read() for sample in dataset] == [b"zero", b"one"]
    counted = dataset.stats()
    assert (counted["crc_checked"], counted["crc_unchecked"]) == (0, 2)


def test_s17_what_cannot_be_verified_is_an_error_where_that_is_required(site):
    arguments = choose(site, "require")
    with pytest.raises(errors.IntegrityError, match="no CRC-64 for this object"):
        list(OssIterableDataset.from_prefix("oss://bucket/k/", **arguments))
    checkpoint = OssCheckpoint(**arguments)
    with checkpoint.reader("oss://bucket/k/0") as reader, pytest.raises(errors.IntegrityError):
        reader.read()
    with pytest.raises(errors.UploadError) as refused, checkpoint.writer("oss://bucket/saved") as writer:
        writer.write(b"state")
    assert refused.value.state == "committed"


def test_nothing_is_compared_where_nobody_wants_it_and_that_is_said_once(site, caplog):
    arguments = choose(site, "off")
    site.oss.rules([{"match": {"op": "GetObject"}, "action": {"headers": {"x-oss-hash-crc64ecma": "1"}}}])
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            dataset = OssIterableDataset.from_prefix("oss://bucket/k/", **arguments)
            assert [sample.read() for sample in dataset] == [b"zero", b"one"]
    [said] = [record.getMessage() for record in caplog.records if "verify" in record.getMessage()]
    assert said.startswith("network.verify in ")
    assert "damaged bytes are not noticed" in said
    counted = dataset.stats()
    assert (counted["crc_checked"], counted["crc_mismatched"]) == (0, 0)


def test_another_word_is_a_config_error(site):
    with pytest.raises(errors.ConfigError, match=r"network\.verify"):
        list(OssIterableDataset.from_prefix("oss://bucket/k/", **choose(site, "maybe")))
