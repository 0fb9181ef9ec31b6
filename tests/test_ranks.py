"""Jobs of several ranks, each with DataLoader workers: one listing, and no object read twice."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from epoch_model import batches_of, epoch_order
from osstorchconnector import OssIterableDataset, OssMapDataset, private_files
from osstorchconnector.errors import ConfigError, NotFoundError

COUNT = 33
PROGRAM = Path(__file__).parent / "rank_program.py"

# Ranks and their workers import torch, on a machine that may be busy with other tests.
SLOW = pytest.mark.timeout(240)


@pytest.fixture
def bucket(site):
    site.oss.fill("bucket", "p/", COUNT, 100)
    return site


def environment(site, **more):
    kept = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    return {**kept, **site.oss.environ(), **more}


def under_torchrun(site, world_size, *arguments):
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world_size}"]
    done = subprocess.run(
        [*run, PROGRAM, "env://", *arguments],
        env=environment(site), capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def one_by_one(site, world_size, *arguments):
    """Start the ranks as a scheduler does that sets no RANK."""
    ranks = [
        subprocess.Popen(
            [sys.executable, PROGRAM, *arguments],
            env=environment(site, TEST_RANK=str(rank), TEST_WORLD_SIZE=str(world_size)),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world_size)
    ]
    said = [rank.communicate(timeout=200)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * world_size, "".join(said)[-3000:]
    return said


def check(site, results, world_size, listings=1):
    said = [json.loads(Path(f"{results}.{rank}").read_text()) for rank in range(world_size)]
    sequence = epoch_order(COUNT, said[0]["fingerprint"], 3, 0)
    for rank, own in enumerate(said):
        expected = [row for batch in batches_of(sequence, rank, world_size, 4, "drop") for row in batch]
        assert own["rows"] == expected
        assert own["length"] == len(expected)
    assert len(site.oss.requests("ListObjectsV2")) == listings
    keys = [entry["key"] for entry in site.oss.requests("GetObject")]
    assert len(keys) == len(set(keys)) == COUNT - COUNT % world_size


@SLOW
@pytest.mark.parametrize("together", ["together", "apart"])
def test_a_job_under_torchrun_lists_once_and_reads_no_object_twice(together, bucket, tmp_path):
    under_torchrun(bucket, 2, "fork", together, tmp_path / "rows")
    check(bucket, tmp_path / "rows", 2)


@SLOW
@pytest.mark.parametrize(("method", "start_method"), [("tcp", "fork"), ("file", "spawn")])
def test_a_group_made_by_hand_does_the_same(method, start_method, bucket, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"tcp://127.0.0.1:{port}" if method == "tcp" else f"file://{tmp_path}/rendezvous"
    one_by_one(bucket, 2, url, start_method, "apart", tmp_path / "rows")
    check(bucket, tmp_path / "rows", 2)


TREE = """
import multiprocessing, sys
from pathlib import Path
from torch import distributed
from osstorchconnector import rendezvous

SIZE, RANKS, PLACE = 4_000_000, 8, sys.argv[1]

def sent():
    return int(dict(line.split(":") for line in Path("/proc/self/io").read_text().splitlines())["wchar"])

def take_part(rank):
    distributed.init_process_group("gloo", init_method=f"file://{PLACE}", rank=rank, world_size=RANKS)
    distributed.barrier()
    before = sent()
    received = rendezvous._carried(b"x" * SIZE if rank == 0 else b"", range(RANKS))
    if rank == 0:
        print((sent() - before) / SIZE)
    assert len(received) == SIZE
    distributed.barrier()

ranks = [multiprocessing.get_context("fork").Process(target=take_part, args=(rank,)) for rank in range(RANKS)]
for rank in ranks: rank.start()
for rank in ranks: rank.join()
sys.exit(any(rank.exitcode for rank in ranks))
"""


@SLOW
def test_the_index_travels_along_a_tree(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", TREE, tmp_path / "rendezvous"], stdout=subprocess.PIPE, text=True, check=True
    )
    # To seven others out of rank 0 it would be 7.
    assert float(done.stdout) < 3.1


NODES = """
import multiprocessing, os, sys
import torch
from torch import distributed
from osstorchconnector import rendezvous

PLACE, *ALL = sys.argv[1:]

class Listed:
    index_path, took = "nowhere", b"listed"
    def __init__(self, rank, failing):
        self.rank, self.failing = rank, failing
    def count(self):
        return 1
    def packed(self):
        return self.one_that_fails("packed") or b"packed"
    def take_packed(self, data):
        self.took = self.one_that_fails("take_packed") or data
    def fingerprint(self):
        return self.one_that_fails("fingerprint") or "the same"
    def one_that_fails(self, name):
        if self.failing == f"{name} of {self.rank}":
            raise OSError(28, f"{name} failed")

def take_part(rank):
    distributed.init_process_group("gloo", init_method=f"file://{PLACE}", rank=rank, world_size=2)
    rendezvous.node = lambda: str(rank)
    torch.set_default_device("meta")
    for failing in ALL:
        listed = Listed(rank, failing)
        try:
            rendezvous.share_index(listed)
        except Exception as failure:
            said = f"{type(failure).__name__}: {failure}"
        else:
            said = listed.took
        os.write(1, f"{failing}, {said}\\n".encode())

ranks = [multiprocessing.get_context("fork").Process(target=take_part, args=(rank,)) for rank in range(2)]
for rank in ranks: rank.start()
for rank in ranks: rank.join()
sys.exit(any(rank.exitcode for rank in ranks))
"""


@SLOW
def test_nodes_share_what_one_listed_or_all_hear_why_not(tmp_path):
    failing = ["packed of 0", "take_packed of 1", "fingerprint of 1", "fingerprint of 0"]
    run = [sys.executable, "-c", NODES, tmp_path / "rendezvous", *failing, "none"]
    done = subprocess.run(run, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    said = done.stdout.splitlines()
    for name, rank in (case.split(" of ") for case in failing):
        text = f"ConfigError: rank {rank} could not prepare the index: OSError: [Errno 28] {name} failed"
        assert said.count(f"{name} of {rank}, {text}") == 2, said
    assert {"none, b'listed'", "none, b'packed'"} < set(said)


KEPT = """
import sys, weakref
from torch import distributed
from torch.distributed import distributed_c10d
from osstorchconnector import rendezvous

tensors, at_end = [], []

def watched(collective):
    def call(data, *arguments, group):
        for given in (data, *arguments):
            if not isinstance(given, int):
                tensors.extend(map(weakref.ref, given if isinstance(given, list) else [given]))
        weakref.finalize(group, lambda: at_end.append(all(tensor() is not None for tensor in tensors)))
        collective(data, *arguments, group=group)
    return call

for name in ("all_gather", "broadcast"):
    wrapped = watched(getattr(distributed, name))
    for module in (distributed, distributed_c10d):
        setattr(module, name, wrapped)

class Listed:
    index_path = "nowhere"
    def count(self):
        return 1
    def fingerprint(self):
        return "the same"

distributed.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=0, world_size=1)
rendezvous.share_index(Listed())
tensors.clear()
assert rendezvous._carried(b"packed", [0]) == b"packed"
print(len(at_end) > 2 and all(at_end))
"""


@SLOW
def test_what_travels_outlives_its_group(tmp_path):
    """Otherwise an older torch can wait for ever for a thread that waits for the GIL."""
    run = [sys.executable, "-c", KEPT, tmp_path / "rendezvous"]
    assert subprocess.check_output(run, text=True) == "True\n"


def test_machines_of_one_name_are_told_apart_by_their_boots(tmp_path, monkeypatch):
    own = private_files.node()
    assert own == private_files.node()
    monkeypatch.setattr(private_files, "_BOOT_ID", tmp_path / "boot_id")
    unknown = private_files.node()
    (tmp_path / "boot_id").write_text("another\n")
    assert len({own, unknown, private_files.node()}) == 3


@SLOW
def test_without_a_group_each_rank_lists_and_says_so(bucket, tmp_path):
    said = one_by_one(bucket, 2, "none", "fork", "together", tmp_path / "rows")
    check(bucket, tmp_path / "rows", 2, listings=2)
    assert "".join(said).count("lists for itself") == 1


@pytest.mark.parametrize("kind", [OssIterableDataset, OssMapDataset])
@pytest.mark.parametrize("on_oss", [False, True])
def test_a_saved_index_takes_the_place_of_listing(kind, on_oss, bucket, tmp_path):
    place = "oss://bucket/index/p" if on_oss else tmp_path / "p.index"
    first = kind.from_prefix("oss://bucket/p/", **bucket.arguments)
    first.save_index(place)
    listings = len(bucket.oss.requests("ListObjectsV2"))
    second = kind.from_prefix("oss://bucket/p/", index=place, **bucket.arguments)
    assert [sample.key for sample in second] == [sample.key for sample in first]
    assert len(bucket.oss.requests("ListObjectsV2")) == listings == 1
    assert second._delivered().fingerprint() == first._delivered().fingerprint()
    with pytest.raises(ConfigError, match="not below oss://bucket/other/"):
        kind.from_prefix("oss://bucket/other/", index=place, **bucket.arguments).prepare()


@pytest.mark.parametrize("place", ["oss://bucket/no-index", "/no/such/index"])
def test_an_index_that_is_not_there_says_how_it_comes_to_be(place, bucket):
    dataset = OssIterableDataset.from_prefix("oss://bucket/p/", index=place, **bucket.arguments)
    with pytest.raises(NotFoundError, match="save_index"):
        dataset.prepare()


def test_sharing_needs_a_process_group(bucket):
    with pytest.raises(ConfigError, match="init_process_group"):
        OssMapDataset.from_prefix("oss://bucket/p/", **bucket.arguments).prepare(shared=True)
