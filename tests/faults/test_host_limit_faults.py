"""A machine that gives no more: files, threads, memory: F84, F85, F86."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from reading import MIB, quick

from osstorchconnector import private_files

HERE = str(Path(__file__).parent)

# What each program below begins with.
BEGIN = f"""
import json, os, sys
sys.path.insert(0, {HERE!r})
import refusing
from osstorchconnector import OssCheckpoint, OssClient, OssIterableDataset, OssMapDataset
from osstorchconnector.credentials import StaticCredentials
from osstorchconnector.errors import OssError
arguments = json.loads(sys.argv[1])
checkpoint = OssCheckpoint(**arguments)
images = OssMapDataset.from_prefix("oss://bucket/k/", **arguments)
stream = OssIterableDataset.from_prefix("oss://bucket/k/", **arguments)

def said(work):
    try:
        return work()
    except (OssError, MemoryError) as error:
        return [type(error).__name__, str(error), getattr(error, "errno", None)]
"""


def answers(program, arguments, *more):
    """Run a program that prints one JSON document; return it."""
    arguments = {name: str(value) for name, value in arguments.items()}
    texts = [json.dumps(argument) for argument in (arguments, *more)]
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + program, *texts],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def filled(wire):
    wire.fill({f"k/{number:02}": bytes([number]) * 50_000 for number in range(40)})
    wire.fill({"big": bytes(9 * MIB)})
    return wire


FEW_FILES = """
images.prepare(), stream.prepare()
way = json.loads(sys.argv[2])
def saved():
    with checkpoint.writer("oss://bucket/saved") as writer:
        writer.write(bytes(40 << 20))
    return checkpoint.reader("oss://bucket/saved").size
ways = {
    "iterable": lambda: [sample.read()[0] for sample in stream],
    "batch": lambda: [sample.read()[0] for sample in images.__getitems__(list(range(40)))],
    "stream": lambda: len(checkpoint.reader("oss://bucket/big").read()),
    "saved": saved,
}
# The client reads its keys and makes its first connection.
assert checkpoint.reader("oss://bucket/k/00").read()[0] == 0
refusing.refuse_files(3)
print(json.dumps([said(ways[way]), checkpoint.stats()["slow_mode_entered"]]))
"""


@pytest.mark.parametrize(
    ("way", "expected"),
    [("iterable", [*range(40)]), ("batch", [*range(40)]), ("stream", 9 * MIB), ("saved", 40 * MIB)],
)
def test_f84_with_few_files_left_few_connections_do_all_the_work(way, expected, filled):
    # Answers are slow enough that every worker would like a connection of its own.
    filled.oss.shape(first_byte_ms=20)
    assert answers(FEW_FILES, quick(filled, deadlineSeconds=20), way) == [expected, 0]


NO_FILES = """
# Its keys need no file, so that all that is missing is a connection.
keys = json.load(open(arguments.pop("cred_path")))
keys = StaticCredentials(keys["AccessKeyId"], keys["AccessKeySecret"])
fresh = OssMapDataset.from_objects(["oss://bucket/k/03"], cred_provider=keys, **arguments)
fresh.prepare()
refusing.refuse_files(0)
refused = said(lambda: list(fresh[0].read()))
refusing.allow_files()
print(json.dumps([refused, said(lambda: fresh[0].read()[0])]))
"""


def test_f84_without_any_file_the_limit_is_named_and_it_works_again_later(filled):
    arguments = quick(filled, deadlineSeconds=2, firstContactSeconds=1)
    refused, after = answers(NO_FILES, arguments)
    assert refused[0] == "ConnectionFailedError"
    assert "ulimit -n" in refused[1]
    assert refused[2] == 24
    assert after == 3


def test_f84_a_process_without_files_takes_no_other_for_gone(monkeypatch, tmp_path):
    """Whether a process lives is read from a file; what cannot be read is no reason to remove what is another's."""
    theirs = tmp_path / f"{private_files.name_of(os.getppid())}-0.index"
    theirs.touch()

    def refuse(*_, **__):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as limited:
        limited.setattr(Path, "read_text", refuse)
        private_files.remove_stale(str(tmp_path))
    assert theirs.exists()


WITHOUT_THREADS = """
import threading
refusing.refuse_threads()
try:
    threading.Thread(target=print).start()
except RuntimeError:
    pass
else:
    sys.exit("threads can be made")
def saved(size):
    with checkpoint.writer("oss://bucket/saved") as writer:
        writer.write(bytes(size))
    return checkpoint.reader("oss://bucket/saved").size
def whole():
    buffer = bytearray(9 << 20)
    return checkpoint.reader("oss://bucket/big").readinto(buffer)
def pieces():
    with checkpoint.reader("oss://bucket/big") as reader:
        return sum(map(len, iter(lambda: reader.read(1 << 20), b"")))
print(json.dumps({
    "iterable": said(lambda: [sample.read()[0] for sample in stream]),
    "map": said(lambda: images[3].read()[0]),
    "batch": said(lambda: [sample.read()[0] for sample in images.__getitems__([5, 7])]),
    "readinto": said(whole),
    "pieces": said(pieces),
    "part": said(lambda: saved(1000)),
    "parts": said(lambda: saved(40 << 20)),
    "listing": said(lambda: len(OssMapDataset.from_prefix("oss://bucket/many/", **arguments))),
    "missing": said(lambda: checkpoint.reader("oss://bucket/none").read())[0],
}))
"""


def test_f85_without_threads_everything_works_on_the_callers_own(filled):
    # More pages than are read before the listing would be split among threads.
    filled.oss.fill("bucket", "many/", 5500, 1, synthetic=True)
    said = answers(WITHOUT_THREADS, quick(filled, deadlineSeconds=20))
    assert said == {
        "iterable": list(range(40)),
        "map": 3,
        "batch": [5, 7],
        "readinto": 9 * MIB,
        "pieces": 9 * MIB,
        "part": 1000,
        "parts": 40 * MIB,
        "listing": 5500,
        "missing": "NotFoundError",
    }


LITTLE_MEMORY = """
prefix = OssMapDataset.from_prefix("oss://bucket/huge/", **arguments)
listed = OssMapDataset.from_objects(["oss://bucket/huge/00000000"], **arguments)
flowing = OssIterableDataset.from_prefix("oss://bucket/huge/", **arguments)
prefix.prepare(), listed.prepare(), flowing.prepare(), images.prepare()
assert images[3].read()[0] == 3
refusing.refuse_memory(120 << 20)
def reading(*size):
    with checkpoint.reader("oss://bucket/huge/00000000") as reader:
        return len(reader.read(*size))
def saving():
    piece = bytes(8 << 20)
    with checkpoint.writer("oss://bucket/saved") as writer:
        for _ in range(60):
            writer.write(piece)
ways = {
    "prefix": lambda: prefix[0],
    "listed": lambda: listed[0],
    "batch": lambda: prefix.__getitems__([0, 1]),
    "flowing": lambda: next(iter(flowing)),
    "stream": reading,
    "piece": lambda: reading(1 << 20),
    "saving": saving,
}
outcomes = {}
for name, way in ways.items():
    outcome = said(way)
    outcomes[name] = outcome[0] if isinstance(outcome, list) else outcome
    # Whatever failed, the next thing works.
    assert images[3].read()[0] == 3, name
print(json.dumps(outcomes))
"""


def test_f86_what_does_not_fit_into_memory_is_a_memory_error_and_the_client_works_on(filled):
    filled.oss.fill("bucket", "huge/", 2, 1 << 30, synthetic=True)
    outcomes = answers(LITTLE_MEMORY, quick(filled, deadlineSeconds=20))
    # The parts of a save may fit, one after the other, if memory is given back quickly enough.
    assert outcomes.pop("saving") in ("MemoryError", None)
    assert outcomes.pop("piece") == MIB
    assert set(outcomes.values()) == {"MemoryError"}
