"""Say where the processor time of each workload goes: `python benches/where.py --rows iterable map`.

Each row runs once under `perf`, which looks at all its threads 4,000 times a second of their processor time, from the
start of the clock to its end; workers of a DataLoader are included, the server and the imports are not. Prints a table
in microseconds an object (in seconds a GB for the large object), and what takes most. Needs Debian's `linux-perf`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from measure import Target
from rows import ROWS
from run import FULL, QUICK, opened

if TYPE_CHECKING:
    from rows import Row

HERE = Path(__file__).parent
SAMPLES_PER_SECOND = 4_000
# Threads of ours by their names, and what they do; all others are Python's.
THREADS = {"oss-worker": "requests", "oss-list": "listing", "oss-upload": "requests"}
COLUMNS = (
    "requests: kernel",
    "requests: code of ours",
    "requests: libraries",
    "listing",
    "Python's threads: interpreter",
    "Python's threads: code of ours",
    "Python's threads: kernel",
    "Python's threads: libraries",
)


def column(thread: str, library: str) -> str:
    """Say to which column a sample belongs."""
    kind = THREADS.get(thread, "Python's threads")
    if kind == "listing":
        return kind
    if library.startswith("[kernel"):
        return f"{kind}: kernel"
    if "_native" not in library:
        is_interpreter = kind != "requests" and "python" in library
        return f"{kind}: interpreter" if is_interpreter else f"{kind}: libraries"
    return f"{kind}: code of ours"


def watched(module: str, target: Target, directory: Path) -> list[tuple[str, str, str]]:
    """Run a workload under perf; return thread, library and symbol of each sample."""
    control, data = directory / "control", directory / "perf.data"
    for path in (control, data):
        path.unlink(missing_ok=True)
    os.mkfifo(control)
    rate = str(SAMPLES_PER_SECOND)
    record = ["perf", "record", "--quiet", "--event", "cpu-clock", "--freq", rate, "--output", str(data)]
    command = [*record, "--delay", "-1", "--control", f"fifo:{control}", "--", sys.executable, __file__]
    subprocess.run([*command, "--child", module, json.dumps(asdict(target)), str(control)], check=True)
    script = ["perf", "script", "--input", str(data), "--fields", "comm,ip,sym,dso"]
    done = subprocess.run(script, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return [sample(line) for line in done.stdout.splitlines() if line.strip()]


def sample(line: str) -> tuple[str, str, str]:
    """Take `thread address symbol (library)` apart; a thread's name may have blanks."""
    before, _, library = line.rstrip().rpartition(" (")
    words = before.split()
    at = next(
        place for place in range(1, len(words)) if all(digit in "0123456789abcdef" for digit in words[place])
    )
    return " ".join(words[:at]), library.rstrip(")"), " ".join(words[at + 1 :])


def run_watched(module: str, target: Target, control: str) -> None:
    """Run the workload, with perf looking on; this is the process that it looks at."""
    import torch

    torch.set_num_threads(1)
    workload = importlib.import_module(module).Workload(target)
    with Path(control).open("w", buffering=1) as perf:
        perf.write("enable\n")
        workload.run()
        perf.write("disable\n")


def share(row: Row, target: Target) -> tuple[float, str]:
    """Return in how many parts the time is told, and the unit of one."""
    if row.reads == "objects":
        return target.objects / 1e6, "µs an object"
    return target.big_bytes / 1e9, "s/GB"


def main() -> None:
    """Run the rows, print the table."""
    if sys.argv[1:2] == ["--child"]:
        run_watched(sys.argv[2], Target(**json.loads(sys.argv[3])), sys.argv[4])
        return
    known = [row.name for row in ROWS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer and smaller objects")
    parser.add_argument("--rows", nargs="*", default=known, choices=[*known, []], help="which")
    parser.add_argument("--most", type=int, default=0, help="print so many symbols of each row besides")
    options = parser.parse_args()
    if shutil.which("perf") is None:
        raise SystemExit("error: perf is not installed; install: sudo apt-get install linux-perf")
    lines = [
        "| row | unit | in all | " + " | ".join(COLUMNS) + " |",
        "|---|---|" + "---|" * (len(COLUMNS) + 1),
    ]
    with opened(QUICK if options.quick else FULL, with_original=False) as site:
        for row in (row for row in ROWS if row.name in options.rows):
            target = site.contenders.target(row, site.place(row.place))
            samples = watched(f"workloads.{row.workload}", target, site.contenders.directory)
            parts, unit = share(row, target)
            took = Counter(column(thread, library) for thread, library, _ in samples)
            cells = [len(samples), *(took[name] for name in COLUMNS)]
            told = " | ".join(f"{count / SAMPLES_PER_SECOND / parts:.2f}" for count in cells)
            lines.append(f"| {row.title} | {unit} | {told} |")
            for found, count in Counter(samples).most_common(options.most):
                print(f"{row.name}: {count / SAMPLES_PER_SECOND / parts:.3f} {unit}: {' '.join(found)}")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
