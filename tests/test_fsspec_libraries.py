"""Bare `oss://` paths in the libraries that people use them with; endpoint and keys come from the environment."""

from __future__ import annotations

from importlib.metadata import entry_points

import pytest

from torch_versions import need_checkpoints, need_torch

pytestmark = pytest.mark.timeout(180)  # the libraries take seconds to import on a busy machine


@pytest.fixture(autouse=True)
def _bare(bare):
    """Every test here has the environment of a user of bare paths."""


@pytest.fixture
def table():
    pa = pytest.importorskip("pyarrow")
    return pa.table({"number": list(range(1000)), "name": [f"row {number}" for number in range(1000)]})


@pytest.fixture
def one_process(tmp_path):
    """Give a process group of one, as `dcp` without launcher has none."""
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("grouped", [False, True])
def test_dcp_saves_and_loads(grouped, request):
    need_checkpoints()
    import torch
    import torch.distributed.checkpoint as dcp

    if grouped:
        request.getfixturevalue("one_process")
    where = "oss://bucket/runs/step-1"
    saved = {"weight": torch.arange(300_000, dtype=torch.float32).reshape(3, -1), "step": 7}
    dcp.save(saved, checkpoint_id=where)
    loaded = {"weight": torch.zeros(3, 100_000), "step": 0}
    dcp.load(loaded, checkpoint_id=where)
    assert torch.equal(loaded["weight"], saved["weight"])
    assert loaded["step"] == 7
    saved["weight"] += 1
    dcp.save(saved, checkpoint_id=where)
    dcp.load(loaded, checkpoint_id=where)
    assert torch.equal(loaded["weight"], saved["weight"])


def test_dcp_saves_asynchronously(one_process):  # noqa: ARG001
    need_checkpoints()
    import torch
    import torch.distributed.checkpoint as dcp

    dcp.async_save({"weight": torch.ones(10)}, checkpoint_id="oss://bucket/runs/step-2").result(timeout=60)
    loaded = {"weight": torch.zeros(10)}
    dcp.load(loaded, checkpoint_id="oss://bucket/runs/step-2")
    assert loaded["weight"].tolist() == [1.0] * 10


def test_torch_save_and_load_through_fsspec():
    import fsspec
    import torch

    state = {"weight": torch.randn(1000, 100)}
    with fsspec.open("oss://bucket/state.pt", "wb") as file:
        torch.save(state, file)
    with fsspec.open("oss://bucket/state.pt", "rb") as file:
        assert torch.equal(torch.load(file, weights_only=True)["weight"], state["weight"])


def test_pandas_reads_and_writes():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"number": range(500), "name": [f"row {number}" for number in range(500)]})
    frame.to_parquet("oss://bucket/frames/a.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet("oss://bucket/frames/a.parquet"), frame)
    assert list(pd.read_parquet("oss://bucket/frames/a.parquet", columns=["number"]).columns) == ["number"]
    frame.to_csv("oss://bucket/frames/a.csv", index=False)
    pd.testing.assert_frame_equal(pd.read_csv("oss://bucket/frames/a.csv"), frame)
    frame.to_csv("oss://bucket/frames/a.csv.gz", index=False)
    pd.testing.assert_frame_equal(pd.read_csv("oss://bucket/frames/a.csv.gz"), frame)
    frame.to_csv("oss://bucket/frames/a.csv", index=False, header=False, mode="a")
    assert len(pd.read_csv("oss://bucket/frames/a.csv")) == 1000
    frame.assign(half=frame["number"] // 250).to_parquet("oss://bucket/halves", partition_cols=["half"])
    assert pd.read_parquet("oss://bucket/halves", filters=[("half", "==", 1)])["number"].min() == 250
    frame.to_json("oss://bucket/frames/a.jsonl", orient="records", lines=True)
    pd.testing.assert_frame_equal(pd.read_json("oss://bucket/frames/a.jsonl", lines=True), frame)


def test_pandas_takes_storage_options(bare, monkeypatch):
    pd = pytest.importorskip("pandas")
    environ = bare.oss.environ()
    for name in environ:
        monkeypatch.delenv(name)
    options = {
        "endpoint": environ["OSS_ENDPOINT"],
        "key": environ["OSS_ACCESS_KEY_ID"],
        "secret": environ["OSS_ACCESS_KEY_SECRET"],
        "region": environ["OSS_REGION"],
    }
    frame = pd.DataFrame({"number": range(5)})
    frame.to_parquet("oss://bucket/a.parquet", storage_options=options)
    pd.testing.assert_frame_equal(pd.read_parquet("oss://bucket/a.parquet", storage_options=options), frame)


def test_a_frame_that_cannot_be_written_leaves_the_old_one():
    pd = pytest.importorskip("pandas")
    pa = pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"number": range(5)})
    frame.to_parquet("oss://bucket/a.parquet")
    with pytest.raises(pa.ArrowInvalid):
        pd.DataFrame({"mixed": [1, "two", b"three"]}).to_parquet("oss://bucket/a.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet("oss://bucket/a.parquet"), frame)


def test_pyarrow_datasets_and_parquet_files(table):
    import fsspec
    import pyarrow as pa
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    fs = fsspec.filesystem("oss")
    pq.write_table(table, "bucket/table/one.parquet", filesystem=fs, row_group_size=100)
    assert pq.read_table("bucket/table/one.parquet", filesystem=fs).equals(table)
    assert pq.read_table("oss://bucket/table/one.parquet", filesystem=fs).equals(table)
    with fs.open("oss://bucket/table/one.parquet") as file:
        assert pq.ParquetFile(file).read_row_group(3).num_rows == 100
    parts = ds.partitioning(pa.schema([("half", pa.int32())]), flavor="hive")
    halves = table.append_column("half", pa.array([number // 500 for number in range(1000)], pa.int32()))
    ds.write_dataset(halves, "bucket/halves", format="parquet", filesystem=fs, partitioning=parts)
    read = ds.dataset("bucket/halves", format="parquet", filesystem=fs, partitioning=parts)
    assert read.count_rows() == 1000
    assert read.to_table(filter=ds.field("half") == 1)["number"].to_pylist() == list(range(500, 1000))
    assert {name.partition("/part")[0] for name in read.files} == {
        "bucket/halves/half=0",
        "bucket/halves/half=1",
    }


def test_lightning_saves_and_resumes_below_a_root_directory(monkeypatch, tmp_path):
    need_torch((2, 1), "today's Lightning")
    lightning = pytest.importorskip("pytorch_lightning")
    import fsspec
    import torch
    from pytorch_lightning.loggers import CSVLogger
    from torch.utils.data import DataLoader, TensorDataset

    here = tmp_path / "here"  # what went to a local path would be seen here
    here.mkdir()
    monkeypatch.chdir(here)

    class Line(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)

        def training_step(self, batch, _index):
            loss = self.layer(batch[0]).pow(2).mean()
            self.log("loss", loss)
            return loss

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    def trainer(epochs):
        return lightning.Trainer(
            default_root_dir="oss://bucket/runs",
            logger=CSVLogger("oss://bucket/runs", flush_logs_every_n_steps=1),
            max_epochs=epochs,
            accelerator="cpu",
            devices=1,
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=1,
        )

    data = DataLoader(TensorDataset(torch.randn(16, 4)), batch_size=4)
    model, first = Line(), trainer(1)
    first.fit(model, data)
    saved = first.checkpoint_callback.best_model_path
    assert saved.startswith("oss://bucket/runs/")
    assert saved.endswith("epoch=0-step=4.ckpt")
    fs = fsspec.filesystem("oss")
    assert fs.isfile(saved)
    resumed, second = Line(), trainer(2)
    second.fit(resumed, data, ckpt_path=saved)
    assert (second.current_epoch, second.global_step) == (2, 8)
    assert list(here.iterdir()) == []
    versions = "bucket/runs/lightning_logs"
    assert fs.isfile(f"{versions}/version_1/checkpoints/epoch=1-step=8.ckpt")
    # The log grows line by line, which is how a file opened for appending is used.
    assert len(fs.read_text(f"{versions}/version_0/metrics.csv").splitlines()) == 1 + 4


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_datasets_load_from_bare_paths(kind, table, monkeypatch, tmp_path):
    datasets = pytest.importorskip("datasets")
    import fsspec

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    frame = table.to_pandas()
    with fsspec.open(f"oss://bucket/data/train-0.{kind}", "wb") as file:
        frame.to_parquet(file) if kind == "parquet" else frame.to_csv(file, index=False)
    loaded = datasets.load_dataset(
        kind, data_files=f"oss://bucket/data/*.{kind}", split="train", cache_dir=str(tmp_path / "cache")
    )
    assert loaded.num_rows == 1000
    assert loaded[999] == {"number": 999, "name": "row 999"}
    streamed = datasets.load_dataset(
        kind, data_files=f"oss://bucket/data/train-0.{kind}", split="train", streaming=True
    )
    assert next(iter(streamed)) == {"number": 0, "name": "row 0"}


def test_datasets_are_read_in_many_processes(table, tmp_path):
    datasets = pytest.importorskip("datasets")
    import fsspec
    from torch.utils.data import DataLoader

    for part in range(4):
        with fsspec.open(f"oss://bucket/data/{part}.parquet", "wb") as file:
            table.to_pandas()[part * 250 : (part + 1) * 250].to_parquet(file)
    loaded = datasets.load_dataset(
        "parquet",
        data_files="oss://bucket/data/*.parquet",
        split="train",
        num_proc=2,
        cache_dir=str(tmp_path),
    )
    assert loaded["number"][:] == list(range(1000))
    streamed = datasets.load_dataset(
        "parquet", data_files="oss://bucket/data/*.parquet", split="train", streaming=True
    )
    batches = DataLoader(streamed, batch_size=50, num_workers=2)
    assert sorted(int(number) for batch in batches for number in batch["number"]) == list(range(1000))


@pytest.mark.skipif(
    "oss" not in entry_points(group="fsspec.specs").names,
    reason="a spawned process knows the entry point alone: run `make setup`",
)
def test_datasets_are_saved_by_spawned_processes(table):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict(table.to_pydict()).save_to_disk("oss://bucket/saved", num_proc=2)
    assert datasets.load_from_disk("oss://bucket/saved")["number"][:] == list(range(1000))


def test_datasets_are_saved_to_and_loaded_from_bare_paths(table, bare):
    datasets = pytest.importorskip("datasets")
    options = {"endpoint": bare.oss.endpoint}
    saved = datasets.Dataset.from_dict(table.to_pydict())
    saved.save_to_disk("oss://bucket/saved", storage_options=options)
    loaded = datasets.load_from_disk("oss://bucket/saved", storage_options=options)
    assert loaded.to_dict() == table.to_pydict()
