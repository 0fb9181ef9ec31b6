"""Memory that comes and goes with each batch stays in the process, and costs no page faults."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import pytest

COUNT, OBJECT_BYTES, BATCH = 64, 100 * 1024, 32

# A process of its own: what an allocator has learned it does not forget.
EPOCHS = f"""
import json, resource
from osstorchconnector import OssMapDataset

dataset = OssMapDataset.from_prefix("oss://bucket/p/", transform=lambda each: each.read())

def epoch():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for start in range(0, {COUNT}, {BATCH}):
        batch = dataset.__getitems__(range(start, start + {BATCH}))
        assert sum(map(len, batch)) == {BATCH * OBJECT_BYTES}
        del batch
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(json.dumps([epoch() for _ in range(6)]))
"""


def faults_of_epochs(site, **environment):
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("MALLOC", "GLIBC", "LD_"))
    }
    run = subprocess.run(
        [sys.executable, "-c", EPOCHS],
        env={**clean, **site.oss.environ(), **environment}, capture_output=True, text=True, timeout=50, check=True,
    )  # fmt: skip
    return json.loads(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator has its own ways")
def test_batches_reuse_the_memory_of_those_before(site):
    site.fill({f"p/{number:03}": bytes(OBJECT_BYTES) for number in range(COUNT)})
    pages = COUNT * OBJECT_BYTES // 4096
    assert min(faults_of_epochs(site)[1:]) < pages / 20
    # Who has set a threshold keeps it: this one gives each object a mapping of its own, however the heap looks.
    assert max(faults_of_epochs(site, MALLOC_MMAP_THRESHOLD_="65536")[1:]) > pages / 2
