"""Wrong arguments of streams, safetensors and checkpoints: one line of the right class, before anything is sent."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import osstorchconnector
from osstorchconnector import (
    OssCheckpoint,
    OssSafetensor,
)
from osstorchconnector.errors import ClosedError, ConfigError
from osstorchconnector.streams import ObjectReader
from torch_versions import need_checkpoints

URI = "oss://bucket/k"


def refused(kind, call, *named):
    """Check the class, that it is one line, and what it names; return the line."""
    with pytest.raises(kind) as raised:
        call()
    line = str(raised.value)
    assert "\n" not in line
    for words in named:
        assert words in line
    return line


@pytest.fixture
def nothing_sent(site):
    """Fail a test that sends anything."""
    site.fill({"train/x": b"x"})
    before = len(site.oss.requests())
    yield
    assert len(site.oss.requests()) == before


@pytest.fixture
def writer(site, nothing_sent):  # noqa: ARG001  (it looks when the writer is gone)
    writer = OssCheckpoint(**site.arguments).writer(URI)
    yield writer
    writer.abort()


@pytest.mark.parametrize(
    ("data", "remedy"),
    [
        ("text", "io.TextIOWrapper"),
        (None, "bytes"),
        (5, "bytes"),
        (torch.ones(3), "untyped_storage()"),
        (np.array([object()]), "pickle"),
    ],
    ids=["text", "None", "number", "tensor", "objects"],
)
def test_what_has_no_bytes_is_refused_by_write(writer, data, remedy):
    refused(TypeError, lambda: writer.write(data), URI, type(data).__name__, remedy)
    assert writer.size == 0


def test_seek_on_a_writer_says_what_to_do(writer):
    refused(io.UnsupportedOperation, lambda: writer.seek(0), URI, "io.BytesIO")


@pytest.mark.parametrize(
    ("buffer", "kind"),
    [
        (b"123", BufferError),
        (np.zeros(10, np.uint8)[::2], BufferError),
        ("123", TypeError),
        (torch.ones(3), TypeError),
    ],
    ids=["read-only", "strided", "text", "tensor"],
)
def test_readinto_refuses_what_it_cannot_fill(buffer, kind):
    reader = ObjectReader.of_bytes(b"123", "/bucket/k")
    refused(kind, lambda: reader.readinto(buffer), URI, "writable C-contiguous buffer")


def test_a_closed_reader_is_refused_by_with_too():
    reader = ObjectReader.of_bytes(b"123", "/bucket/k")
    reader.close()
    refused(ClosedError, reader.__enter__, URI, "open it again")


@pytest.mark.parametrize(
    ("options", "kind", "named"),
    [
        ({"size_hint_bytes": -1}, ConfigError, "size_hint_bytes"),
        ({"size_hint_bytes": "1GB"}, TypeError, "size_hint_bytes"),
        ({"metadata": {"step": 1}}, TypeError, "metadata"),
        ({"metadata": {"my step": "1"}}, ConfigError, "my step"),
        ({"metadata": {"step": "a\nb"}}, ConfigError, "step"),
        ({"storage_class": "Cold\r\nx: y"}, ConfigError, "storage_class"),
        ({"content_type": "text\n"}, ConfigError, "content_type"),
    ],
)
@pytest.mark.usefixtures("nothing_sent")
def test_wrong_options_of_a_writer_are_refused_when_it_is_opened(site, options, kind, named):
    checkpoint = OssCheckpoint(**site.arguments)
    refused(kind, lambda: checkpoint.writer(URI, **options), named)


def fake():
    with FakeTensorMode():
        return torch.ones(3)


@pytest.mark.parametrize(
    ("make", "named"),
    [(fake, "FakeTensor"), (lambda: torch.nested.nested_tensor([torch.ones(3)]), "nested")],
    ids=["fake", "nested"],
)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("nothing_sent")
def test_tensors_without_memory_of_their_own_are_no_safetensors(site, make, named):
    connector = OssSafetensor(**site.arguments)
    refused(ConfigError, lambda: connector.save_file({"a": make()}, URI), "'a'", named, "Nothing was sent")


def test_a_text_is_no_index_of_a_tensor(site):
    connector = OssSafetensor(**site.arguments)
    connector.save_file({"a": torch.ones(3)}, URI)
    with connector.safe_open(URI) as opened:
        part = opened.get_slice("a")
        before = len(site.oss.requests("GetObject"))
        refused(TypeError, lambda: part["a"], "'a'", "integers and slices")
        assert len(site.oss.requests("GetObject")) == before
        assert repr(part) == f"<TensorSlice 'a' of {URI}: F32 [3]>"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"keep_last": "3"}, "keep_last"),
        ({"keep_last": 2.5}, "keep_last"),
        ({"grace_seconds": -1}, "grace_seconds"),
        ({"grace_seconds": "1h"}, "grace_seconds"),
        ({"grace_seconds": float("nan")}, "grace_seconds"),
        ({"prefix_strategy": ["none"]}, "prefix_strategy"),
    ],
)
def test_wrong_options_of_a_checkpoints_writer_are_named(site, options, named):
    need_checkpoints()
    fs = osstorchconnector.OssDCPFileSystem(**site.arguments)
    refused(ConfigError, lambda: fs.writer("oss://bucket/run", **options), named)


def test_wrong_options_of_a_checkpoints_reader_are_named(site):
    need_checkpoints()
    fs = osstorchconnector.OssDCPFileSystem(**site.arguments)
    refused(ConfigError, lambda: fs.reader("oss://bucket/run", allow_classes=dict), "allow_classes=[dict]")
    refused(ConfigError, lambda: fs.latest("oss://bucket/run", allow_classes=dict), "allow_classes=[dict]")


@pytest.mark.parametrize("name", ["OssStorageReader", "OssStorageWriter"])
def test_a_path_where_the_file_system_belongs_is_told(name):
    need_checkpoints()
    kind = getattr(osstorchconnector, name)
    refused(TypeError, lambda: kind("oss://bucket/run", "oss://bucket/run"), "OssDCPFileSystem", "str")


def test_readers_and_writers_of_checkpoints_show_where_they_are(site):
    need_checkpoints()
    fs = osstorchconnector.OssDCPFileSystem(**site.arguments)
    assert repr(fs.writer("oss://bucket/run/")) == "<OssStorageWriter oss://bucket/run>"
    assert repr(fs.reader("/bucket/run")) == "<OssStorageReader oss://bucket/run>"
