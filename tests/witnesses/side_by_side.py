"""Runs programs of `same_programs` with whichever package is on its path, each in a child of its own.

It runs alone, because a fault of the original ends the process. Each line of its input is a JSON document: which program,
and where; no program asks whether this process gets a userfaultfd, which the original's prefetching readers need. Each
answer is one JSON line behind `ANSWER `. A program that is held says its process behind `CHILD `, and waits for a line.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import traceback
import warnings

ANSWER, CHILD = "ANSWER ", "CHILD "

# The longest program takes a few seconds, most of them the original's retries.
LONGEST_SECONDS = 30


def say(what, value):
    """Write a line that the tests read."""
    sys.stdout.write(f"{what}{json.dumps(value)}\n")
    sys.stdout.flush()


def classes_of(error):
    """Name the exception's classes that Python itself has, the closest first."""
    return [
        kind.__name__
        for kind in type(error).__mro__
        if kind.__module__ in ("builtins", "io") and kind not in (BaseException, Exception, object)
    ]


def outcome_of(run, package, place):
    """Run a program in this process."""
    try:
        return {"gives": run(package, place)}
    except BaseException as error:  # noqa: BLE001 -- torch's own derive from it
        traceback.print_exc()
        return {"raises": type(error).__name__, "classes": classes_of(error)}


def in_a_child(run, package, place, held):
    """Run a program in a child; return its outcome, or how the child ended instead."""
    reading, writing = os.pipe()
    gate, go = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        os.read(gate, 1)
        said = json.dumps(outcome_of(run, package, place)).encode()
        os.write(writing, said)
        # Without the original's clean-up, which is not what is being tried.
        os._exit(0)
    os.close(writing)
    if held:
        say(CHILD, child)
        sys.stdin.readline()
    os.write(go, b"x")
    os.close(gate)
    os.close(go)
    with os.fdopen(reading, "rb") as stream:
        ready, _, _ = select.select([stream], [], [], LONGEST_SECONDS)
        if not ready:
            os.kill(child, signal.SIGKILL)
        said = stream.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if not ready:
        return {"ends": "does not end"}
    if status:
        return {"ends": signal.Signals(-status).name if status < 0 else f"exit status {status}"}
    return json.loads(said)


def main():
    """Do what the input asks for, until it ends."""
    home = sys.argv[1]
    warnings.simplefilter("ignore")
    import osstorchconnector as package

    assert package.__file__.startswith(home), package.__file__
    # Loaded but not used, so that children may be forked.
    import torch.utils.data  # noqa: F401

    for name in package.__all__:
        getattr(package, name, None)
    from original_program import user_faults_work
    from same_programs import Place, all_programs

    programs = all_programs()
    while line := sys.stdin.readline():
        asked = json.loads(line)
        if asked["program"] is None:
            answer = user_faults_work()
        else:
            answer = in_a_child(
                programs[asked["program"]].run, package, Place(**asked["place"]), asked.get("held")
            )
        say(ANSWER, answer)
    os._exit(0)


if __name__ == "__main__":
    main()
