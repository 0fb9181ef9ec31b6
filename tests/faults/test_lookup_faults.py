"""A name lookup that hangs in the system's own resolver, as when packets to the DNS server are dropped: F96."""

from __future__ import annotations

import json
import subprocess
import time

import pytest
import silent_dns

HANGING = """
import contextlib, json, os, sys, threading, time
from pathlib import Path
from osstorchconnector import OssCheckpoint
from osstorchconnector.emulator import Emulator
from osstorchconnector.errors import OssError

QUICK = {"deadlineSeconds": 2, "firstContactSeconds": 2, "connectSeconds": 1, "tickSeconds": 0.05}
stub = Stub()

def lookups():
    names = []
    for task in os.listdir("/proc/self/task"):
        # A thread may end meanwhile.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            names.append(Path(f"/proc/self/task/{task}/comm").read_text().strip())
    return names.count("oss-lookup")

def reading(checkpoint, key):
    begun, said = time.monotonic(), None
    try:
        data = checkpoint.reader(f"oss://bucket/{key}").read().decode()
    except OssError as failure:
        data, said = type(failure).__name__, str(failure)
    return {"data": data, "said": said, "seconds": time.monotonic() - begun}

with Emulator(buckets=["bucket"]) as oss:
    oss.put_object("bucket", "a", b"whole")
    port = oss.endpoint.rpartition(":")[2]
    keys = {"region": oss.region, "cred_path": oss.write_credentials(sys.argv[1])}
    keys["config_path"] = oss.write_config(sys.argv[1], {"network": QUICK})
    hangs = OssCheckpoint(endpoint=f"http://hangs.test:{port}", **keys)
    fine = OssCheckpoint(endpoint=f"http://is.fine.test:{port}", **keys)
    found = {"hanging": [None] * 8}

    def read(number):
        found["hanging"][number] = reading(hangs, f"k{number}")

    readers = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for reader in readers:
        reader.start()
    while "bucket.hangs.test" not in stub.asked:
        time.sleep(0.005)
    found["lookups at once"] = lookups()
    found["fine"] = reading(fine, "a")
    for reader in readers:
        reader.join()
    found["lookups at the end"] = lookups()
    found["asked"] = stub.asked
    found["ended"] = time.monotonic()
    print(json.dumps(found), flush=True)
"""


@pytest.mark.timeout(120)
def test_f96_a_resolver_that_never_answers_holds_nobody_beyond_the_deadline(tmp_path):
    command = silent_dns.command(tmp_path, HANGING)
    if command is None:
        pytest.skip(
            "this machine permits no namespaces of users, mounts and networks: F96 is tested without a resolver"
        )
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    # A lookup cannot be stopped, and nobody waits for it at exit.
    assert time.monotonic() - found["ended"] < 10
    for read in found["hanging"]:
        assert read["data"] in ("ConnectionFailedError", "RequestTimeoutError"), read
        assert read["seconds"] < 2 + 1
        assert "hangs.test" in read["said"]
    # One thread for the host, however many wait; it still hangs when everybody has gone.
    assert found["lookups at once"] <= 1
    assert found["lookups at the end"] == 1
    # Who asks for another name is not held up.
    assert (found["fine"]["data"], found["fine"]["said"]) == ("whole", None)
    assert found["fine"]["seconds"] < 2
