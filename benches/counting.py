"""What counting costs: the instructions of reading an object, and the share of them that only counts.

callgrind says how often each instruction ran, the line tables of the program say which of them stand in a counting file,
be it inlined; what such an instruction calls is counted with it. The whole is what the program itself does: neither the
kernel, which takes four times as long, nor Python, so the true share is a fraction of this one. `make guard` fails above
`MOST_SHARE`.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import programs
import raw
from server import Served, Server

HERE = Path(__file__).parent
# The files of which every line counts, or tells what is going on; below crates/oss-client/src.
COUNTING = ("stats.rs", "stats/histogram.rs", "telling/board.rs", "telling/crowd.rs", "telling/trace.rs")
# An addition that other processors may not come between takes as long as so many other instructions of a read: 2.2 ns
# against 0.14 ns where it was measured.
ATOMIC_WEIGHT = 16
# As in the guard of speed.
OBJECT_BYTES = 110 * 1024
# Starting up is subtracted by the smaller run.
FEW, MANY = 100, 500
MOST_SHARE = 0.01


@dataclass
class Cost:
    """Instructions of one run.

    `self_cost` by address of the program; `calls` by address: the function called and what it took, all below included.
    """

    total: int = 0
    self_cost: dict[int, int] = field(default_factory=dict)
    calls: dict[int, list[tuple[str, int]]] = field(default_factory=dict)


def build() -> Path:
    """Compile the program that reads, as the wheel is compiled, and return its path."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent / "target"))
    command = ["cargo", "build", "--release", "--locked", "--quiet", "-p", "oss-client"]
    subprocess.run([*command, "--example", "reading"], check=True, cwd=HERE.parent)
    return target / "release" / "examples" / "reading"


def cost_of(program: Path, address: str, objects: int) -> Cost:
    """Count the instructions of reading so many objects."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "callgrind.out"
        command = ["valgrind", "--tool=callgrind", "--dump-instr=yes", "--compress-strings=no"]
        command += ["--compress-pos=no", f"--callgrind-out-file={out}", str(program), address, str(objects)]
        done = subprocess.run(
            [*command, str(OBJECT_BYTES)], check=False, capture_output=True, text=True, timeout=300
        )
        if done.returncode != 0:
            raise SystemExit(f"error: callgrind could not count:\n{done.stderr}")
        return parsed(out.read_text(errors="replace").splitlines(), program)


def parsed(lines: list[str], program: Path) -> Cost:
    """Read what callgrind wrote, positions and names in full."""
    cost, is_own, callee, is_call = Cost(), False, "", False
    for line in lines:
        if line.startswith("0x"):
            address, _, instructions = line.split()
            at, amount = int(address, 16), int(instructions)
            if is_call:
                if is_own:
                    cost.calls.setdefault(at, []).append((callee, amount))
            else:
                cost.total += amount
                if is_own:
                    cost.self_cost[at] = cost.self_cost.get(at, 0) + amount
            is_call = False
        elif line.startswith("ob="):
            is_own = line[3:] == str(program)
        elif line.startswith("cfn="):
            callee = line[4:]
        elif line.startswith("calls="):
            is_call = True
    return cost


def counting_part(cost: Cost, program: Path) -> tuple[int, int]:
    """Return the instructions that only count, and those of them that are additions other processors must wait for."""
    chains = _chains(program, sorted({*cost.self_cost, *cost.calls}))
    atomic = _atomic_addresses(program)
    counts = {at for at, files in chains.items() if any(file.endswith(COUNTING) for file in files)}
    own = sum(amount for at, amount in cost.self_cost.items() if at in counts)
    below = sum(
        amount
        for at in counts
        for callee, amount in cost.calls.get(at, [])
        # Functions of those files are counted by their own lines.
        if not re.search(r"\boss_client::(stats|telling)::", callee)
    )
    locked = sum(amount for at, amount in cost.self_cost.items() if at in counts & atomic)
    return own + below, locked


def _chains(program: Path, addresses: list[int]) -> dict[int, list[str]]:
    """Return the source files of each address: its own, and those of the functions it is inlined into."""
    command = ["addr2line", "--exe", str(program), "--inlines", "--addresses"]
    asked = "\n".join(map(hex, addresses))
    said = subprocess.run(command, input=asked, check=True, capture_output=True, text=True).stdout
    found: dict[int, list[str]] = {}
    for line in said.splitlines():
        if line.startswith("0x"):
            files = found.setdefault(int(line, 16), [])
        else:
            files.append(line.partition(":")[0])
    return found


def _atomic_addresses(program: Path) -> set[int]:
    """Return where the program has instructions with the prefix `lock`, or an exchange, which implies it."""
    command = ["objdump", "--disassemble", "--no-show-raw-insn", str(program)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.findall(r"^\s*([0-9a-f]+):\s+(?:lock |xchg +[^%]*\(|xchg .*\()", said, re.MULTILINE)
    return {int(address, 16) for address in found}


def share(server: Server) -> tuple[float, float]:
    """Return the instructions of one object, and the share of them that only counts, each atomic one weighed."""
    program = build()
    few, many = (cost_of(program, server.address, objects) for objects in (FEW, MANY))
    (few_counting, few_locked), (many_counting, many_locked) = (
        counting_part(cost, program) for cost in (few, many)
    )
    objects = MANY - FEW
    locked = (many_locked - few_locked) * (ATOMIC_WEIGHT - 1)
    whole = many.total - few.total + locked
    return whole / objects, (many_counting - few_counting + locked) / whole


def main() -> None:
    """Count, and compare with the bound."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    missing = [name for name in ("valgrind", "addr2line", "objdump") if shutil.which(name) is None]
    if missing:
        print(
            f"guard: what counting costs is not measured: no {', '.join(missing)} (apt-get install valgrind binutils)"
        )
        return
    try:
        programs.need("nginx", "openssl")
    except SystemExit as needed:
        print(f"guard: what counting costs is not measured: {needed}")
        return
    with Server(Served(MANY, OBJECT_BYTES, 1024 * 1024), raw.build()) as server:
        instructions, counting = share(server)
    print(
        f"guard: counting is {counting:.2%} of the {instructions:,.0f} instructions of an object of "
        f"{OBJECT_BYTES // 1024} KiB (at most {MOST_SHARE:.0%} may be)"
    )
    if counting > MOST_SHARE:
        raise SystemExit("error: counting costs too much; benches/counting.py names the files it looks at")


if __name__ == "__main__":
    main()
