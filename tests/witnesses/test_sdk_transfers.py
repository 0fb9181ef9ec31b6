"""The official SDK's uploader, downloader and file-like objects: many requests that make one object."""

from __future__ import annotations

import io
import os
import random

import alibabacloud_oss_v2 as sdk
import pytest
from witness_data import BUCKET, MINIMUM_PART_BYTES, body, crc64, etag

KEY = "transfers/one.bin"
DATA = body(5 * MINIMUM_PART_BYTES + 1234)
PARTS = {"part_size": MINIMUM_PART_BYTES, "parallel_num": 3}


def put(client, data=DATA, key=KEY):
    return client.put_object(sdk.PutObjectRequest(bucket=BUCKET, key=key, body=data))


def get(client, key=KEY):
    return client.get_object(sdk.GetObjectRequest(bucket=BUCKET, key=key))


# Whole files


def test_a_file_is_put_and_fetched(client, tmp_path):
    source, target = tmp_path / "source.jpg", tmp_path / "target"
    source.write_bytes(DATA)
    stored = client.put_object_from_file(sdk.PutObjectRequest(bucket=BUCKET, key=KEY), str(source))
    assert (stored.etag, stored.hash_crc64) == (etag(DATA), crc64(DATA))
    fetched = client.get_object_to_file(sdk.GetObjectRequest(bucket=BUCKET, key=KEY), str(target))
    assert (fetched.status_code, target.read_bytes()) == (200, DATA)


@pytest.mark.parametrize("size", [10, MINIMUM_PART_BYTES, len(DATA)])
def test_an_upload_in_parts_is_one_object(client, size, tmp_path):
    data = DATA[:size]
    result = client.uploader(**PARTS).upload_from(
        sdk.PutObjectRequest(bucket=BUCKET, key=KEY), reader=io.BytesIO(data)
    )
    assert (result.status_code, result.hash_crc64) == (200, crc64(data))
    assert (result.upload_id is None) == (size < MINIMUM_PART_BYTES)
    assert get(client).body.content == data
    source = tmp_path / "source"
    source.write_bytes(data)
    client.uploader(**PARTS).upload_file(sdk.PutObjectRequest(bucket=BUCKET, key="f"), str(source))
    assert get(client, "f").body.content == data


def test_a_sequential_upload_gives_the_same_object(client):
    for parameters in (None, {"sequential": ""}):
        client.uploader().upload_from(
            sdk.PutObjectRequest(bucket=BUCKET, key=KEY, parameters=parameters), reader=io.BytesIO(DATA)
        )
        assert get(client).etag == etag(DATA)


def test_an_upload_goes_on_where_it_broke_off(v4_client, oss_emulator, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(DATA)
    uploader = v4_client.uploader(
        part_size=MINIMUM_PART_BYTES, parallel_num=1, enable_checkpoint=True, checkpoint_dir=str(tmp_path)
    )
    broken = {"match": {"op": "UploadPart", "part": 4}, "action": {"status": 403, "code": "AccessDenied"}}
    oss_emulator.rules([broken])
    request = sdk.PutObjectRequest(bucket=BUCKET, key=KEY)
    with pytest.raises(sdk.UploadError):
        uploader.upload_file(request, str(source))
    oss_emulator.rules([])
    uploader.upload_file(request, str(source))
    assert get(v4_client).body.content == DATA
    numbers = [entry["part"] for entry in oss_emulator.requests("UploadPart") if entry["status"] == 200]
    assert sorted(numbers) == [1, 2, 3, 4, 5, 6]


def test_a_download_in_ranges_is_the_object(client, tmp_path):
    put(client)
    target = tmp_path / "target"
    request = sdk.GetObjectRequest(bucket=BUCKET, key=KEY)
    result = client.downloader(**PARTS).download_file(request, str(target))
    assert (result.written, target.read_bytes()) == (len(DATA), DATA)


def test_a_download_notices_that_the_object_is_damaged(v4_client, oss_emulator, tmp_path):
    put(v4_client)
    flip = {"match": {"op": "GetObject", "nth": [2]}, "action": {"flip_bit": True}}
    oss_emulator.rules([flip])
    with pytest.raises(sdk.DownloadError, match="crc is inconsistent"):
        v4_client.downloader(**PARTS).download_file(
            sdk.GetObjectRequest(bucket=BUCKET, key=KEY), str(tmp_path / "target")
        )


# Files


def test_a_remote_file_is_read_like_a_local_one(client):
    put(client)
    with client.open_file(BUCKET, KEY) as file:
        assert (file.name, file.mode, file.readable(), file.seekable()) == (
            f"oss://{BUCKET}/{KEY}",
            "rb",
            True,
            True,
        )
        assert file.read(2) == DATA[:2]
        assert file.seek(-1234, os.SEEK_END) == len(DATA) - 1234
        assert file.read() == DATA[-1234:]
        assert file.read() == b""
        assert file.seek(123) == file.tell() == 123
        buffer = bytearray(1000)
        assert file.readinto(buffer) == 1000
        assert (bytes(buffer), file.tell()) == (DATA[123:1123], 1123)
    assert file.closed
    with pytest.raises(sdk.PathError, match="stat_object"):
        client.open_file(BUCKET, "nothing")


def test_a_remote_file_reads_ahead(v4_client):
    put(v4_client)
    options = {"enable_prefetch": True, "prefetch_num": 3, "chunk_size": MINIMUM_PART_BYTES}
    chosen = random.Random(1)
    with v4_client.open_file(BUCKET, KEY, prefetch_threshold=0, **options) as file:
        assert file.readall() == DATA
        for _ in range(20):
            offset, count = chosen.randrange(len(DATA)), chosen.randrange(len(DATA))
            file.seek(offset)
            assert file.read(count) == DATA[offset : offset + count]


def test_a_remote_file_that_is_replaced_is_not_mixed(client):
    put(client)
    with client.open_file(BUCKET, KEY) as file:
        assert file.read(1000) == DATA[:1000]
        put(client, body(len(DATA), 1))
        file.seek(0)
        with pytest.raises(sdk.PathError, match="Source file is changed"):
            file.readall()


def test_a_remote_file_grows_by_appending(client):
    chunks = [b"hello", body(12_345), body(5 * MINIMUM_PART_BYTES, 1)]
    with client.append_file(BUCKET, KEY) as file:
        assert (file.tell(), file.mode, file.writable()) == (0, "ab", True)
        for chunk in chunks:
            assert file.write(chunk) == len(chunk)
        assert file.tell() == sum(map(len, chunks))
    with client.append_file(BUCKET, KEY) as file:
        assert file.tell() == sum(map(len, chunks))
        file.write(b"123")
        file.write_from(io.BytesIO(b"456"))
    whole = b"".join([*chunks, b"123456"])
    read = get(client)
    assert (read.body.content, read.object_type, read.hash_crc64) == (whole, "Appendable", crc64(whole))


def test_a_remote_file_that_was_only_flushed_exists_and_a_whole_object_does_not_grow(client):
    with client.append_file(BUCKET, KEY) as file:
        file.flush()
    assert (get(client).object_type, get(client).content_length) == ("Appendable", 0)
    client.append_file(BUCKET, "never written").close()
    assert not client.is_object_exist(BUCKET, "never written")
    put(client, b"whole", "whole")
    with pytest.raises(sdk.PathError, match="Not a appendable file"):
        client.append_file(BUCKET, "whole")


def test_a_new_remote_file_takes_its_properties_once(client):
    for content_type in ("plain/txt", "plain/js"):
        first = sdk.AppendObjectRequest(
            acl="public-read", storage_class="IA", content_type=content_type, metadata={"user": "test"}
        )
        with client.append_file(BUCKET, KEY, create_parameter=first) as file:
            file.write(b"data")
    seen = client.head_object(sdk.HeadObjectRequest(bucket=BUCKET, key=KEY))
    assert (seen.content_length, seen.content_type, seen.storage_class) == (8, "plain/txt", "IA")
    assert seen.metadata == {"user": "test"}
