"""Locations as users write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from osstorchconnector import uri
from osstorchconnector.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "bucket", "key"),
    [
        ("oss://bucket/key", "bucket", "key"),
        ("/bucket/key", "bucket", "key"),
        ("oss://bucket", "bucket", ""),
        ("oss://bucket/", "bucket", ""),
        ("oss://bucket//k", "bucket", "/k"),
        ("oss://bucket/a%20b?c#d", "bucket", "a%20b?c#d"),
    ],
)
def test_bucket_and_raw_key_are_split(text, bucket, key):
    assert uri.split(text) == (bucket, key)


@pytest.mark.parametrize(
    "text", ["oss://", "oss:///k", "/", "//k", "s3://b/k", "OSS://b/k", "b/k", "oss:/b/k"]
)
def test_other_texts_are_refused_with_the_text_in_the_message(text):
    with pytest.raises(ConfigError) as refused:
        uri.split(text)
    assert repr(text) in str(refused.value)
    assert isinstance(refused.value, ValueError)


def test_a_bucket_is_refused_where_an_object_is_needed():
    with pytest.raises(ConfigError, match="an object is needed"):
        uri.object_path("oss://bucket/")
    assert uri.prefix_path("oss://bucket") == "/bucket/"


def test_a_path_object_folds_the_slashes_and_is_unfolded():
    assert uri.location_text(Path("oss://b/k"), "x") == "oss://b/k"
    assert uri.location_text(Path("/b/k"), "x") == "/b/k"


def test_empty_and_foreign_values_name_the_argument():
    with pytest.raises(ConfigError, match="oss_uri is empty"):
        uri.location_text("", "oss_uri")
    with pytest.raises(TypeError, match="oss_uri must be a str"):
        uri.location_text(3, "oss_uri")  # type: ignore[arg-type]


def test_a_path_becomes_a_uri_and_a_uri_stays():
    assert uri.as_uri("/b/k") == "oss://b/k"
    assert uri.as_uri("oss://b/k") == "oss://b/k"
