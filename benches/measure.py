"""Run one workload in this process and print what it took, as one line of JSON.

`run.py` starts this once per workload and round, so that every figure is of a fresh process; `starter.py` forks where
memory is not looked at. Imports (torch among them) come before the clock starts; memory is counted from there.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Target:
    """Where the objects are, and what the workload must deliver.

    Attributes:
        directory: for files that the workload makes.
        objects: how many small ones there are.
        big_bytes: size of the large one.
        expected_bytes: what must be delivered; more is allowed if `is_at_least`.
        workers: of the DataLoader.
    """

    endpoint: str
    region: str
    cred_path: str
    config_path: str
    directory: str
    objects: int
    big_bytes: int
    expected_bytes: int
    is_at_least: bool = False
    workers: int = 0

    def where(self) -> dict[str, Any]:
        """Return the keyword arguments with which every class of ours and of the original finds its objects."""
        return {
            "endpoint": self.endpoint,
            "cred_path": self.cred_path,
            "config_path": self.config_path,
            "region": self.region,
        }


def cpu_seconds() -> float:
    """User and system time of this process and the children it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def memory_bytes(field: str) -> int:
    """Read `VmRSS` (now) or `VmHWM` (peak since the last reset) of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"error: no {field} in /proc/self/status")


def measured(module: str, target: Target) -> dict[str, Any]:
    """Run the workload of that module, and return what it took."""
    import torch

    torch.set_num_threads(1)
    # That there are more workers than cores is what a curve is about.
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    workload = importlib.import_module(module).Workload(target)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before_bytes, before_cpu, began = memory_bytes("VmRSS"), cpu_seconds(), time.perf_counter()
    delivered = workload.run()
    seconds = time.perf_counter() - began
    if delivered != target.expected_bytes and not (target.is_at_least and delivered > target.expected_bytes):
        raise SystemExit(f"error: {delivered} bytes delivered, {target.expected_bytes} expected")
    import osstorchconnector

    stats = getattr(osstorchconnector, "stats", dict)  # the original keeps none
    return {
        "bytes": delivered,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds() - before_cpu,
        "peak_bytes": memory_bytes("VmHWM") - before_bytes,
        "stages": getattr(workload, "stages", {}),
        "figures": getattr(workload, "figures", {}),
        "stats": stats(),
    }


def main() -> None:
    """Measure the module named by the first argument against the target given as JSON by the second."""
    print(json.dumps(measured(sys.argv[1], Target(**json.loads(sys.argv[2])))))


if __name__ == "__main__":
    main()
