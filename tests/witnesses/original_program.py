"""A program that uses the original wheel; it runs alone, because a fault of the wheel ends its process.

Each line of its input is a JSON document: what to do, and with what. Each answer is one JSON line behind `ANSWER `.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import sys

ANSWER = "ANSWER "

# Number of the userfaultfd system call on x86-64, where alone the wheel exists.
_USERFAULTFD = 323


def digest(data):
    """Name bytes so that they can be compared from outside."""
    return hashlib.sha256(data).hexdigest()


def user_faults_work():
    """Say whether this process gets a userfaultfd, which the original's prefetching reader needs."""
    descriptor = ctypes.CDLL(None, use_errno=True).syscall(_USERFAULTFD, os.O_CLOEXEC)
    if descriptor >= 0:
        os.close(descriptor)
    return descriptor >= 0


def described(sample):
    """Read a delivered object to its end."""
    try:
        return [sample.key, sample.size, digest(sample.read()), sample.label]
    finally:
        sample.close()


def write(original, arguments, task):
    """Write objects as checkpoints, each in one or more calls of `write`."""
    checkpoint = original.OssCheckpoint(**arguments)
    for uri, path, call_bytes in task["objects"]:
        with open(path, "rb") as source, checkpoint.writer(uri) as writer:
            while data := source.read(call_bytes):
                assert writer.write(data) == len(data)


def read(original, arguments, task):
    """Read an object: whole, from a place, by lines; by its lazy and its in-memory reader."""
    client = original.OssClient(**arguments)
    answers = []
    for kind in (0, 2):
        stream = client.get_object(task["bucket"], task["key"], type=kind)
        whole = stream.read()
        stream.seek(task["offset"])
        part = stream.read(task["count"])
        answers.append([digest(whole), stream.size, digest(part), stream.tell()])
        stream.close()
    return answers


def prefetching_read(original, arguments, task):
    """Read an object by the reader that checkpoints use."""
    if not user_faults_work():
        return None
    # The wheel crashes when a stream outlives its client.
    checkpoint = original.OssCheckpoint(**arguments)
    with checkpoint.reader(task["uri"]) as stream:
        return digest(stream.read())


def tensors_of(seed):
    """Make tensors that another process can make too."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return {
        "weight": torch.randn(7, 5, generator=generator),
        "half": torch.randn(3, generator=generator).to(torch.bfloat16),
        "step": torch.tensor(seed),
        "bytes": torch.randint(0, 256, (300_001,), dtype=torch.uint8, generator=generator),
    }


def save_tensors(original, arguments, task):
    """Save tensors as a safetensors file."""
    original.OssSafetensor(**arguments).save_file(tensors_of(task["seed"]), task["uri"], task["metadata"])


def load_tensors(original, arguments, task):
    """Load a safetensors file; say whether it holds what was saved, and its metadata."""
    import torch

    if not user_faults_work():
        return None
    connector, expected = original.OssSafetensor(**arguments), tensors_of(task["seed"])
    loaded = connector.load_file(task["uri"])
    same = sorted(loaded) == sorted(expected) and all(
        torch.equal(loaded[name], expected[name]) for name in expected
    )
    with connector.safe_open(task["uri"]) as opened:
        return [same, opened.metadata()]


def distributed_state(seed):
    """Make the state of a distributed checkpoint."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(300, 400, generator=generator)
    return {"model": {"weights": weights, "turned": weights[:, :7].t()}, "lr": 0.25, "steps": [1, 2, seed]}


def save_distributed(original, arguments, task):
    """Save a distributed checkpoint, in one process."""
    import torch.distributed.checkpoint as dcp

    fs = original.OssDCPFileSystem(**arguments)
    dcp.save(distributed_state(task["seed"]), storage_writer=fs.writer(task["uri"], thread_count=2))


def load_distributed(original, arguments, task):
    """Load a distributed checkpoint; say whether it holds what was saved."""
    import torch
    import torch.distributed.checkpoint as dcp

    if not user_faults_work():
        return None
    expected, loaded = distributed_state(task["seed"]), distributed_state(0)
    fs = original.OssDCPFileSystem(**arguments)
    dcp.load(loaded, storage_reader=fs.reader(task["uri"]))
    same = [torch.equal(loaded["model"][name], expected["model"][name]) for name in expected["model"]]
    return [*same, loaded["lr"], loaded["steps"]]


def iterate(original, arguments, task):
    """Read a dataset to its end, in this process or in workers."""
    factory = getattr(getattr(original, task["kind"]), task["factory"])
    dataset = factory(*task["positional"], transform=described, **arguments)
    if not task["workers"]:
        return list(dataset)
    from torch.utils.data import DataLoader

    loader = DataLoader(dataset, batch_size=None, num_workers=task["workers"])
    return [list(sample) for sample in loader]


def manage(original, arguments, task):
    """Stat, list, rename and remove."""
    client = original.OssClient(**arguments)
    bucket = task["bucket"]
    said = {"size": client.head_object(bucket, "dir/a").size}
    said["directory"] = client.head_object(bucket, "dir").size
    try:
        client.head_object(bucket, "nothing")
    except RuntimeError as error:
        said["missing"] = str(error)
    client.rename_object(bucket, "dir/a", bucket, "dir/renamed 中")
    client.remove_object(bucket, "dir/b")
    client.remove_object(bucket, "never there")
    said["listed"] = [[item.key, item.size] for item in client.list_objects(bucket, "dir/")]
    return said


def count(original, arguments, task):
    """List a prefix, without reading."""
    client = original.OssClient(**arguments)
    keys = [item.key for item in client.list_objects(task["bucket"], task["prefix"])]
    return [len(keys), keys == sorted(keys), keys[0], keys[-1]]


def try_to_read(original, arguments, task):
    """Read what may not be readable; say how that ends."""
    # The wheel crashes when a stream outlives its client.
    client = original.OssClient(**arguments)
    try:
        return digest(client.get_object(task["bucket"], task["key"]).read())
    except RuntimeError as error:
        return str(error)


def main():
    """Do the tasks and leave without the wheel's clean-up, which is not what is being tried."""
    home = sys.argv[1]
    import osstorchconnector as original

    assert original.__file__.startswith(home), original.__file__
    for line in sys.stdin:
        request = json.loads(line)
        answer = globals()[request["task"]["do"]](original, request["arguments"], request["task"])
        sys.stdout.write(f"{ANSWER}{json.dumps(answer)}\n")
        sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
