"""Datasets over the life of processes: forks under locks, killed workers, early ends, exits: F73, F75, F76, F78, F81."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from held import children, held, private_files, resident_bytes, wait_for_end
from reading import MIB
from torch.utils.data import DataLoader

from osstorchconnector import OssIterableDataset, OssMapDataset
from osstorchconnector.errors import PermissionDeniedError

COUNT = 40
# So many connections a worker may keep open, for windows that grow over many epochs.
WINDOW = 64


def key_of(sample):
    sample.read()
    return sample.key


def iterable(site, **options):
    return OssIterableDataset.from_prefix(
        "oss://bucket/p/", **{"transform": key_of, **options}, **site.arguments
    )


@pytest.fixture
def filled(site):
    site.oss.fill("bucket", "p/", COUNT, 2000)
    return site


def more_than(most, now):
    return {name: (most[name], number) for name, number in now.items() if number > most[name]}


def left_over(most, endpoint):
    """Return what is held beyond `most`, when it has had 20 s to go.

    The threads of torch's queues, and of our own idle workers, end a little later than their loader. A worker that torch
    had to end is left for multiprocessing to collect.
    """
    until = time.monotonic() + 20
    while (left := more_than(most, held(endpoint))) and time.monotonic() < until:
        gc.collect()
        multiprocessing.active_children()
    return left


def run_epochs(site, epochs, num_workers, persistent):
    dataset = iterable(site, shuffle=True, batch_size=4)
    loader = DataLoader(dataset, batch_size=4, num_workers=num_workers, persistent_workers=persistent)
    after = []
    for epoch in range(epochs):
        dataset.set_epoch(epoch)
        assert sum(len(batch) for batch in loader) == COUNT
        gc.collect()
        after.append((held(site.oss.endpoint), resident_bytes()))
    return after


@pytest.mark.parametrize(
    ("epochs", "num_workers"),
    [(10, 2), pytest.param(200, 4, marks=[pytest.mark.soak, pytest.mark.timeout(600)])],
)
@pytest.mark.parametrize("persistent", [False, True])
def test_f76_epochs_leave_nothing_behind(persistent, epochs, num_workers, filled):
    after = run_epochs(filled, epochs, num_workers, persistent)
    (last, resident) = after[-1]
    # A queue's descriptors go when its thread ends, soon after its loader: the first epochs show how many may linger.
    most = {name: max(count[name] for count, _ in after[:4]) for name in last}
    if persistent:
        # Workers that live on open connections as they widen their windows.
        most["connections"] = num_workers * WINDOW
    assert left_over(most, filled.oss.endpoint) == {}
    assert resident - after[1][1] < 8 * MIB


@pytest.mark.parametrize("persistent", [False, True])
def test_f76_an_early_break_ends_the_workers_at_once(persistent, filled):
    dataset = iterable(filled)
    filled.oss.shape(first_byte_ms=50)
    before, others = held(filled.oss.endpoint), children()
    loader = DataLoader(dataset, batch_size=1, num_workers=2, persistent_workers=persistent)
    running = iter(loader)
    next(running)
    workers = [child for child in children() if child not in others]
    assert len(workers) == 2
    started = time.monotonic()
    del running, loader
    assert wait_for_end(workers) == []
    took = time.monotonic() - started
    assert took < 2, f"workers were there for {took:.1f} s"
    assert left_over(before, filled.oss.endpoint) == {}


@pytest.mark.parametrize("num_workers", [1, 2])
def test_f75_a_killed_worker_is_a_clear_error_and_nothing_stays(num_workers, filled):
    dataset = iterable(filled)
    dataset.prepare()
    before = held(filled.oss.endpoint)
    filled.oss.rules([{"match": {"op": "GetObject"}, "action": {"stall_after_bytes": 100}}])
    loader = DataLoader(dataset, batch_size=1, num_workers=num_workers)
    running = iter(loader)
    workers = [worker.pid for worker in running._workers]
    filled.oss.wait_for_journal(2)
    os.kill(workers[0], signal.SIGKILL)
    started = time.monotonic()
    with pytest.raises(RuntimeError, match=rf"{workers[0]}.*(exited unexpectedly|killed by signal)"):
        next(running)
    assert time.monotonic() - started < 10
    del running, loader
    assert wait_for_end(workers) == []
    filled.oss.rules([])
    assert left_over(before, filled.oss.endpoint) == {}
    assert sum(len(batch) for batch in DataLoader(dataset, batch_size=4, num_workers=num_workers)) == COUNT
    name = dataset._delivery._file.name
    dataset.stats()
    del dataset
    assert private_files(name) == []


@pytest.mark.parametrize(
    "forks", [100, pytest.param(1000, marks=[pytest.mark.soak, pytest.mark.timeout(600)])]
)
def test_f73_a_fork_finds_no_lock_that_another_thread_holds(forks, filled):
    dataset = OssMapDataset.from_prefix("oss://bucket/p/", **filled.arguments)
    dataset.prepare()
    stop = threading.Event()

    def read_on():
        while not stop.is_set():
            dataset.__getitems__(range(8))

    readers = [threading.Thread(target=read_on) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for number in range(forks):
            child = os.fork()
            if child == 0:
                # A lock that is held for ever would hang here; the alarm says so.
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(20)
                status = 1
                try:
                    status = 0 if number % 5 or len(dataset.__getitems__([1, 2])) == 2 else 2
                    status = status or (0 if dataset.stats()["in_flight"] >= 0 else 3)
                finally:
                    os._exit(status)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        for reader in readers:
            reader.join()


LEAVING = """
import json, sys, threading
from torch.utils.data import DataLoader
from osstorchconnector import OssIterableDataset
arguments, how = json.loads(sys.argv[1]), sys.argv[2]
dataset = OssIterableDataset.from_prefix("oss://bucket/p/", **arguments)
if how == "thread":
    def read_on():
        while True:
            for _ in dataset: pass
    threading.Thread(target=read_on, daemon=True).start()
    threading.Event().wait(0.3)
elif how == "nothing":
    pass
elif how == "workers":
    running = iter(DataLoader(dataset, batch_size=1, num_workers=1, collate_fn=list))
    next(running)
else:
    running = iter(dataset)
    next(running)
print("leaving", flush=True)
sys.exit(7)
"""


@pytest.mark.parametrize(
    ("how", "runs"),
    [
        ("iterator", 3),
        ("thread", 3),
        ("workers", 1),
        pytest.param("iterator", 500, marks=[pytest.mark.soak, pytest.mark.timeout(3000)]),
    ],
)
def test_f78_an_exit_with_objects_on_their_way_is_quick_and_keeps_its_code(how, runs, filled):
    filled.oss.rules(
        [
            {"match": {"op": "GetObject", "key": f"p/{number:08}"}, "action": {"stall_after_bytes": 10}}
            for number in range(4, 40)
        ]
    )
    arguments = {name: str(value) for name, value in filled.arguments.items()}
    # The interpreter's own end takes its time too, on a machine that is busy.
    own_end = seconds_to_leave(arguments, "nothing")
    for _ in range(runs):
        assert seconds_to_leave(arguments, how) < 2 + 3 * own_end


def seconds_to_leave(arguments, how):
    with subprocess.Popen(
        [sys.executable, "-c", LEAVING, json.dumps(arguments), how],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "leaving\n"
        started = time.monotonic()
        _, said = process.communicate(timeout=30)
    assert process.returncode == 7, said
    assert "Fatal" not in said
    return time.monotonic() - started


@pytest.mark.parametrize("kind", [OssIterableDataset, OssMapDataset])
def test_f81_a_refusal_keeps_its_class_and_fields_on_the_way_out_of_a_worker(kind, filled):
    filled.oss.rules([{"match": {"op": "GetObject"}, "action": {"status": 403, "code": "AccessDenied"}}])
    dataset = kind.from_prefix("oss://bucket/p/", transform=key_of, **filled.arguments)
    with pytest.raises(PermissionDeniedError) as refused:
        list(DataLoader(dataset, batch_size=2, num_workers=1))
    error = refused.value
    assert (error.status, error.code, error.operation) == (403, "AccessDenied", "GetObject")
    assert error.uri.startswith("oss://bucket/p/")
    assert error.request_id
    assert isinstance(error, PermissionError)


TRAINING = """
import json, sys
from torch.utils.data import DataLoader
from osstorchconnector import OssIterableDataset
arguments, state_file, workers = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])
dataset = OssIterableDataset.from_prefix(
    "oss://bucket/p/", shuffle=True, seed=5, batch_size=4, transform=lambda sample: sample.key, **arguments
)
used = 0
try:
    state = json.load(open(state_file))
    dataset.load_state_dict(state)
    used = state["position"]
except FileNotFoundError:
    pass
for batch in DataLoader(dataset, batch_size=4, num_workers=workers):
    used += len(batch)
    print(json.dumps({"keys": batch, "state": dataset.state_at(used)}), flush=True)
    sys.stdin.readline()
"""


@pytest.mark.timeout(240)  # four trainings import torch one after the other, on a machine that may be busy
def test_f91_a_killed_training_goes_on_with_another_number_of_workers(filled, tmp_path):
    arguments = {name: str(value) for name, value in filled.arguments.items()}

    def train(workers, steps):
        """Run some steps, each acknowledged, and kill the whole process."""
        command = [
            sys.executable,
            "-c",
            TRAINING,
            json.dumps(arguments),
            str(tmp_path / "state"),
            str(workers),
        ]
        keys = []
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            workers_then = []
            for _ in range(steps):
                line = process.stdout.readline()
                if not line:
                    break
                said = json.loads(line)
                keys += said["keys"]
                (tmp_path / "state").write_text(json.dumps(said["state"]))
                workers_then = children(process.pid)
                process.stdin.write("\n")
                process.stdin.flush()
            process.kill()
        assert wait_for_end(workers_then, 20) == []
        return keys

    undisturbed = train(2, 99)
    assert len(set(undisturbed)) == COUNT
    (tmp_path / "state").unlink()
    assert train(1, 3) + train(3, 4) + train(0, 99) == undisturbed


def test_a_dataset_that_goes_takes_its_files_along(filled):
    dataset = iterable(filled, shuffle=True)
    dataset.set_epoch(1)
    dataset.prepare()
    names = (dataset._delivery._file.name, dataset._schedule._shared._lease.name)
    assert all(private_files(name) for name in names)
    del dataset
    assert not any(private_files(name) for name in names)
