"""Count the instructions of the pure parts of the hot path: `make guard` fails when they grow.

Counted by callgrind, so neither other work nor the clock of the machine matters; compilers do, hence the margin.
`--accept` writes the new counts down.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
EXPECTED = HERE / "instructions.json"
# How often each part runs: starting up is subtracted by a run of a tenth.
COUNTS = {"sign": 2000, "order": 20_000, "listing": 20}
# Two versions of one compiler differed by less than 3 %; what a careless allocation adds to `sign` is 5 % and more.
MARGIN = 0.08


def build() -> Path:
    """Compile the program that runs the parts, and return its path."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent / "target"))
    command = ["cargo", "build", "--release", "--locked", "--quiet", "-p", "oss-client"]
    subprocess.run([*command, "--example", "instructions"], check=True, cwd=HERE.parent)
    return target / "release" / "examples" / "instructions"


def count(program: Path, part: str) -> float:
    """Return the instructions of one run of a part."""
    many, few = COUNTS[part], COUNTS[part] // 10
    return (_collected(program, part, many) - _collected(program, part, few)) / (many - few)


def _collected(program: Path, part: str, times: int) -> int:
    command = [
        "valgrind",
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        str(program),
        part,
        str(times),
    ]
    done = subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True)
    found = re.search(r"Collected\s*:\s*(\d+)", done.stderr)
    if found is None:
        raise SystemExit(f"error: callgrind counted nothing:\n{done.stderr}")
    return int(found[1])


def main() -> None:
    """Count, and compare with what is written down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accept", action="store_true", help="write the counts down")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("guard: instructions are not counted: valgrind is not installed (apt-get install valgrind)")
        return
    program = build()
    counted = {part: round(count(program, part)) for part in COUNTS}
    if options.accept:
        EXPECTED.write_text(json.dumps(counted, indent=1) + "\n")
    expected = json.loads(EXPECTED.read_text())
    grown = []
    for part, instructions in counted.items():
        share = instructions / expected[part]
        print(f"guard: {part}: {instructions:,} instructions, {share:.2f} of what is written down")
        if share > 1 + MARGIN:
            grown.append(part)
    if grown:
        raise SystemExit(
            f"error: more instructions for {', '.join(grown)}; if that is wanted, run with --accept"
        )


if __name__ == "__main__":
    main()
