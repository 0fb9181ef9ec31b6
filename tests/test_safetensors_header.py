"""The header of a safetensors file: every lie is one typed line, judged beside the official library."""

from __future__ import annotations

import json
import random
import tracemalloc

import pytest
import safetensors
from hypothesis import example, given, settings
from hypothesis import strategies as st

from osstorchconnector.errors import FormatError
from osstorchconnector.safetensors import header

URI = "oss://bucket/m.safetensors"
ONE = '{"test":{"dtype":"I32","shape":[2,2],"data_offsets":[0,16]}}'


def file_of(text, data=b"", length=None):
    encoded = text if isinstance(text, bytes) else text.encode()
    return (len(encoded) if length is None else length).to_bytes(8, "little") + encoded + data


def entry(dtype="I32", shape=(2, 2), offsets=(0, 16), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


def document(**tensors):
    return json.dumps(tensors, separators=(",", ":"))


def read(file):
    """Read a whole file as `safe_open` reads an object, its data left aside."""
    count = header.header_size(file[:8], len(file), URI)
    return header.parse(file[8 : 8 + count], len(file), URI)


def official(file):
    return {name: (info["dtype"], tuple(info["shape"])) for name, info in safetensors.deserialize(file)}


# The official library's own bad headers (tensor.rs), and the rules of the format it documents.
BAD = {
    "empty": b"",
    "seven bytes": b"\x08" + bytes(6),
    "length beyond the file": b"<" + bytes(7),
    "length one too many": file_of(ONE, length=len(ONE) + 1),
    "length beyond the bound": file_of(ONE, bytes(16), length=100_000_001),
    "length of 2^64-1": b"\xff" * 8 + ONE.encode(),
    "length that is negative when signed": b"<\x00\x00\x00\x00\xff\xff\xff" + ONE.encode() + bytes(16),
    "no header": bytes(8),
    "not UTF-8": b"\x01" + bytes(7) + b"\xff",
    "not UTF-8 in a name": file_of(b'{"\xff":{"dtype":"I32","shape":[],"data_offsets":[0,4]}}', bytes(4)),
    "UTF-16": file_of("{}".encode("utf-16")),
    "byte order mark": file_of(b"\xef\xbb\xbf{}"),
    "not JSON": b"\x01" + bytes(7) + b"{",
    "a list": file_of("[]"),
    "a number": file_of("1"),
    "null": file_of("null"),
    "a text": file_of('"{}"'),
    "more behind it": file_of("{}{}"),
    "zeros behind it": file_of(b"{}\0\0"),
    "trailing comma": file_of('{"a":' + json.dumps(entry()) + ",}", bytes(16)),
    "a name without quotes": file_of("{a:{}}"),
    "single quotes": file_of("{'a':{}}"),
    "a comment": file_of("{}//"),
    "half a surrogate pair": file_of(ONE.replace("test", "\\ud800"), bytes(16)),
    "a control character in a name": file_of(ONE.replace("test", "te\nst"), bytes(16)),
    "deep nesting": file_of('{"a":' + "[" * 100_000, bytes(16)),
    "deep nesting in an entry": file_of('{"a":{"shape":' + "[" * 10_000 + "]" * 10_000 + "}}", bytes(16)),
    "trailing bytes": file_of(ONE, bytes(16) + b"extra_bogus_data_for_polyglot_file"),
    "missing bytes": file_of(ONE, bytes(14)),
    "no data at all": file_of(ONE),
    "overlap": file_of(document(**{f"weight_{number}": entry() for number in range(10)}), bytes(16)),
    "partial overlap": file_of(document(a=entry(), b=entry(offsets=(8, 24))), bytes(24)),
    "hole": file_of(document(a=entry(), b=entry(offsets=(24, 40))), bytes(40)),
    "hole at the start": file_of(document(a=entry(offsets=(8, 24))), bytes(24)),
    "offsets the wrong way round": file_of(document(a=entry(offsets=(16, 0))), bytes(16)),
    "offsets beyond the file": file_of(document(a=entry(shape=(3, 2), offsets=(0, 24))), bytes(16)),
    "offsets too far apart": file_of(document(a=entry(offsets=(0, 20))), bytes(20)),
    "offsets too near": file_of(document(a=entry(offsets=(0, 4))), bytes(4)),
    "three offsets": file_of(document(a=entry(offsets=(0, 16, 32))), bytes(16)),
    "one offset": file_of(document(a=entry(offsets=(16,))), bytes(16)),
    "offset of 2^64": file_of(document(a=entry(offsets=(2**64, 2**64 + 16))), bytes(16)),
    "negative offset": file_of(document(a=entry(offsets=(-16, 0))), bytes(16)),
    "fraction": file_of(document(a=entry(offsets=(0, 16.0))), bytes(16)),
    "true for a number": file_of(document(a=entry(shape=(True, 4))), bytes(16)),
    "text for a number": file_of(document(a=entry(shape=("2", 2))), bytes(16)),
    "NaN": file_of('{"a":{"dtype":"I32","shape":[NaN],"data_offsets":[0,16]}}', bytes(16)),
    "shape of no list": file_of(document(a={**entry(), "shape": 4}), bytes(16)),
    "negative shape": file_of(document(a=entry(shape=(-2, -2))), bytes(16)),
    "overflowing shape": file_of(document(a=entry(shape=(2, 18446744073709551614))), bytes(16)),
    "overflowing size": file_of(document(a=entry(shape=(2, 9223372036854775807))), bytes(16)),
    "overflow to the true size": file_of(document(a=entry(shape=(2**32, 2**32, 4))), bytes(16)),
    "overflow hidden by a zero": file_of(document(a=entry(shape=(2**63, 2, 0), offsets=(0, 0)))),
    "2^64": file_of(document(a=entry(shape=(2**64, 0), offsets=(0, 0)))),
    "unknown dtype": file_of(document(a=entry(dtype="I33")), bytes(16)),
    "dtype null": file_of(document(a=entry(dtype=None)), bytes(16)),
    "dtype of no text": file_of(document(a=entry(dtype=[1])), bytes(16)),
    "no dtype": file_of('{"a":{"shape":[2,2],"data_offsets":[0,16]}}', bytes(16)),
    "no shape": file_of('{"a":{"dtype":"I32","data_offsets":[0,16]}}', bytes(16)),
    "no offsets": file_of('{"a":{"dtype":"I32","shape":[2,2]}}', bytes(16)),
    "half a byte": file_of(document(a=entry(dtype="F4", shape=(1, 3), offsets=(0, 1))), bytes(1)),
    "a tensor that is a number": file_of('{"a":1}'),
    "metadata that is a list": file_of('{"__metadata__":[]}'),
    "metadata with a number": file_of('{"__metadata__":{"a":1}}'),
    "metadata with an object": file_of('{"__metadata__":{"a":{}}}'),
    "metadata with null": file_of('{"__metadata__":{"a":null}}'),
    "metadata that describes a tensor": file_of(document(__metadata__=entry()), bytes(16)),
    "metadata twice": file_of('{"__metadata__":{},"__metadata__":{}}'),
    "a field twice": file_of(
        '{"a":{"dtype":"I32","dtype":"I32","shape":[2,2],"data_offsets":[0,16]}}', bytes(16)
    ),
}
# What the official library lets pass, and reads as one of the two.
BEYOND = {
    "a name twice": file_of(f"{ONE[:-1]},{ONE[1:]}", bytes(16)),
    "a name twice, once escaped": file_of(
        f"{ONE[:-1]},{ONE[1:]}".replace("test", "t\\u0065st", 1), bytes(16)
    ),
    "metadata with a name twice": file_of('{"__metadata__":{"a":"1","a":"2"}}'),
    "a tensor that is a list": file_of('{"a":["I32",[2,2],[0,16]]}', bytes(16)),
    "more than torch can count": file_of(document(a=entry(shape=(2**63, 0), offsets=(0, 0)))),
}


@pytest.mark.parametrize("file", [pytest.param(file, id=name) for name, file in (BAD | BEYOND).items()])
def test_a_header_that_lies_is_refused_in_one_line_that_names_the_object(file):
    with pytest.raises(FormatError) as refused:
        read(file)
    line = str(refused.value)
    assert line.startswith(f"safe_open {URI}: ")
    assert "\n" not in line
    assert len(line) < 1500
    assert (refused.value.operation, refused.value.uri) == ("safe_open", URI)


@pytest.mark.parametrize("file", [pytest.param(file, id=name) for name, file in BAD.items()])
def test_the_official_library_refuses_it_too(file):
    with pytest.raises(safetensors.SafetensorError):
        safetensors.deserialize(file)


GOOD = {
    "one tensor": file_of(ONE, bytes(16)),
    "nothing": file_of("{}"),
    "a scalar": file_of('{"test":{"dtype":"I32","shape":[],"data_offsets":[0,4]}}', bytes(4)),
    "no elements": file_of('{"test":{"dtype":"I32","shape":[2,0],"data_offsets":[0, 0]}}'),
    "blanks behind": b"\x06" + bytes(7) + b"{}\x0d\x20\x09\x0a",
    "blanks in front": b"\x06" + bytes(7) + b"\x09\x0a{}\x0d\x20",
    "blanks everywhere": file_of(ONE.replace(":", " : ").replace(",", " ,\n"), bytes(16)),
    "metadata null": file_of('{"__metadata__":null}'),
    "metadata last": file_of(ONE[:-1] + ',"__metadata__":{"format":"pt"}}', bytes(16)),
    "braces in metadata": file_of('{"__metadata__":{"config":"{\\"a\\": {}}"}}'),
    "an unknown field": file_of(document(a=entry(note="x")), bytes(16)),
    "fields in another order": file_of(
        '{"a":{"data_offsets":[0,16],"shape":[2,2],"dtype":"I32"}}', bytes(16)
    ),
    "data in another order": file_of(document(a=entry(offsets=(16, 32)), b=entry()), bytes(32)),
    "an escaped name": file_of(ONE.replace("test", "\\u00e9\\ud83d\\ude00\\n"), bytes(16)),
    "a name beyond ASCII": file_of(ONE.replace("test", "é😀}"), bytes(16)),
    "six bits": file_of(document(a=entry(dtype="F6_E2M3", shape=(4,), offsets=(0, 3))), bytes(3)),
    "four bits": file_of(document(a=entry(dtype="F4", shape=(1, 2), offsets=(0, 1))), bytes(1)),
}


@pytest.mark.parametrize("file", [pytest.param(file, id=name) for name, file in GOOD.items()])
def test_a_true_header_reads_as_the_official_library_reads_it(file):
    found = read(file).tensors
    assert {name: (info.dtype, info.shape) for name, info in found.items()} == official(file)


def test_keys_keep_their_order_and_offsets_count_from_the_start_of_the_object():
    found = read(GOOD["data in another order"])
    assert list(found.tensors) == ["a", "b"]
    assert found.data_start == len(GOOD["data in another order"]) - 32
    assert [info.begin - found.data_start for info in found.tensors.values()] == [16, 0]
    assert read(GOOD["metadata last"]).metadata == {"format": "pt"}
    assert read(GOOD["braces in metadata"]).metadata == {"config": '{"a": {}}'}


def realistic(count):
    """A file with `count` tensors whose names are as long as those of models."""
    tensors = {
        f"model.layers.{number}.self_attn.q_proj.weight": entry("U8", (1, 4), (4 * number, 4 * number + 4))
        for number in range(count)
    }
    return file_of(document(__metadata__={"format": "pt"}, **tensors), bytes(4 * count))


ORIGINAL = realistic(5)
PARTS = [
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"0",
    b"9" * 30,
    b"-1",
    b"1e999",
    b"null",
    b"\\u0000",
    b"\xff",
    b" ",
]
PARTS += [b'"shape":', b'"data_offsets":[0,4]', b'"dtype":"F64"', b'"__metadata__":{}', b"NaN", b"\0", b"4.0"]


@st.composite
def damaged(draw):
    """A true file after a few cuts, insertions and flips, mostly in its header."""
    file = bytearray(ORIGINAL)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(file)))
        kind = draw(st.sampled_from(["cut", "insert", "flip", "fit"]))
        if kind == "cut":
            del file[at : at + draw(st.integers(1, 40))]
        elif kind == "insert":
            file[at:at] = draw(st.sampled_from(PARTS))
        elif kind == "flip" and at < len(file):
            file[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "fit" and len(file) > 28:
            # Let the length be true again, so that the damage lies in what it counts.
            file[:8] = (len(file) - 28).to_bytes(8, "little")
    return bytes(file)


@settings(max_examples=400, deadline=None)
@given(file=damaged())
@example(file=ORIGINAL)
def test_any_damage_is_a_format_error_or_harmless_and_never_reads_what_the_official_library_refuses(file):
    judge(file)


@pytest.mark.soak
@settings(max_examples=20_000, deadline=None)
@given(file=damaged())
def test_so_is_very_much_damage(file):
    judge(file)


def judge(file):
    try:
        found = read(file).tensors
    except FormatError:
        return
    assert {name: (info.dtype, info.shape) for name, info in found.items()} == official(file)


@settings(max_examples=300, deadline=None)
@given(file=st.binary(max_size=300))
def test_random_bytes_are_a_format_error(file):
    with pytest.raises(FormatError):
        read(file)


LIES = {
    "length": lambda file: b"\xff\xff\xff\x05" + bytes(4) + file[8:],
    "shape": lambda file: file.replace(b'"shape":[1,4]', b'"shape":[9,9]', 1),
    "a list that does not end": lambda file: file_of('{"a":{"shape":[' + "0," * (len(file) // 2)),
    "lists of lists": lambda file: file_of('{"a":[' + "[]," * (len(file) // 3)),
    "objects": lambda file: file_of('{"a":{"b":' + "{}," * (len(file) // 3)),
    "a name that does not end": lambda file: file_of('{"' + "a" * len(file)),
    "metadata that is no text": lambda file: file_of('{"__metadata__":{"a":[' + "1," * (len(file) // 2)),
    "a wide character": lambda file: file_of('{"😀":{"dtype":"I33"}' + " " * len(file)),
}


@pytest.mark.parametrize("lie", LIES)
def test_s8_a_lie_costs_at_most_twice_its_header(lie):
    file = LIES[lie](realistic(20_000))
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            read(file)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The header as bytes, and once more while it is read; the constant is for the error and the interpreter.
    assert peak < 2 * len(file) + 128 * 1024


def test_a_true_header_of_a_large_model_is_read_in_time():
    file = realistic(20_000)
    assert len(read(file).tensors) == 20_000


def test_sizes_are_whole_bytes_for_every_dtype():
    for dtype, bits in header.BITS.items():
        assert header.size_bytes(dtype, (8, 3)) == 3 * bits
    assert header.size_bytes("F32", ()) == 4
    with pytest.raises(ValueError, match="within a byte"):
        header.size_bytes("F6_E3M2", (1,))


def test_the_order_of_a_file_is_by_width_then_by_name():
    chosen = random.Random(7)
    names = [
        (f"t{number}", dtype)
        for number, dtype in enumerate(chosen.choices(["F32", "BF16", "I64", "BOOL"], k=20))
    ]
    ordered = sorted(names, key=lambda each: header.sort_key(*each))
    widths = [header.BITS[dtype] for _, dtype in ordered]
    assert widths == sorted(widths, reverse=True)
    assert ordered == sorted(ordered, key=lambda each: (-header.RANKS[each[1]], each[0].encode()))
