"""Every parser in Python against the stored corpus, damaged: no crash, no endless loop, bounded memory, the right class.

What is accepted holds: it can be written and read again, or the official library reads the same. `make test` lets
hypothesis choose the damage; `make soak` goes on for `OSS_MUTATION_SECONDS` with inputs that nobody has seen before.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import tempfile
import time
import zlib
from contextlib import contextmanager
from pathlib import Path

import pytest
import safetensors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mutation import Corpus
from osstorchconnector import config, dumping, errors, whole_file
from osstorchconnector.cli.cp.begun import Note
from osstorchconnector.delivery import Worker
from osstorchconnector.epochs import SharedEpoch
from osstorchconnector.errors import ConfigError, FormatError, InternalError, OssError
from osstorchconnector.loaded import LoadedState
from osstorchconnector.manifest import ManifestSource, imagenet_manifest_parser
from osstorchconnector.progress import state_of
from osstorchconnector.safetensors import header, weight_map
from torch_versions import need_checkpoints

URI = "oss://bucket/a"
MOST_MEMORY_BYTES = 64 << 20
LONGEST_SECONDS = 1.0


def refused(read, octets, kind):
    """Return what a parser makes of an input; None if it refused it in one line of the right class."""
    try:
        return read(octets)
    except kind as wrong:
        text = str(wrong)
        assert len(text.splitlines()) == 1, text
        assert len(text) < 3000, text
        return None


def safetensors_file(octets):
    """Read it as `safe_open` does; the official library takes what is taken here, and reads the same."""

    def read(file):
        count = header.header_size(file[:8], len(file), URI)
        return header.parse(file[8 : 8 + count], len(file), URI)

    found = refused(read, octets, FormatError)
    if found is None:
        return False
    theirs = {name: (info["dtype"], tuple(info["shape"])) for name, info in safetensors.deserialize(octets)}
    assert {name: (info.dtype, info.shape) for name, info in found.tensors.items()} == theirs
    return True


def map_of_weights(octets):
    found = refused(lambda text: weight_map.parse(text, URI), octets, FormatError)
    if found is None:
        return False
    again = json.dumps({"weight_map": found}).encode()
    assert weight_map.parse(again, URI) == found
    return True


class Slowly(io.BytesIO):
    """A stream that gives a few bytes at a time, as a network does."""

    def read(self, size=-1):
        return super().read(min(size, 7) if size > 0 else size)


def list_of_objects(octets):
    rows = refused(lambda text: list(imagenet_manifest_parser(io.BytesIO(text))), octets, FormatError)
    if rows is None:
        return False
    if len(octets) < 5000:
        assert list(imagenet_manifest_parser(Slowly(octets))) == rows
    source = ManifestSource("/manifest", imagenet_manifest_parser, "oss://bucket/")
    for number, entry in enumerate(rows, start=1):
        refused(lambda entry, number=number: source._row(number, entry), entry, FormatError)
    return True


@contextmanager
def file_of(octets):
    path = Path(tempfile.gettempdir()) / f"corpus-{os.getpid()}"
    path.write_bytes(octets)
    try:
        yield path
    finally:
        path.unlink()


def config_file(octets):
    with file_of(octets) as path:
        read = refused(config.load, str(path), ConfigError)
        config._said.clear()
        if read is None:
            return False
        carried = pickle.dumps(read)
        assert pickle.loads(carried) == read
    user, at, _ = str(read.options.get("proxy", "")).rpartition("@")
    assert not at or len(user) < 8 or user not in repr(read) + repr(carried)
    return True


def error_text(octets):
    text = octets.decode(errors="replace")
    for kind in (OssError, errors.NotFoundError, errors.UploadError):
        error = kind(text)
        again = pickle.loads(pickle.dumps(error))
        assert str(again) == str(error) == text
        assert vars(again) == vars(error)
        assert isinstance(error.attempts, int)
    return bool(OssError(text).request_id or OssError(text).attempts)


def metadata_of_a_checkpoint(octets):
    need_checkpoints()
    from torch.distributed.checkpoint.metadata import Metadata

    from osstorchconnector.dcp import unpickling

    found = refused(lambda data: unpickling.read_metadata(data, URI), octets, FormatError)
    assert found is None or isinstance(found, Metadata)
    return found is not None


def manifest_of_a_save(octets):
    need_checkpoints()
    from osstorchconnector.dcp import manifest

    found = refused(lambda data: manifest.decode(data, URI), octets, FormatError)
    if found is None:
        return False
    assert manifest.decode(found.encode(), URI) == found
    return True


def state_of_a_dataset(octets):
    try:
        document = json.loads(octets)
    except (ValueError, RecursionError):
        return False
    found = refused(state_of, document, ConfigError)
    if found is None:
        return False
    assert state_of(found.as_dict()) == found
    return True


def name_below_a_checkpoint(octets):
    need_checkpoints()
    from osstorchconnector.dcp import naming

    taken = 0
    for line in octets.decode(errors="replace").split("\n"):
        save = naming.save_of_shard(line) or naming.save_of_manifest(line)
        assert save is None or naming.is_save_id(save)
        taken += save is not None
    return taken > 0


def note_of_an_upload(octets):
    """A note that is not whole says nothing: no copy fails for it. What is written over it is read."""
    note = Note(io.BytesIO(octets), "/note", "oss://bucket/a")
    taken = note.upload_id
    assert taken is None or (taken.isascii() and taken.isprintable() and taken)
    file = io.BytesIO(octets)
    assert Note(file, "/note", "oss://bucket/a").write({"source": "/a"}, "an id")
    again = Note(io.BytesIO(file.getvalue()), "/note", "oss://bucket/a")
    assert again.upload_id == "an id"
    assert again.is_of({"source": "/a"})
    return taken is not None


def document_of_a_worker(octets):
    """Damage costs the document that it hit; only one that is whole is read, and else the one before."""
    with file_of(b"") as path:
        whole_file.write(path, "before")
        for number, place in enumerate([octets, sealed(octets)]):
            # The first document of a file is in the second place of the two.
            with path.open("r+b") as file:
                file.write(place.ljust(256 * 1024, b"\0"))
            try:
                found = whole_file.read(path)
            except ValueError:
                assert number, "a document that somebody damaged is not whole"
                continue
        taken = found != "before"
        whole_file.write(path, "after")
        assert whole_file.read(path) == "after"
        return taken


def sealed(octets):
    """Make length and checksum of a document right again, as if a writer had meant it."""
    if len(octets) < 16:
        return octets
    number, text = octets[:8], octets[16:]
    head = min(int.from_bytes(number, "little"), 2**63).to_bytes(8, "little") + len(text).to_bytes(
        4, "little"
    )
    return head + zlib.crc32(text, zlib.crc32(head)).to_bytes(4, "little") + text


def told_to_workers(octets):
    """What a worker finds of its parent's: an epoch of eight bytes, and a state that was loaded."""
    shared = SharedEpoch()
    shared.set(7, is_worker=False)
    Path(shared._file("epoch", is_worker=False)).write_bytes(octets[:9])
    assert shared.get(is_worker=False) == (int.from_bytes(octets, "little") if len(octets) == 8 else None)
    shared._arrived_in, shared._home = os.getpid(), shared._name_in(os.getpid())
    Path(shared._file("loaded", is_worker=True)).write_bytes(octets)
    worker = Worker(0, 1, is_child=True)
    state = refused(lambda _: LoadedState(shared).waiting(worker), octets, InternalError)
    return state is not None


def answer_to_a_dump(octets):
    """A process answers a cut document when it ends meanwhile, and another one when it has another version."""
    found = dumping._document(octets)
    if found is None:
        return False
    said = refused(lambda report: list(dumping.lines(report)), found, errors.ProtocolError)
    trace = refused(lambda part: dumping._merged(1, [part]), found, (ConfigError, errors.ProtocolError))
    return said is not None or trace is not None


PARSERS = {
    "configs": config_file,
    "dump-answers": answer_to_a_dump,
    "dcp-manifests": manifest_of_a_save,
    "dcp-metadata": metadata_of_a_checkpoint,
    "dcp-names": name_below_a_checkpoint,
    "error-texts": error_text,
    "object-manifests": list_of_objects,
    "safetensors": safetensors_file,
    "states": state_of_a_dataset,
    "told-to-workers": told_to_workers,
    "upload-notes": note_of_an_upload,
    "weight-maps": map_of_weights,
    "whole-files": document_of_a_worker,
}


def peak_bytes():
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


@pytest.fixture
def _little_memory():
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # proc(5): the peak begins anew
    before = peak_bytes()
    yield
    assert peak_bytes() - before < MOST_MEMORY_BYTES


def judge(parse, octets):
    """Give one input to a parser; return whether it was taken."""
    for _ in range(3):
        # A busy machine takes its time once, not three times over.
        begun = time.perf_counter()
        taken = parse(octets)
        if time.perf_counter() - begun <= LONGEST_SECONDS:
            return taken
    pytest.fail(f"{len(octets)} bytes take longer than {LONGEST_SECONDS} s: {octets[:300]!r}")


@pytest.mark.parametrize("kind", PARSERS)
def test_the_stored_samples_are_read_as_they_are(kind):
    taken = [judge(PARSERS[kind], sample) for sample in Corpus(kind).samples]
    assert any(taken), "a corpus of which nothing is taken proves nothing"


@pytest.mark.usefixtures("_little_memory")
@pytest.mark.parametrize("kind", PARSERS)
def test_a_damaged_sample_is_read_or_refused(kind):
    corpus, parse = Corpus(kind), PARSERS[kind]

    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(dice=st.randoms(use_true_random=True))
    def survive(dice):
        for _ in range(4):
            octets = corpus.damaged(dice)
            judge(parse, octets)

    survive()


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("_little_memory")
@pytest.mark.parametrize("kind", PARSERS)
def test_damage_nobody_has_seen_before_is_survived(kind):
    corpus, parse = Corpus(kind), PARSERS[kind]
    seed = time.time_ns()
    dice = random.Random(seed)
    end = time.monotonic() + float(os.environ.get("OSS_MUTATION_SECONDS") or 20)
    inputs = taken = 0
    while time.monotonic() < end:
        octets = corpus.damaged(dice)
        try:
            taken += judge(parse, octets)
        except BaseException:
            found = Path(tempfile.gettempdir()) / f"not-survived-{kind}-{seed}"
            found.write_bytes(octets)
            print(f"{kind}: not survived, kept as {found}: {octets[:300]!r}")  # noqa: T201  (what the failure is about)
            raise
        inputs += 1
    print(f"{kind}: {inputs} inputs survived, {taken} of them taken, seed {seed}")  # noqa: T201  (how much was tried)
    assert taken > 0
