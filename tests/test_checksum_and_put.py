"""The checksum that OSS keeps, and whole objects written with one call."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osstorchconnector.checksum import crc64, crc64_combine
from osstorchconnector.connection import Connection
from osstorchconnector.errors import AlreadyExistsError
from osstorchconnector.local import LocalStore


def _store(site):
    site.fill({"made": b"with its bucket"})
    given = site.arguments
    return Connection(
        given["endpoint"], given["cred_path"], given["config_path"], None, given["region"]
    ).store()


def test_the_check_value_of_the_catalogue_comes_out():
    assert crc64(b"123456789") == 0x995DC9BBDF1939FA
    assert crc64(b"") == 0


@given(st.binary(max_size=70_000), st.integers(0, 70_000))
def test_pieces_give_the_checksum_of_the_whole(data: bytes, cut: int):
    first, second = data[:cut], data[cut:]
    assert crc64(second, crc64(first)) == crc64(data)
    assert crc64_combine(crc64(first), crc64(second), len(second)) == crc64(data)


def test_any_buffer_can_be_summed():
    numbers = np.arange(50_000, dtype=np.int64)
    assert crc64(numbers) == crc64(memoryview(numbers)) == crc64(bytearray(numbers.tobytes()))
    with pytest.raises(TypeError):
        crc64("text")


def test_a_whole_object_is_put_with_what_was_asked(site):
    store = _store(site)
    etag = store.put(
        "/bucket/k",
        memoryview(b"body"),
        content_type="application/json",
        storage_class="IA",
        metadata={"Epoch": "7"},
    )
    assert etag == store.native.head_object("/bucket/k").etag
    info = store.native.head_object("/bucket/k")
    assert (info.size, info.content_type, info.storage_class, info.metadata) == (
        4,
        "application/json",
        "IA",
        {"epoch": "7"},
    )
    assert info.crc64 == crc64(b"body")
    assert [request["operation"] for request in site.oss.requests()] == [
        "PutObject",
        "HeadObject",
        "HeadObject",
    ]


def test_an_object_that_is_there_is_not_replaced_if_absent_is_asked(site, tmp_path):
    on_oss = _store(site)
    for store, path in ((on_oss, "/bucket/k"), (LocalStore(), str(tmp_path / "k"))):
        store.put(path, b"first", if_absent=True)
        with pytest.raises(AlreadyExistsError):
            store.put(path, b"second", if_absent=True)
        assert store.open_reader(path).read() == b"first"
        store.put(path, b"third")
        assert store.open_reader(path).read() == b"third"
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["k"]
