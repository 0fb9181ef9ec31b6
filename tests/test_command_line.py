"""`ossconnector` as a user types it, typos included: a process of its own each time."""

from __future__ import annotations

import subprocess
import sys

import pytest

COMMAND = [sys.executable, "-m", "osstorchconnector.cli"]


def run(*arguments, **options):
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=50, check=False, **options
    )


def test_without_arguments_it_lists_every_command():
    said = run()
    assert (said.returncode, said.stderr) == (0, "")
    for name in ("emulator", "index", "uploads", "checkpoints"):
        assert f"\n  {name} " in said.stdout
        helped = run(name, "--help")
        assert (helped.returncode, helped.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ("indx",),
            "ossconnector: there is no command 'indx' (did you mean 'index'?); see ossconnector --help",
        ),
        (("index",), "ossconnector index: missing command; see ossconnector index --help"),
        (("index", "bild"), "ossconnector index: no such command 'bild'"),
        (("uploads",), "ossconnector uploads: missing argument"),
        (("uploads", "oss://b/x", "--jsn"), "ossconnector uploads: no such option"),
        (("uploads", "oss://b/x", "extra"), "ossconnector uploads: got unexpected extra argument (extra)"),
        (("index", "show", "x", "--rows", "many"), "ossconnector index show: invalid value for '--rows'"),
    ],
)
def test_a_typo_is_one_line_that_says_where_to_look(arguments, line):
    said = run(*arguments)
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr.startswith(line)
    assert said.stderr.count("\n") == 1
    assert said.stderr.rstrip().endswith("--help")


def test_a_fault_of_ours_is_one_line_too_and_a_traceback_on_request(monkeypatch):
    script = (
        "import sys; from osstorchconnector.cli import main, uploads; "
        "uploads.reaching.Reaching.client = lambda self: 1 / 0; sys.exit(main(['uploads', 'oss://b/x']))"
    )
    command = [sys.executable, "-c", script]
    said = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert said.returncode == 1
    assert said.stderr.startswith("ossconnector: ZeroDivisionError: division by zero; this is a bug")
    assert said.stderr.count("\n") == 1
    monkeypatch.setenv("OSSCONNECTOR_TRACEBACK", "1")
    said = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert "Traceback" in said.stderr


def test_a_torch_that_is_too_old_for_a_command_is_named_and_no_fault_of_ours():
    script = (
        "import sys, torch; torch.__version__ = '2.3.1+cpu'; from osstorchconnector.cli import main; "
        "sys.exit(main(['checkpoints', 'latest', 'oss://b/x']))"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=False
    )
    assert said.returncode == 1
    assert said.stderr.startswith(
        "ossconnector: osstorchconnector.dcp needs torch 2.4 or newer, this is 2.3.1"
    )
    assert said.stderr.endswith("pip install --upgrade torch\n")
    assert said.stderr.count("\n") == 1


def test_the_package_does_not_import_the_library_of_commands():
    script = "import sys, osstorchconnector, osstorchconnector.client; print('click' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "False\n"


def test_without_the_library_of_commands_one_line_says_what_to_install():
    script = "import sys; sys.modules['click'] = None; from osstorchconnector.cli import main; sys.exit(main(['ls']))"
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=False
    )
    assert (said.returncode, said.stderr.count("\n")) == (1, 1)
    assert "pip install 'click" in said.stderr
