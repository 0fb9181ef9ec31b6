"""Manifest files: the user's parser decides, and what is wrong is named."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest

from osstorchconnector import imagenet_manifest_parser
from osstorchconnector.errors import ConfigError, FormatError, NotFoundError
from osstorchconnector.manifest import ManifestSource
from osstorchconnector.streams import ObjectReader


class Store:
    def open_reader(self, path):
        assert path == "/bucket/m.txt"
        return ObjectReader.of_bytes(b"a.png\tlabel\n", path)


def parsed(text):
    return list(imagenet_manifest_parser(io.BytesIO(text.encode())))


def rows(path, parser, base="oss://bucket/data/"):
    return list(ManifestSource(path, parser, base).rows(Store()))  # type: ignore[arg-type]


def test_columns_are_separated_by_tabs():
    assert parsed("a b.png\t1\nc.png\t2\tmore\r\n d.png\n") == [
        ("a b.png", "1"),
        ("c.png", "2"),
        ("d.png", ""),
    ]


def test_blank_lines_are_no_samples():
    assert parsed("\n\na\n \t \n\nb\n\n") == [("a", ""), ("b", "")]
    assert parsed("") == []


def test_a_line_without_a_key_is_named_by_its_number():
    with pytest.raises(FormatError, match="line 3"):
        parsed("a\n\n\tlabel\n")


def test_a_line_that_is_not_utf_8_is_named_by_its_number():
    with pytest.raises(FormatError, match=r"line 2 is not UTF-8.*xff"):
        list(imagenet_manifest_parser(io.BytesIO(b"a\n\xff\n")))


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n\n"])
def test_a_manifest_is_parsed_in_pieces_that_cut_no_line(ending):
    lines = [f"some/longer/ü/{number}\t{number}" for number in range(100_000)]
    reader = io.BytesIO("\n".join(lines).encode() + ending)
    assert list(imagenet_manifest_parser(reader)) == [tuple(line.split("\t")) for line in lines]


def test_base_and_key_are_joined_as_they_are(tmp_path):
    (tmp_path / "m").write_text("a\t1\nsub/b\n")
    assert rows(tmp_path / "m", imagenet_manifest_parser) == [
        ("/bucket/data/a", None, None, "1"),
        ("/bucket/data/sub/b", None, None, ""),
    ]
    assert rows(tmp_path / "m", imagenet_manifest_parser, "oss://bucket/pre-")[0][0] == "/bucket/pre-a"


def test_an_empty_base_takes_full_uris_as_keys(tmp_path):
    (tmp_path / "m").write_text("oss://one/a\n/two/b\n")
    for base in ("", None):
        assert [row[0] for row in rows(tmp_path / "m", imagenet_manifest_parser, base)] == [
            "/one/a",
            "/two/b",
        ]


def test_a_manifest_on_oss_is_read_through_the_store():
    assert rows("oss://bucket/m.txt", imagenet_manifest_parser) == [
        ("/bucket/data/a.png", None, None, "label")
    ]


def test_the_reader_is_at_the_start_and_closed_afterwards(tmp_path):
    (tmp_path / "m").write_bytes(b"a\nb\n")
    seen = []

    def parser(reader):
        seen.append(reader)
        assert reader.tell() == 0
        for line in reader.read().decode("utf-8").strip().split("\n"):
            yield line, None

    assert [row[3] for row in rows(tmp_path / "m", parser)] == ["", ""]
    assert seen[0].closed


def test_duplicates_are_samples_of_their_own(tmp_path):
    (tmp_path / "m").write_text("a\na\n")
    assert len(rows(tmp_path / "m", imagenet_manifest_parser)) == 2


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([("", "x")], "entry 1 has an empty key"),
        ([("a", ""), "b"], "entry 2 is 'b'"),
        ([("a",)], "entry 1"),
        ([(1, "x")], "entry 1"),
    ],
)
def test_an_entry_that_is_no_pair_is_named_with_the_manifest(tmp_path, entries, said):
    (tmp_path / "m").write_text("x")
    with pytest.raises(FormatError) as refused:
        rows(tmp_path / "m", lambda reader: entries)  # noqa: ARG005  (a parser's signature)
    assert said in str(refused.value)
    assert str(tmp_path / "m") in str(refused.value)


def test_a_label_of_another_type_is_a_type_error(tmp_path):
    (tmp_path / "m").write_text("x")
    with pytest.raises(TypeError, match=r"m: entry 1: a label must be a str"):
        rows(tmp_path / "m", lambda reader: [("a", 3)])  # noqa: ARG005  (a parser's signature)


def test_whatever_the_parser_raises_names_the_manifest_and_is_chained(tmp_path):
    (tmp_path / "m").write_bytes(b"\xff\xfe")

    def parser(reader):
        yield reader.read().decode("utf-8"), ""

    with pytest.raises(FormatError, match="its parser raised UnicodeDecodeError") as refused:
        rows(tmp_path / "m", parser)
    assert isinstance(refused.value.__cause__, UnicodeDecodeError)


def test_a_key_that_makes_no_location_is_named(tmp_path):
    (tmp_path / "m").write_text("relative/a\n")
    with pytest.raises(FormatError, match="entry 1"):
        rows(tmp_path / "m", imagenet_manifest_parser, "")


def test_a_missing_local_manifest_says_how_one_on_oss_is_written(tmp_path):
    with pytest.raises(NotFoundError, match="oss://bucket/key") as refused:
        rows(tmp_path / "nowhere", imagenet_manifest_parser)
    assert isinstance(refused.value, FileNotFoundError)


def test_missing_arguments_are_value_errors_at_once():
    with pytest.raises(ConfigError, match="manifest_file_path"):
        ManifestSource("", imagenet_manifest_parser, "oss://b/")
    with pytest.raises(ConfigError, match="manifest_parser"):
        ManifestSource("m", None, "oss://b/")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="an object is needed"):
        ManifestSource("oss://bucket", imagenet_manifest_parser, "oss://b/")


PARSING = """
import json, sys
from osstorchconnector import OssMapDataset, imagenet_manifest_parser
from osstorchconnector.errors import FormatError
arguments, path = json.loads(sys.argv[1]), sys.argv[2]
# ru_maxrss would begin with what the process that started this one had.
peak = lambda: next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if "VmHWM" in line)
dataset = OssMapDataset.from_manifest_file(path, imagenet_manifest_parser, "oss://bucket/", **arguments)
before = peak()
try:
    said = len(dataset)
except FormatError as failure:
    said = str(failure)
print(json.dumps({"said": said, "grown_bytes": peak() - before}))
"""


@pytest.mark.parametrize(
    "count", [50_000, pytest.param(10_000_000, marks=[pytest.mark.soak, pytest.mark.timeout(900)])]
)
@pytest.mark.parametrize("broken", [False, True])
def test_a_manifest_costs_no_memory_for_its_length(count, broken, site, tmp_path):
    path = tmp_path / "manifest.tsv"
    with path.open("w", encoding="ascii") as file:
        file.writelines(
            f"train/n{number % 1000:08}/{number}.JPEG\t{number % 1000}\n" for number in range(count)
        )
        file.write("\tno key\n" if broken else "")
    done = subprocess.run(
        [sys.executable, "-c", PARSING, json.dumps(site.arguments), path],
        check=True,
        stdout=subprocess.PIPE,
        env=os.environ,
    )
    took = json.loads(done.stdout)
    assert f"line {count + 1} has no key" in took["said"] if broken else took["said"] == count
    # 8 bytes a row, and no Python object; and what any first use takes.
    assert took["grown_bytes"] < 64 * 2**20 + 12 * count
