"""The mistakes users make, one function each; they run in any process that is told where the emulator is."""

from __future__ import annotations

import json
import pickle
import warnings
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import CheckpointException
from torch.utils.data import Dataset

import osstorchconnector
from osstorchconnector import (
    OssCheckpoint,
    OssClient,
    OssIterableDataset,
    OssMapDataset,
    OssSafetensor,
    errors,
    imagenet_manifest_parser,
)

URI = "oss://bucket/train/"


@dataclass(frozen=True)
class Place:
    """What a mistake starts from: arguments that work, and a directory for files that do not."""

    arguments: dict[str, Any]
    directory: str
    refused: str

    def prepare(self, uri: str = URI, **changed: Any) -> None:
        OssIterableDataset.from_prefix(uri, **{**self.arguments, **changed}).prepare()

    def file(self, name: str, text: str) -> str:
        path = Path(self.directory) / name
        path.write_text(text)
        return str(path)

    def manifest(self, name: str, text: str) -> OssMapDataset:
        path = self.file(name, text)
        return OssMapDataset.from_manifest_file(path, imagenet_manifest_parser, URI, **self.arguments)


@dataclass(frozen=True)
class Mistake:
    """One mistake.

    Attributes:
        done: what the user did, as code or in words.
        error: the class it must raise.
        names: what the line must name.
        remedy: words of the remedy it must give.
    """

    title: str
    done: str
    make: Any
    error: type[Exception]
    names: str
    remedy: str


def scheme(place: Place) -> None:
    place.prepare("s3://bucket/train/")


def bucket(place: Place) -> None:
    place.prepare("oss:///train/")


def config_value(place: Place) -> None:
    place.prepare(config_path=place.file("config.json", '{"datasetConfig": {"prefetchConcurrency": "24"}}'))


def config_text(place: Place) -> None:
    place.prepare(config_path=place.file("broken.json", '{"logLevel": 1,}'))


def no_credentials_file(place: Place) -> None:
    place.prepare(cred_path=f"{place.directory}/nowhere")


def broken_credentials_file(place: Place) -> None:
    place.prepare(cred_path=place.file("broken", '{"AccessKeyId": '))


def half_credentials_file(place: Place) -> None:
    place.prepare(cred_path=place.file("half", '{"AccessKeyId": "key"}'))


def expired_token(place: Place) -> None:
    keys = {"AccessKeyId": "key", "AccessKeySecret": "canary", "SecurityToken": "canary"}
    place.prepare(cred_path=place.file("expired", json.dumps({**keys, "Expiration": "2024-08-02T15:04:05Z"})))


def refused_token(place: Place) -> None:
    keys = Path(place.arguments["cred_path"]).read_text()
    place.prepare("oss://tokens/train/", cred_path=place.file("ended", keys))


def unknown_key(place: Place) -> None:
    place.prepare(cred_path=place.file("unknown", '{"AccessKeyId": "key", "AccessKeySecret": "canary"}'))


def wrong_secret(place: Place) -> None:
    keys = json.loads(Path(place.arguments["cred_path"]).read_text())
    place.prepare(cred_path=place.file("wrong", json.dumps({**keys, "AccessKeySecret": "canary"})))


def no_region(place: Place) -> None:
    place.prepare(region="")


def wrong_region(place: Place) -> None:
    place.prepare(region="cn-elsewhere")


def wrong_endpoint(place: Place) -> None:
    place.prepare("oss://elsewhere/train/")


def endpoint_with_path(place: Place) -> None:
    place.prepare(endpoint=f"{place.arguments['endpoint']}/bucket")


def no_bucket(place: Place) -> None:
    place.prepare("oss://no-such-bucket/train/")


def no_object(place: Place) -> None:
    _ = OssMapDataset.from_objects(["oss://bucket/train/gone.jpg"], **place.arguments)[0]


def empty_prefix(place: Place) -> None:
    place.prepare("oss://bucket/no-such-prefix/")


def manifest_line(place: Place) -> None:
    place.manifest("lines.txt", "cat.jpg\tcat\n\tdog\n").prepare()


def manifest_key(place: Place) -> None:
    _ = place.manifest("keys.txt", "gone.jpg\tcat\n")[0]


def no_manifest(place: Place) -> None:
    path = f"{place.directory}/no-manifest.txt"
    OssMapDataset.from_manifest_file(path, imagenet_manifest_parser, URI, **place.arguments).prepare()


def refused_connection(place: Place) -> None:
    hasty = place.file("hasty.json", '{"network": {"firstContactSeconds": 0.2}}')
    place.prepare(endpoint=place.refused, config_path=hasty)


def no_such_host(place: Place) -> None:
    place.prepare(endpoint="http://oss-cn-nowhere.invalid")


def wrong_clock(place: Place) -> None:
    place.prepare("oss://skewed/train/")


def put(place: Place, uri: str, data: bytes) -> None:
    with OssCheckpoint(**place.arguments).writer(uri) as writer:
        writer.write(data)


def unknown_mode(place: Place) -> None:
    with osstorchconnector.OssDCPFileSystem(**place.arguments).create_stream("oss://bucket/run/notes", "r"):
        pass


def closed_stream(place: Place) -> None:
    with OssCheckpoint(**place.arguments).writer("oss://bucket/model.pt") as writer:
        writer.write(b"all of it")
    writer.write(b"more")


def text_to_write(place: Place) -> None:
    with OssCheckpoint(**place.arguments).writer("oss://bucket/notes.txt") as writer:
        writer.write("loss 0.1")  # type: ignore[arg-type]


def wrong_buffer(place: Place) -> None:
    with OssCheckpoint(**place.arguments).reader("oss://bucket/train/cat.jpg") as reader:
        reader.readinto(b"read-only")  # type: ignore[arg-type]


def abandoned_save(place: Place) -> None:
    writer = OssCheckpoint(**place.arguments).writer("oss://bucket/model.pt")
    writer.write(b"half of it")
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        writer.close()


def taken_key(place: Place) -> None:
    with OssCheckpoint(**place.arguments).writer("oss://bucket/train/cat.jpg", if_absent=True) as writer:
        writer.write(b"another")


def saved(place: Place, tensor: torch.Tensor) -> None:
    OssSafetensor(**place.arguments).save_file({"weight": tensor}, "oss://bucket/new.safetensors")


def unsupported_dtype(place: Place) -> None:
    saved(place, torch.ones(3).to(torch.complex32))


def sparse_tensor(place: Place) -> None:
    saved(place, torch.eye(3).to_sparse())


def transposed_tensor(place: Place) -> None:
    saved(place, torch.ones(3, 4).t())


def tensors_that_share(place: Place) -> None:
    weight = torch.ones(3)
    tied = {"embedding": weight, "head": weight}
    OssSafetensor(**place.arguments).save_file(tied, "oss://bucket/new.safetensors")


def unknown_tensor(place: Place) -> None:
    tensors = OssSafetensor(**place.arguments)
    tensors.save_file({"encoder.weight": torch.ones(3)}, "oss://bucket/m.safetensors")
    with tensors.safe_open("oss://bucket/m.safetensors") as opened:
        opened.get_tensor("encoder.wieght")


def lying_header(place: Place) -> None:
    header = json.dumps({"weight": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}}).encode()
    put(place, "oss://bucket/lies.safetensors", len(header).to_bytes(8, "little") + header + bytes(4))
    OssSafetensor(**place.arguments).load_file("oss://bucket/lies.safetensors")


def missing_file_of_a_model(place: Place) -> None:
    index = {"weight_map": {"weight": "model-00001-of-00002.safetensors"}}
    put(place, "oss://bucket/model/model.safetensors.index.json", json.dumps(index).encode())
    OssSafetensor(**place.arguments).load_file("oss://bucket/model/")


def in_checkpoint(call: Any) -> None:
    """Unpack what torch raises: `CheckpointException` has the failure of each rank, and ends with its line."""
    try:
        with warnings.catch_warnings():
            # One process is meant.
            warnings.simplefilter("ignore", UserWarning)
            call()
    except CheckpointException as of_all_ranks:
        raise of_all_ranks.failures[0][0] from None


def missing_shard(place: Place) -> None:
    fs, client = osstorchconnector.OssDCPFileSystem(**place.arguments), OssClient(**place.arguments)
    in_checkpoint(
        lambda: dcp.save({"weight": torch.ones(3)}, storage_writer=fs.writer("oss://bucket/run/step-1"))
    )
    for stored in client.list_objects("bucket", "run/step-1/__"):
        client.remove_object("bucket", stored.key.removeprefix("/bucket/"))
    in_checkpoint(
        lambda: dcp.load({"weight": torch.ones(3)}, storage_reader=fs.reader("oss://bucket/run/step-1"))
    )


def strangers_metadata(place: Place) -> None:
    fs = osstorchconnector.OssDCPFileSystem(**place.arguments)
    put(place, "oss://bucket/run/stranger/.metadata", pickle.dumps(Fraction(1, 3)))
    in_checkpoint(
        lambda: dcp.load({"weight": torch.ones(3)}, storage_reader=fs.reader("oss://bucket/run/stranger"))
    )


def missing_checkpoint(place: Place) -> None:
    fs = osstorchconnector.OssDCPFileSystem(**place.arguments)
    in_checkpoint(
        lambda: dcp.load({"weight": torch.ones(3)}, storage_reader=fs.reader("oss://bucket/run/step-9"))
    )


MISTAKES = [
    Mistake("A URI of another scheme", 'from_prefix("s3://bucket/train/")', scheme, errors.ConfigError, "s3://", "write oss://"),
    Mistake("A URI without a bucket", 'from_prefix("oss:///train/")', bucket, errors.ConfigError, "oss:///train/", "write oss://"),
    Mistake("A config value of the wrong type", '"prefetchConcurrency": "24"', config_value, errors.ConfigError, "datasetConfig.prefetchConcurrency", "must be a whole number"),
    Mistake("A config file that is not JSON", '{"logLevel": 1,}', config_text, errors.ConfigError, "broken.json", "line 1 column 16"),
    Mistake("A missing credentials file", 'cred_path="/path/to/nowhere"', no_credentials_file, errors.CredentialsError, "nowhere", "correct cred_path"),
    Mistake("A credentials file that is cut off", '{"AccessKeyId": ', broken_credentials_file, errors.CredentialsError, "broken", "correct the file"),
    Mistake("A credentials file without a secret", '{"AccessKeyId": "key"}', half_credentials_file, errors.CredentialsError, "half", "AccessKeySecret"),
    Mistake("An expired token", '"Expiration": "2024-08-02T15:04:05Z"', expired_token, errors.CredentialsError, "expired since 2024-08-02T15:04:05", "put fresh credentials there"),
    Mistake("A token that OSS finds expired", "temporary credentials that ended", refused_token, errors.CredentialsError, "ended", "put valid ones there"),
    Mistake("A key that OSS does not know", '"AccessKeyId": "key"', unknown_key, errors.CredentialsError, "unknown", "put valid ones there"),
    Mistake("A wrong secret", '"AccessKeySecret" of another key', wrong_secret, errors.PermissionDeniedError, "oss://bucket/", "check the access key secret"),
    Mistake("An endpoint from which no region can be told", 'endpoint="http://127.0.0.1:9000"', no_region, errors.ConfigError, "127.0.0.1", "pass region="),
    Mistake("The endpoint of another region", "a bucket of another region", wrong_endpoint, errors.PermissionDeniedError, "endpoint 127.0.0.1", "use that region's endpoint"),
    Mistake("A wrong region", 'region="cn-elsewhere"', wrong_region, errors.PermissionDeniedError, "cn-elsewhere", "region=..."),
    Mistake("An endpoint with a path", 'endpoint="http://127.0.0.1:9000/bucket"', endpoint_with_path, errors.ConfigError, "/bucket", "endpoint"),
    Mistake("A bucket that does not exist", 'from_prefix("oss://no-such-bucket/train/")', no_bucket, errors.NotFoundError, "oss://no-such-bucket/", "check its name"),
    Mistake("An object that does not exist", 'from_objects(["oss://bucket/train/gone.jpg"])', no_object, errors.NotFoundError, "oss://bucket/train/gone.jpg", 'on_missing="skip"'),
    Mistake("A prefix without objects", 'from_prefix("oss://bucket/no-such-prefix/")', empty_prefix, errors.EmptyDatasetError, "oss://bucket/no-such-prefix/", "allow_empty=True"),
    Mistake("A manifest line that does not parse", "a line that begins with a TAB", manifest_line, errors.FormatError, "line 2", "correct the line"),
    Mistake("A key in the manifest that does not exist", "gone.jpg in the manifest", manifest_key, errors.NotFoundError, "oss://bucket/train/gone.jpg", 'on_missing="skip"'),
    Mistake("A manifest that does not exist", 'from_manifest_file("/path/to/no-manifest.txt")', no_manifest, errors.NotFoundError, "no-manifest.txt", "correct manifest_file_path"),
    Mistake("A host that refuses", "nothing listens at the endpoint", refused_connection, errors.ConnectionFailedError, "refused the connection", "check endpoint"),
    Mistake("A name that does not resolve", 'endpoint="http://oss-cn-nowhere.invalid"', no_such_host, errors.ConnectionFailedError, "oss-cn-nowhere.invalid", "check endpoint"),
    Mistake("A clock that is off and stays refused", "the machine's clock is an hour late", wrong_clock, errors.PermissionDeniedError, "clock differs", "set the clock"),
    Mistake("An unknown mode", 'fs.create_stream("oss://bucket/run/notes", "r")', unknown_mode, errors.ConfigError, "'r'", "'rb' or 'wb'"),
    Mistake("A stream that is closed", "writer.write() after its with block", closed_stream, errors.ClosedError, "oss://bucket/model.pt", "open it again"),
    Mistake("A text where bytes belong", 'writer.write("loss 0.1")', text_to_write, TypeError, "not str", "io.TextIOWrapper"),
    Mistake("A buffer that cannot be filled", 'reader.readinto(b"read-only")', wrong_buffer, BufferError, "oss://bucket/train/cat.jpg", "fill a bytearray"),
    Mistake("A writer closed while an exception is on its way", "writer.close() in an except block, without with", abandoned_save, errors.UploadError, "oss://bucket/model.pt", "with ... as writer"),
    Mistake("A key that is taken", "writer(uri, if_absent=True) of an object that exists", taken_key, errors.AlreadyExistsError, "oss://bucket/train/cat.jpg", "if_absent"),
    Mistake("A dtype that safetensors does not have", 'save_file({"weight": complex32})', unsupported_dtype, errors.ConfigError, "'weight' is torch.complex32", "convert it"),
    Mistake("A sparse tensor", 'save_file({"weight": sparse})', sparse_tensor, errors.ConfigError, "'weight' is sparse", ".to_dense()"),
    Mistake("A tensor that is not contiguous", 'save_file({"weight": weight.t()})', transposed_tensor, errors.ConfigError, "'weight' is not contiguous", ".contiguous()"),
    Mistake("Tensors that share memory", 'save_file({"embedding": weight, "head": weight})', tensors_that_share, errors.ConfigError, "'embedding' and 'head'", ".clone()"),
    Mistake("A name that is not in the file", 'get_tensor("encoder.wieght")', unknown_tensor, KeyError, "'encoder.wieght'", "near names: 'encoder.weight'"),
    Mistake("A header that lies", "a shape of a million million, four bytes of data", lying_header, errors.FormatError, "oss://bucket/lies.safetensors", "save it again"),
    Mistake("A missing file of a model in several", "an index that names a file which is not there", missing_file_of_a_model, errors.NotFoundError, "model-00001-of-00002.safetensors", "upload that shard"),
    Mistake("A distributed checkpoint with a missing part", "dcp.load, when somebody removed an object", missing_shard, errors.IntegrityError, "oss://bucket/run/step-1/__", "load an older checkpoint"),
    Mistake("Metadata from a stranger", "dcp.load of a .metadata that asks for a class", strangers_metadata, errors.NotAllowedError, "fractions.Fraction", "allow_classes=[Fraction]"),
    Mistake("A checkpoint that is not there", 'fs.reader("oss://bucket/run/step-9")', missing_checkpoint, errors.NotFoundError, "oss://bucket/run/step-9/.metadata", "latest(prefix)"),
]  # fmt: skip


def unknown_config_key(place: Place) -> None:
    """Make a mistake that is no error, so that a config file can serve several versions."""
    place.prepare(config_path=place.file("typo.json", '{"datasetConfig": {"prefetchConcurency": 48}}'))


def contradicted_endpoint(place: Place) -> None:
    """Make a mistake that is no error, as some zones sign with a name that their host does not have."""
    elsewhere = {"endpoint": "https://oss-cn-beijing.aliyuncs.com", "region": "cn-hangzhou"}
    OssCheckpoint(**{**place.arguments, **elsewhere}).store()


class Mistakes(Dataset[None]):
    """Makes mistake `i` when it is asked for item `i`: what a DataLoader worker of the user would do."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def __len__(self) -> int:
        return len(MISTAKES)

    def __getitem__(self, number: int) -> None:
        MISTAKES[number].make(self._place)
