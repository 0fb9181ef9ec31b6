"""DataLoaders over many epochs, and after a worker was killed: nothing grows, and nothing stays behind."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from osstorchconnector import OssIterableDataset, OssMapDataset
from osstorchconnector.private_files import private_directory

COUNT = 40
KINDS = [OssIterableDataset, OssMapDataset]

EPOCHS = """
import gc, json, os, sys, threading
import torch
from torch.utils.data import DataLoader
import osstorchconnector

def kinds():
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            yield os.readlink(f"/proc/self/fd/{descriptor}").partition(":")[0]
        except FileNotFoundError:
            pass  # that of the list itself

def use():
    with open("/proc/self/status") as file:
        status = dict(line.split(":", 1) for line in file)
    return {
        "descriptors": sum(1 for _ in kinds()),
        "threads": len(os.listdir("/proc/self/task")),
        "sockets": sum(kind == "socket" for kind in kinds()),
        "resident_kb": int(status["VmRSS"].split()[0]),
    }

def in_worker(sample):
    sample.read()
    return os.getpid(), use()

kind, epochs, persistent = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "persistent"
dataset = getattr(osstorchconnector, kind).from_prefix("oss://bucket/p/", transform=in_worker)
loader = DataLoader(dataset, batch_size=2, num_workers=4, persistent_workers=persistent, collate_fn=list)
seen = []
for epoch in range(epochs):
    samples = [sample for batch in loader for sample in batch]
    assert len(samples) == COUNT, len(samples)
    if epoch not in (EARLY, epochs - 1):
        continue
    gc.collect()
    # They close their pipes when they end, and torch does not wait for them.
    for thread in threading.enumerate():
        if thread.name == "QueueFeederThread" and not persistent:
            thread.join(20)
    workers = {}
    for pid, used in samples:
        workers[pid] = used
    shared = len(os.listdir("/dev/shm"))
    files = sum(len(names) for _, _, names in os.walk(sys.argv[4]))
    seen.append({"parent": use(), "workers": list(workers.values()), "shared": shared, "files": files})
seen[-1]["counted"] = dataset.stats()["dataset_objects"]
print(json.dumps(seen))
""".replace("COUNT", str(COUNT)).replace("EARLY", "3")


@pytest.fixture
def bucket(site):
    site.oss.fill("bucket", "p/", COUNT, 20_000)
    return site


def over(bucket, kind, epochs, persistent, directory):
    done = subprocess.run(
        [sys.executable, "-c", EPOCHS, kind.__name__, str(epochs), persistent, directory],
        env={**os.environ, **bucket.oss.environ(), "TMPDIR": str(directory)},
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("epochs", [8, pytest.param(200, marks=[pytest.mark.soak, pytest.mark.timeout(900)])])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("persistent", ["persistent", "anew"])
def test_epochs_with_four_workers_let_nothing_grow(epochs, kind, persistent, bucket, tmp_path):
    seen = over(bucket, kind, epochs, persistent, tmp_path)
    early, late = seen
    for name in ("descriptors", "threads", "sockets"):
        assert late["parent"][name] <= early["parent"][name], name
        most = max(worker[name] for worker in early["workers"])
        # How many connections are open follows what is in flight.
        assert max(worker[name] for worker in late["workers"]) <= most + 8, name
    assert late["shared"] <= early["shared"]
    # Nobody asked for what the workers counted: it lies in their files, those of workers that are gone are used again.
    assert late["files"] <= early["files"]
    assert late["counted"] == COUNT * epochs
    assert late["parent"]["resident_kb"] <= early["parent"]["resident_kb"] + 8 * 1024
    if persistent == "persistent":
        grown = max(w["resident_kb"] for w in late["workers"]) - max(
            w["resident_kb"] for w in early["workers"]
        )
        assert grown <= 8 * 1024
    assert len(bucket.oss.requests("ListObjectsV2")) == 1


def kill_one_worker(sample):
    if sample.key.endswith("00000009"):
        os.kill(os.getpid(), signal.SIGKILL)
    return sample.key


def own_files():
    own = f"-{os.getpid()}-"
    # Sockets at which a process answers live as long as it does; a killed one's go with the next that comes.
    return [
        file
        for file in Path(private_directory()).iterdir()
        if own in file.name and "-asked." not in file.name
    ]


def descriptors():
    """Count what is open; pipes are those of multiprocessing's queues, whose threads end when they like."""
    directory = Path("/proc/self/fd")
    targets = [os.readlink(file) for file in directory.iterdir() if file.is_symlink()]
    return sum(not target.startswith(("pipe:", "/proc/")) for target in targets)


@pytest.mark.parametrize("kind", KINDS)
def test_f75_a_worker_killed_in_mid_read_is_an_error_and_leaves_nothing(kind, bucket):
    # The first use of a client opens the socket at which this process answers as long as it lives.
    kind.from_prefix("oss://bucket/p/", **bucket.arguments).prepare()
    bucket.oss.shape(first_byte_ms=100)
    gc.collect()
    files, open_before = set(own_files()), descriptors()
    dying = kind.from_prefix("oss://bucket/p/", transform=kill_one_worker, **bucket.arguments)
    loader = iter(DataLoader(dying, batch_size=2, num_workers=2))
    workers = loader._workers
    started = time.monotonic()
    with pytest.raises(RuntimeError, match="exited unexpectedly"):
        list(loader)
    assert time.monotonic() - started < 10
    del loader
    gc.collect()
    assert not any(worker.is_alive() for worker in workers)
    assert not multiprocessing.active_children()
    del dying
    gc.collect()
    assert set(own_files()) <= files
    assert descriptors() <= open_before
    whole = kind.from_prefix("oss://bucket/p/", transform=lambda sample: sample.key, **bucket.arguments)
    keys = [key for batch in DataLoader(whole, batch_size=4, num_workers=2) for key in batch]
    assert sorted(keys) == [f"/bucket/p/{number:08}" for number in range(COUNT)]
