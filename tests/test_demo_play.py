"""The demo as a command: what it prints around the acts, how it ends, and the whole of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch

import demo
from digits import report
from digits.failure import DemoError

SCRIPT = Path(__file__).parent.parent / "examples" / "demo.py"


def test_a_table_is_aligned():
    lines = [("fault", "injected", "how"), ("reset", "7", "asked again"), ("together", "1,234", "")]
    assert report.columns(lines).splitlines() == [
        "fault     injected  how",
        "reset            7  asked again",
        "together     1,234",
    ]
    assert report.pairs([("a", "1"), ("bcd", "2")]) == "a    1\nbcd  2"


def test_the_way_to_ones_own_bucket_is_three_lines_of_python():
    assert len(report.OWN_BUCKET.splitlines()) == 3
    compile(report.OWN_BUCKET, "own_bucket", "exec")


def test_the_machine_is_named():
    assert "cores of " in report.machine()
    assert "torch " in report.machine()


def test_an_act_that_fails_fails_the_command_with_one_line(monkeypatch, capsys):
    def play():
        with demo._act("Act 2, break it: the same epochs on a bad network"):
            raise OSError("first line\nthe network is gone")

    monkeypatch.setattr(demo, "_play", play)
    assert demo.main() == 1
    assert capsys.readouterr().err == "\ndemo: Act 2, break it failed: OSError: the network is gone\n"


def test_weights_that_differ_fail_the_act(monkeypatch):
    class Run:
        def __init__(self, weights):
            self.weights = weights
            self.stats = {}

    class Bucket:
        oss = mock.Mock()
        behave = mock.Mock()

    monkeypatch.setattr(demo.training, "train", lambda _: Run("b" * 64))
    monkeypatch.setattr(demo.training, "describe", lambda _: "")
    monkeypatch.setattr(demo.faults, "account", lambda _hits, _stats: [])
    with pytest.raises(DemoError, match="the weights differ from act 1"):
        demo._break_it(Bucket(), Run("a" * 64))


def test_ctrl_c_ends_the_command_quietly(monkeypatch, capsys):
    def play():
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "_play", play)
    assert demo.main() == 130
    assert "Traceback" not in capsys.readouterr().err


def test_the_way_to_ones_own_bucket_works_as_pasted(site, monkeypatch, capsys):
    site.fill({"mine/a": b"12345", "mine/b": b"1"})
    for name, value in site.oss.environ().items():
        monkeypatch.setenv(name, value)
    pasted = report.OWN_BUCKET.replace("BUCKET/PREFIX", "bucket/mine")
    exec(pasted.replace("https://oss-cn-hangzhou.aliyuncs.com", site.oss.endpoint), {})
    assert capsys.readouterr().out == "/bucket/mine/a 5\n/bucket/mine/b 1\n"


@pytest.mark.timeout(240)
def test_the_five_acts_play_in_small(tmp_path, monkeypatch, capsys):
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    for room in (demo.pictures, demo.training):
        monkeypatch.setattr(room, "TRAIN_COUNT", 256)
        monkeypatch.setattr(room, "HELD_OUT_COUNT", 64)
    monkeypatch.setattr(demo.training, "LEAST_ACCURACY", 0.0)
    monkeypatch.setattr(demo.going_on, "BATCH", 16)
    monkeypatch.setattr(demo.going_on, "SAVE_EVERY", 4)
    monkeypatch.setattr(demo.distance, "OBJECTS", 400)
    monkeypatch.setattr(demo.distance, "LEAST_GAIN", 0.0)
    monkeypatch.setattr(demo, "_CACHE", tmp_path)
    try:
        status = demo.main()
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)
        torch.set_rng_state(state)
    printed = capsys.readouterr()
    assert status == 0, printed.err
    for words in (
        "named right",
        "the same as in act 1",
        "SIGKILL: 1 part of 16.8 MB stored",
        "killed and resumed: sequence",
        "left to itself:",
        "Your own bucket",
    ):
        assert words in printed.out


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_all_five_acts_play():
    played = subprocess.run(
        [sys.executable, SCRIPT], capture_output=True, text=True, timeout=290, check=False
    )
    assert played.returncode == 0, played.stderr
    for words in ("held-out pictures named right", "the same as in act 1", "SIGKILL", "Your own bucket"):
        assert words in played.stdout
