"""Safetensors and distributed checkpoints."""

from __future__ import annotations

import json
import struct

from same_programs import BUCKET, kept, program


def tensors():
    import torch

    return {
        "weight": torch.arange(35, dtype=torch.float32).reshape(7, 5),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "scalar": torch.tensor(7),
    }


def connector(package, place):
    return kept(package.OssSafetensor(**place.arguments))


def saved(package, place, metadata=None):
    made = connector(package, place)
    made.save_file(tensors(), place.uri("m"), metadata)
    return made


def file_of(package, place):
    return kept(package.OssClient(**place.arguments)).get_object(BUCKET, "m", type=2).read()


def header_of(data):
    (size,) = struct.unpack("<Q", data[:8])
    return data[8 : 8 + size]


@program(objects={})
def names_in_a_safetensors_file(package, place):
    saved(package, place, {"epoch": "3"})
    header = json.loads(header_of(file_of(package, place)))
    return [header.pop("__metadata__"), sorted(header)]


@program(objects={})
def order_of_the_data_in_a_safetensors_file(package, place):
    saved(package, place)
    header = json.loads(header_of(file_of(package, place)))
    return sorted(header, key=lambda name: header[name]["data_offsets"][0])


@program(objects={})
def padding_of_the_header_of_a_safetensors_file(package, place):
    saved(package, place)
    return len(header_of(file_of(package, place))) % 8 == 0


@program(objects={}, needs_user_faults=True)
def tensors_saved_and_loaded(package, place):
    import torch

    loaded = saved(package, place).load_file(place.uri("m"))
    return sorted(name for name, tensor in tensors().items() if torch.equal(loaded[name], tensor))


@program(objects={}, needs_user_faults=True)
def metadata_of_a_file_without_any(package, place):
    with saved(package, place).safe_open(place.uri("m")) as opened:
        return opened.metadata()


@program(objects={}, needs_user_faults=True)
def a_tensor_that_is_not_there(package, place):
    with saved(package, place).safe_open(place.uri("m")) as opened:
        return opened.get_tensor("weights")


@program(objects={}, needs_user_faults=True)
def a_slice_of_a_tensor(package, place):
    with saved(package, place).safe_open(place.uri("m")) as opened:
        return opened.get_slice("weight")[1:2, :2].tolist()


@program(objects={"m": struct.pack("<Q", 1 << 40) + b"{}"}, needs_user_faults=True)
def a_header_that_says_a_tebibyte(package, place):
    return sorted(connector(package, place).load_file(place.uri("m")))


OVERLAPPING = json.dumps(
    {
        "a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
        "b": {"dtype": "U8", "shape": [4], "data_offsets": [2, 6]},
    }
).encode()


@program(objects={"m": struct.pack("<Q", len(OVERLAPPING)) + OVERLAPPING + bytes(6)}, needs_user_faults=True)
def tensors_that_overlap_in_the_file(package, place):
    return sorted(connector(package, place).load_file(place.uri("m")))


@program(objects={})
def saving_a_tensor_that_is_not_contiguous(package, place):
    connector(package, place).save_file({"turned": tensors()["weight"].t()}, place.uri("m"))


@program(objects={})
def saving_a_sparse_tensor(package, place):
    connector(package, place).save_file({"sparse": tensors()["weight"].to_sparse()}, place.uri("m"))


@program(objects={})
def saving_metadata_that_is_no_text(package, place):
    connector(package, place).save_file(tensors(), place.uri("m"), {"epoch": 3})


@program(objects={"m": b"old"})
def the_old_file_after_metadata_that_is_no_text(package, place):
    try:
        connector(package, place).save_file(tensors(), place.uri("m"), {"epoch": 3})
    except TypeError:
        return len(file_of(package, place))


@program(objects={})
def saving_tensors_that_share_memory(package, place):
    weight = tensors()["weight"]
    connector(package, place).save_file({"a": weight, "b": weight}, place.uri("m"))


@program(objects={})
def saving_a_dtype_that_has_no_name(package, place):
    import torch

    connector(package, place).save_file({"a": torch.ones(2, dtype=torch.complex128)}, place.uri("m"))


def state(seed):
    import torch

    weights = torch.randn(30, 40, generator=torch.Generator().manual_seed(seed))
    return {"model": {"weights": weights, "turned": weights[:, :7].t()}, "lr": 0.25, "steps": [1, 2, seed]}


def save_distributed(package, place, seed=7, **options):
    import torch.distributed.checkpoint as dcp

    fs = kept(package.OssDCPFileSystem(**place.arguments))
    dcp.save(state(seed), storage_writer=fs.writer(place.uri("run"), **options))
    return fs


def kinds_of_objects(package, place):
    """Name the objects below the checkpoint's path by their endings."""
    listed = kept(package.OssClient(**place.arguments)).list_objects(BUCKET, "run/")
    return sorted("." + item.key.rpartition(".")[2] for item in listed)


@program(objects={}, needs_user_faults=True)
def a_distributed_checkpoint_saved_and_loaded(package, place):
    import torch
    import torch.distributed.checkpoint as dcp

    fs = save_distributed(package, place)
    loaded, expected = state(0), state(7)
    dcp.load(loaded, storage_reader=fs.reader(place.uri("run")))
    same = torch.equal(loaded["model"]["weights"], expected["model"]["weights"])
    return [same, loaded["lr"], loaded["steps"]]


@program(objects={})
def objects_of_a_distributed_checkpoint(package, place):
    save_distributed(package, place)
    return kinds_of_objects(package, place)


@program(objects={})
def saving_a_distributed_checkpoint_over_another(package, place):
    save_distributed(package, place)
    save_distributed(package, place, seed=8)
    return kinds_of_objects(package, place).count(".metadata")


@program(objects={"run/.metadata": b"there"})
def overwriting_a_distributed_checkpoint_where_it_is_forbidden(package, place):
    save_distributed(package, place, overwrite=False)


@program(
    objects={"run/.metadata": b"there"},
    rules=[{"match": {"op": "HeadObject"}, "action": {"status": 403}},
           {"match": {"op": "GetObjectMeta"}, "action": {"status": 403}}],
)  # fmt: skip
def whether_something_refused_exists(package, place):
    return kept(package.OssDCPFileSystem(**place.arguments)).exists(place.uri("run/.metadata"))


@program(objects={"k": b"1"})
def whether_something_exists(package, place):
    fs = kept(package.OssDCPFileSystem(**place.arguments))
    return [fs.exists(place.uri("k")), fs.exists(place.uri("gone"))]


@program(objects={})
def paths_of_a_checkpoint(package, place):
    fs = kept(package.OssDCPFileSystem(**place.arguments))
    return [
        str(fs.concat_path("oss://b/k", "x")),
        str(fs.concat_path("oss://b/k/", "x")),
        str(fs.init_path("oss://b/k")),
        fs.mkdir("oss://b/k"),
    ]


@program(objects={"k": b"1"})
def renaming_and_removing_by_the_file_system(package, place):
    fs = kept(package.OssDCPFileSystem(**place.arguments))
    fs.rename(place.uri("k"), place.uri("n"))
    renamed = [fs.exists(place.uri("k")), fs.exists(place.uri("n"))]
    fs.rm_file(place.uri("n"))
    return [*renamed, fs.exists(place.uri("n"))]


@program(objects={"k": b"123"})
def streams_of_the_file_system(package, place):
    fs = kept(package.OssDCPFileSystem(**place.arguments))
    with fs.create_stream(place.uri("new"), "wb") as stream:
        stream.write(b"four")
    return kept(package.OssClient(**place.arguments)).head_object(BUCKET, "new").size


@program(objects={})
def a_stream_of_another_mode(package, place):
    with kept(package.OssDCPFileSystem(**place.arguments)).create_stream(place.uri("k"), "ab"):
        pass


@program(objects={})
def which_checkpoint_ids_are_valid(package, place):
    from pathlib import Path

    ids = ["oss://b/k", "/b/k", "relative", "s3://b/k", "", Path("/b/k"), Path("oss://b/k")]
    return [package.OssDCPFileSystem.validate_checkpoint_id(one) for one in ids]
