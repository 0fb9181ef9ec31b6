"""The threads of a process that make requests are bounded together, and the log says by what."""

from __future__ import annotations

import json
import subprocess
import sys

# Four datasets and a checkpoint at once, at a distance at which each would take all the threads it may.
PROGRAM = """
import json, logging, os, sys, threading, time
from osstorchconnector import OssCheckpoint, OssIterableDataset

class Lines(logging.Handler):
    def emit(self, record):
        if "threads of this process" in record.getMessage():
            lines.append((record.levelname, record.name, record.getMessage()))

lines = []
logging.getLogger("osstorchconnector").addHandler(Lines())
logging.getLogger("osstorchconnector").setLevel(logging.INFO)
arguments = json.loads(sys.argv[1])
datasets = [OssIterableDataset.from_prefix("oss://bucket/k/", **arguments) for _ in range(4)]
for dataset in datasets:
    dataset.prepare()
read, ended = [0] * 4, threading.Event()

def consume(number):
    while not ended.is_set():
        for _ in datasets[number]:
            read[number] += 1
            if ended.is_set():
                break

def requesting():
    count = 0
    for task in os.listdir("/proc/self/task"):
        try:
            name = open(f"/proc/self/task/{task}/comm").read().strip()
        except OSError:
            continue
        count += name in ("oss-worker", "oss-upload", "oss-list", "oss-copy")
    return count

consumers = [threading.Thread(target=consume, args=(number,)) for number in range(4)]
for consumer in consumers:
    consumer.start()
counts = []
while min(read) < 20:
    counts.append(requesting())
    time.sleep(0.01)
with OssCheckpoint(**arguments).writer("oss://bucket/saved") as writer:
    for _ in range(8):
        writer.write(bytes(1 << 20))
        counts.append(requesting())
# All still read; who had too many threads has ended some.
end = time.monotonic() + 20
while requesting() > 12 and time.monotonic() < end:
    time.sleep(0.01)
settled = requesting()
ended.set()
for consumer in consumers:
    consumer.join()
print(json.dumps({"lines": lines, "most": max(counts), "settled": settled}))
"""


def test_all_pools_of_a_process_keep_one_bound_which_is_logged_once(site):
    site.fill({f"k/{number:03}": b"x" * 1000 for number in range(100)})
    site.oss.shape(first_byte_ms=20)
    arguments = site.configured(
        network={"maxConcurrency": 12}, checkpointConfig={"uploadIoSizeMB": 1, "uploadConcurrency": 8}
    )
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(arguments)],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    told = json.loads(done.stdout)
    # Who comes when all are taken has its share at once, and the others end as many after their present jobs. Each by
    # itself would take twelve, and the writer eight.
    assert told["most"] <= 36
    assert 4 <= told["settled"] <= 12
    said = (
        "at most 12 threads of this process make requests (network.maxConcurrency); at most 8 for a writer "
        "(checkpointConfig.uploadConcurrency)"
    )
    assert told["lines"] == [["INFO", "osstorchconnector.workers", said]]
