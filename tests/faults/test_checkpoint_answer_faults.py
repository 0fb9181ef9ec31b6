"""Each answer to what a distributed save writes may be lost once: the save succeeds, and writes nothing twice."""

from __future__ import annotations

import pytest
import torch
from reading import QUICK
from torch.distributed.checkpoint.filesystem import FileSystemWriter

from dcp_states import PATH, equal, file_system, load, names, save
from torch_versions import need_argument

# A machine that is busy for seconds is not to be taken for a service that is silent.
PATIENT = {**QUICK, "deadlineSeconds": 30, "settleSeconds": 30, "firstByteSeconds": 10, "completeSeconds": 10}
LOST = {"done, then reset": {"commit_then_reset": True}, "done, then 500": {"commit_then_status": 500}}
WRITES = {
    "data object": {"op": "PutObject", "key": "*_0_0.distcp"},
    "parts of a data object": {"op": "CompleteMultipartUpload", "key": "*_0_0.distcp"},
    "manifest": {"op": "PutObject", "key": "*.json"},
    "metadata": {"op": "PutObject", "key": "*/.metadata"},
}


@pytest.mark.parametrize("how", LOST)
@pytest.mark.parametrize("what", WRITES)
def test_f57_each_answer_to_a_save_that_may_not_replace_is_lost_once(what, how, site):
    need_argument(FileSystemWriter.__init__, "overwrite")
    # The large tensor is three parts then; by default, the data object is one PutObject.
    checkpoints = {"uploadIoSizeMB": 1} if "parts" in what else {}
    file_system(site)
    fs = type(file_system(site))(**site.configured(network=PATIENT, checkpointConfig=checkpoints))
    saved = {"large": torch.arange(800_000.0), "small": torch.ones(3)}
    site.oss.rules([{"match": {**WRITES[what], "nth": 1}, "action": LOST[how]}])
    save(fs, saved, overwrite=False)
    assert [rule["hits"] for rule in site.oss.rule_hits()] == [1]
    site.oss.rules([])
    published = [
        entry["key"]
        for entry in site.oss.journal()
        if entry.get("change") in ("put", "complete") and entry["key"].startswith("run/step/")
    ]
    assert sorted(published) == sorted(f"run/step/{name}" for name in names(fs)), "each object once"
    assert len(published) == 3
    assert fs.store().abandoned_uploads(PATH) == []
    assert equal(load(fs, {name: torch.zeros_like(tensor) for name, tensor in saved.items()}), saved)
