"""docs/bare-paths.md: its examples run, and what it warns of is so."""

from __future__ import annotations

import re
from pathlib import Path

import fsspec
import pytest

from torch_versions import need_checkpoints

PAGE = (Path(__file__).parent.parent / "docs" / "bare-paths.md").read_text()

pytestmark = pytest.mark.timeout(180)  # the libraries take seconds to import on a busy machine


@pytest.fixture(autouse=True)
def _bare(bare):
    """Every example has the environment of a user of bare paths."""


def test_the_examples_of_the_page_run(capsys):
    need_checkpoints()
    pytest.importorskip("pandas")
    pytest.importorskip("datasets")
    examples = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(examples) == 5
    for example in examples:
        exec(compile(example, "docs/bare-paths.md", "exec"), {"__name__": "example"})
    said = capsys.readouterr().out
    assert "{'step': 0, 'loss': 0.9}" in said
    assert said.splitlines()[-1] == "b'kept whole\\n' False"


def test_f66_a_save_over_a_checkpoint_that_fails_leaves_no_metadata_on_the_bare_path(bare):
    """This is torch's own order of steps, which the page warns of; what it advises holds beside it."""
    need_checkpoints()
    import torch
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.api import CheckpointException

    for step in (1, 2):
        dcp.save({"weight": torch.full((4,), float(step))}, checkpoint_id=f"oss://bucket/run/step-{step}")
    refusal = {"match": {"op": "CopyObject"}, "action": {"status": 403, "code": "AccessDenied"}}
    bare.oss.rules([refusal])
    for again in (2, 3):
        with pytest.raises(CheckpointException, match="access denied"):
            dcp.save({"weight": torch.zeros(4)}, checkpoint_id=f"oss://bucket/run/step-{again}")
    bare.oss.rules([])
    fs = fsspec.filesystem("oss")
    assert not fs.exists("oss://bucket/run/step-2/.metadata")
    loaded = {"weight": torch.zeros(4)}
    dcp.load(loaded, checkpoint_id="oss://bucket/run/step-1")
    assert loaded["weight"].tolist() == [1.0] * 4


def test_f61_a_writer_of_torch_that_raises_deletes_the_old_file_on_the_bare_path(bare):
    """This too is torch's own: our file publishes nothing, and then torch deletes what was there."""
    need_checkpoints()
    import torch.distributed.checkpoint._fsspec_filesystem as theirs

    bare.oss.put_object("bucket", "run/__0_0.distcp", b"old")
    files = theirs.FileSystem()
    files.init_path("oss://bucket/run")

    def fail():
        with files.create_stream("oss://bucket/run/__0_0.distcp", "wb") as stream:
            stream.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not files.exists("oss://bucket/run/__0_0.distcp")
