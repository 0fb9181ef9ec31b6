"""Writers: what becomes visible, when, and what does not."""

from __future__ import annotations

import contextlib
import gc

from same_programs import BUCKET, kept, program

OLD = {"k": b"old"}
REFUSED = {"status": 403, "code": "AccessDenied"}


def size_of(package, place, key="k"):
    try:
        return kept(package.OssClient(**place.arguments)).head_object(BUCKET, key).size
    except RuntimeError:
        return "nothing"


@program(objects=OLD)
def a_save(package, place):
    checkpoint = kept(package.OssCheckpoint(**place.arguments))
    with checkpoint.writer(place.uri("k")) as stream:
        written = [
            stream.write(b"some"),
            stream.write(bytearray(b" more")),
            stream.write(memoryview(b"a.b.")[::2]),
        ]
    return [*written, size_of(package, place)]


@program(objects=OLD)
def a_save_of_torch(package, place):
    import io

    import torch

    checkpoint = kept(package.OssCheckpoint(**place.arguments))
    with checkpoint.writer(place.uri("k")) as stream:
        torch.save({"step": torch.arange(1000)}, stream)
    client = kept(package.OssClient(**place.arguments))
    data = client.get_object(BUCKET, "k", type=2).read()
    return len(torch.load(io.BytesIO(data), weights_only=True)["step"])


@program(objects=OLD)
def the_old_object_while_a_save_goes_on(package, place):
    checkpoint = kept(package.OssCheckpoint(**place.arguments))
    with checkpoint.writer(place.uri("k")) as stream:
        stream.write(b"new object")
        return size_of(package, place)


@program(objects=OLD)
def an_exception_in_the_block_of_a_writer(package, place):
    checkpoint = kept(package.OssCheckpoint(**place.arguments))
    with contextlib.suppress(ZeroDivisionError), checkpoint.writer(place.uri("k")) as stream:
        stream.write(b"new ob")
        raise ZeroDivisionError
    return size_of(package, place)


@program(objects=OLD)
def a_writer_that_is_dropped(package, place):
    checkpoint = kept(package.OssCheckpoint(**place.arguments))
    stream = checkpoint.writer(place.uri("k"))
    stream.write(b"new object")
    del stream
    gc.collect()
    return size_of(package, place)


@program(objects={})
def a_writer_closed_without_a_write(package, place):
    checkpoint = kept(package.OssCheckpoint(**place.arguments))
    with checkpoint.writer(place.uri("k")):
        pass
    return size_of(package, place)


@program(objects={})
def a_writer_that_wrote_nothing_but_empty_bytes(package, place):
    checkpoint = kept(package.OssCheckpoint(**place.arguments))
    with checkpoint.writer(place.uri("k")) as stream:
        stream.write(b"")
    return size_of(package, place)


@program(objects={})
def a_write_after_close(package, place):
    checkpoint = kept(package.OssCheckpoint(**place.arguments))
    stream = checkpoint.writer(place.uri("k"))
    stream.write(b"whole object")
    stream.close()
    stream.write(b"more")
    stream.close()
    return size_of(package, place)


@program(objects={})
def size_of_a_writer(package, place):
    checkpoint = kept(package.OssCheckpoint(**place.arguments))
    with checkpoint.writer(place.uri("k")) as stream:
        stream.write(b"four")
        return [stream.size, stream.tell()]


@program(objects={})
def seek_of_a_writer(package, place):
    checkpoint = kept(package.OssCheckpoint(**place.arguments))
    with checkpoint.writer(place.uri("k")) as stream:
        return [stream.seekable(), stream.seek(0)]


@program(objects={})
def read_of_a_writer(package, place):
    checkpoint = kept(package.OssCheckpoint(**place.arguments))
    with checkpoint.writer(place.uri("k")) as stream:
        return stream.read().decode()


@program(objects={})
def text_to_a_writer(package, place):
    checkpoint = kept(package.OssCheckpoint(**place.arguments))
    with checkpoint.writer(place.uri("k")) as stream:
        return stream.write("text")


@program(objects={})
def flush_and_close_of_a_writer(package, place):
    checkpoint = kept(package.OssCheckpoint(**place.arguments))
    stream = checkpoint.writer(place.uri("k"))
    stream.write(b"x")
    return [stream.flush(), stream.close()]


@program(
    objects=OLD,
    rules=[
        {"match": {"op": "UploadPart"}, "action": REFUSED},
        {"match": {"op": "PutObject"}, "action": REFUSED},
    ],
)
def a_save_that_is_refused(package, place):
    checkpoint = kept(package.OssCheckpoint(**place.arguments))
    with checkpoint.writer(place.uri("k")) as stream:
        stream.write(b"new object")


@program(
    objects=OLD,
    rules=[
        {"match": {"op": "UploadPart"}, "action": REFUSED},
        {"match": {"op": "PutObject"}, "action": REFUSED},
    ],
)
def what_is_there_after_a_save_that_was_refused(package, place):
    checkpoint = kept(package.OssCheckpoint(**place.arguments))
    with contextlib.suppress(RuntimeError), checkpoint.writer(place.uri("k")) as stream:
        stream.write(b"new object")
    return size_of(package, place)


FLIPPED = {"flip_bit": {"bit": 3, "direction": "in"}}


@program(
    objects=OLD,
    rules=[
        {"match": {"op": "UploadPart"}, "action": FLIPPED},
        {"match": {"op": "PutObject"}, "action": FLIPPED},
    ],
)
def a_bit_that_flips_while_it_is_saved(package, place):
    checkpoint = kept(package.OssCheckpoint(**place.arguments))
    with checkpoint.writer(place.uri("k")) as stream:
        stream.write(b"new object")
    client = kept(package.OssClient(**place.arguments))
    return client.get_object(BUCKET, "k", type=2).read() == b"new object"


@program(objects={})
def a_writer_kept_after_its_checkpoint(package, place):
    stream = package.OssCheckpoint(**place.arguments).writer(place.uri("k"))
    gc.collect()
    stream.write(b"four")
    stream.close()
    return size_of(package, place)


@program(objects=OLD, config={"checkpointConfig": {"uploadIoSizeMB": 1}})
def a_save_of_three_parts(package, place):
    checkpoint = kept(package.OssCheckpoint(**place.arguments))
    with checkpoint.writer(place.uri("k")) as stream:
        for _ in range(5):
            stream.write(bytes(500_000))
