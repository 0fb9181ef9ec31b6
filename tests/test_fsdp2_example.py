"""examples/fsdp2: under torchrun it saves, is killed, and goes on as if nothing had happened."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dcp_states import file_system

EXAMPLE = Path(__file__).parent.parent / "examples" / "fsdp2" / "train.py"
PACKAGE = Path(__file__).parent.parent / "python"


def torchrun(site, *options):
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--standalone",
        str(EXAMPLE),
    ]
    given = {"PYTHONPATH": str(PACKAGE), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.run(
        [*command, "oss://bucket/run", "--width", "48", "--steps", "9", *options],
        env={**os.environ, **site.oss.environ(), **given},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.timeout(220)
def test_a_training_under_torchrun_is_killed_and_resumes(site):
    fs = file_system(site)
    killed = torchrun(site, "--kill-at-step", "8")
    assert killed.returncode != 0
    assert "done" not in killed.stdout
    went_on = torchrun(site)
    assert went_on.returncode == 0, went_on.stderr[-4000:]
    found = re.match(r"resumed from oss://bucket/run/step-00000([36]) at step \1\n", went_on.stdout)
    assert found is not None, "the newest checkpoint that was whole"
    losses = [dict(re.findall(r"step (\d+) loss (\S+)", life.stdout)) for life in (killed, went_on)]
    assert list(losses[0])[:7] == [str(step) for step in range(1, 8)]
    assert list(losses[1]) == [str(step) for step in range(int(found[1]) + 1, 10)]
    again = losses[0].keys() & losses[1].keys()
    assert again
    assert all(losses[0][step] == losses[1][step] for step in again)
    assert went_on.stdout.endswith("done at step 9\n")
    assert fs.latest("oss://bucket/run") == "oss://bucket/run/step-000009"
    keys = [key for key, *_ in fs.store().entries("/bucket/run/", None)]
    assert len([key for key in keys if key.endswith("/.metadata")]) == 2
