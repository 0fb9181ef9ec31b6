"""Objects as streams: reading, seeking, and what they say about themselves."""

from __future__ import annotations

import contextlib
import pickle
from contextlib import contextmanager

from same_programs import BUCKET, kept, program, short_programs

LINES = {"k": b"one\ntwo\n\nfour"}
BODY = LINES["k"]


@contextmanager
def opened(package, place, key="k"):
    # The original crashes when a stream outlives its client.
    client = kept(package.OssClient(**place.arguments))
    with client.get_object(BUCKET, key) as stream:
        yield stream


def on_a_stream(do):
    """Make a program of what is done with a stream at its start."""

    def run(package, place):
        with opened(package, place) as stream:
            return do(stream)

    return run


def text(data):
    return data.decode()


def read_into(stream, buffer):
    return [stream.readinto(buffer), bytes(buffer).hex()]


def seek_then_tell(*where):
    def do(stream):
        return [stream.seek(*where), stream.tell()]

    return on_a_stream(do)


def past_the_end(stream):
    stream.seek(100)
    return text(stream.read(1))


def at_the_end(stream):
    stream.read()
    return [text(stream.read()), text(stream.read(5))]


def closed_and(do):
    def run(stream):
        stream.close()
        return do(stream)

    return on_a_stream(run)


def assigned(stream):
    stream.key, stream.size, stream.label = "other", 1, "label"
    return [stream.key, stream.size, stream.label]


def read_after_assigning(stream):
    stream.key = "other"
    return text(stream.read())


short_programs(
    {
        "read_all": on_a_stream(lambda stream: text(stream.read())),
        "read_some": on_a_stream(lambda stream: [text(stream.read(3)), stream.tell(), text(stream.read(2))]),
        "read_more_than_there_is": on_a_stream(lambda stream: text(stream.read(1000))),
        "read_by_keyword": on_a_stream(lambda stream: text(stream.read(count=3))),
        "read_minus_one": on_a_stream(lambda stream: text(stream.read(-1))),
        "read_none": on_a_stream(lambda stream: text(stream.read(None))),
        "read_past_the_end": on_a_stream(past_the_end),
        "read_at_the_end": on_a_stream(at_the_end),
        "readinto": on_a_stream(lambda stream: read_into(stream, bytearray(4))),
        "readinto_more_than_there_is": on_a_stream(lambda stream: stream.readinto(bytearray(1000))),
        "readinto_memory_that_is_read_only": on_a_stream(lambda stream: stream.readinto(b"1234")),
        "readline": on_a_stream(lambda stream: [text(stream.readline()), text(stream.readline())]),
        "readline_of_some_bytes": on_a_stream(lambda stream: text(stream.readline(2))),
        "lines_in_a_for_loop": on_a_stream(lambda stream: [text(line) for line in stream]),
        "seek_from_the_start": seek_then_tell(4),
        "seek_from_here": seek_then_tell(2, 1),
        "seek_from_the_end": seek_then_tell(-4, 2),
        "seek_before_the_start": seek_then_tell(-100),
        "seek_with_a_bad_whence": seek_then_tell(0, 9),
        "seek_past_the_end": seek_then_tell(100),
        "seekable": on_a_stream(lambda stream: stream.seekable()),
        "readable": on_a_stream(lambda stream: stream.readable()),
        "write_to_a_reader": on_a_stream(lambda stream: stream.write(b"x")),
        "flush_of_a_reader": on_a_stream(lambda stream: stream.flush()),
        "close_of_a_reader": on_a_stream(lambda stream: [stream.close(), stream.close()]),
        "closed_of_a_reader": on_a_stream(lambda stream: stream.closed),
        "read_after_close": closed_and(lambda stream: text(stream.read())),
        "copy_is_the_same_object": on_a_stream(lambda stream: stream.copy() is stream),
        "fileno": on_a_stream(lambda stream: stream.fileno()),
        "pickling_a_stream": on_a_stream(lambda stream: len(pickle.dumps(stream))),
        "assigning_key_size_and_label": on_a_stream(assigned),
        "read_after_assigning_a_key": on_a_stream(read_after_assigning),
        "err_of_a_healthy_stream": on_a_stream(lambda stream: [stream.err(), stream.error_msg()]),
        "being_a_stream_of_io": on_a_stream(lambda stream: __import__("io").IOBase in type(stream).__mro__),
        "size_before_the_first_read": on_a_stream(lambda stream: stream.size),
        "key_of_a_stream": on_a_stream(lambda stream: stream.key),
    },
    objects=LINES,
)


@program(objects=LINES)
def readers_of_each_kind(package, place):
    client = kept(package.OssClient(**place.arguments))
    return [text(client.get_object(BUCKET, "k", type=kind).read()) for kind in (0, 2)]


@program(objects=LINES)
def two_streams_at_once(package, place):
    client = kept(package.OssClient(**place.arguments))
    first, second = client.get_object(BUCKET, "k"), client.get_object(BUCKET, "k")
    return [text(first.read(3)), text(second.read(5)), text(first.read(3))]


@program(objects={})
def reading_a_missing_object(package, place):
    with opened(package, place, "gone") as stream:
        return text(stream.read())


@program(objects={})
def errno_of_a_missing_object(package, place):
    client = kept(package.OssClient(**place.arguments))
    listed = client.list_objects_from_uris(
        [package.new_data_object(place.uri("gone"))], prefetch=True, include_errors=True
    )
    return [item.err() for item in listed]


@program(objects=LINES, rules=[{"match": {"key": "k"}, "action": {"status": 403, "code": "AccessDenied"}}])
def errno_of_a_refused_object(package, place):
    client = kept(package.OssClient(**place.arguments))
    listed = client.list_objects_from_uris(
        [package.new_data_object(place.uri("k"))], prefetch=True, include_errors=True
    )
    return [item.err() for item in listed]


@program(objects=LINES, rules=[{"match": {"op": "GetObject"}, "action": {"flip_bit": 20}}])
def a_bit_that_flips_on_the_way(package, place):
    client = kept(package.OssClient(**place.arguments))
    return text(client.get_object(BUCKET, "k", type=2).read()) == text(BODY)


@program(objects=LINES, rules=[{"match": {"op": "GetObject"}, "action": {"status": 200, "body": "<html/>"}}])
def a_web_page_in_the_place_of_an_object(package, place):
    client = kept(package.OssClient(**place.arguments))
    return text(client.get_object(BUCKET, "k", type=2).read())


REFUSED = {"status": 403, "code": "AccessDenied"}


# The original asks eight times before it gives a read up.
@program(objects=LINES, rules=[{"match": {"op": "GetObject", "nth": list(range(1, 9))}, "action": REFUSED}])
def err_after_a_read_that_went_well(package, place):
    stream = kept(package.OssClient(**place.arguments)).get_object(BUCKET, "k")
    for _ in range(9):
        with contextlib.suppress(RuntimeError):
            stream.read()
            break
    return stream.err()


@program(objects=LINES, rules=[{"match": {"op": "GetObject", "nth": 1}, "action": {"status": 500}}])
def one_failure_of_the_service(package, place):
    with opened(package, place) as stream:
        return text(stream.read())


@program(objects={"k": b"1234567890"})
def an_object_replaced_while_it_is_read(package, place):
    client = kept(package.OssClient(**place.arguments))
    with client.get_object(BUCKET, "k") as stream:
        start = text(stream.read(3))
        with client.put_object(BUCKET, "k") as writer:
            writer.write(b"abcdefghij")
        return start + text(stream.read())


@program(objects=LINES, needs_user_faults=True)
def a_checkpoint_reader(package, place):
    checkpoint = kept(package.OssCheckpoint(**place.arguments))
    with checkpoint.reader(place.uri("k")) as stream:
        return [text(stream.read(3)), stream.seek(4), text(stream.read())]


@program(objects=LINES, needs_user_faults=True)
def size_of_a_checkpoint_reader_before_its_first_read(package, place):
    checkpoint = kept(package.OssCheckpoint(**place.arguments))
    with checkpoint.reader(place.uri("k")) as stream:
        return stream.size


@program(objects={"k": b""}, needs_user_faults=True)
def a_checkpoint_reader_of_an_empty_object(package, place):
    checkpoint = kept(package.OssCheckpoint(**place.arguments))
    with checkpoint.reader(place.uri("k")) as stream:
        return text(stream.read())


@program(objects=LINES, needs_user_faults=True)
def a_checkpoint_reader_of_a_missing_object(package, place):
    checkpoint = kept(package.OssCheckpoint(**place.arguments))
    with checkpoint.reader(place.uri("gone")) as stream:
        return text(stream.read())


@program(objects=LINES, needs_user_faults=True)
def a_checkpoint_reader_of_a_uri_without_a_key(package, place):
    checkpoint = kept(package.OssCheckpoint(**place.arguments))
    with checkpoint.reader(f"oss://{BUCKET}") as stream:
        return len(stream.read()) > 0


@program(objects={})
def a_detached_object(package, place):
    made = package.new_data_object("oss://b/k", 5, "label")
    return [made.key, made.size, made.label]


@program(objects={})
def pickling_a_detached_object(package, place):
    return pickle.loads(pickle.dumps(package.new_data_object("oss://b/k"))).key


@program(objects={})
def reading_a_detached_object(package, place):
    return text(package.new_data_object("oss://b/k").read())


@program(objects={})
def a_detached_object_of_a_relative_name(package, place):
    return package.new_data_object("k").key
