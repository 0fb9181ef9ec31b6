"""The demo's bucket: an emulator in its own process, filled with the pictures over the wire."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from digits.model import decode
from osstorchconnector import (
    OssCheckpoint,
    OssClient,
    OssIterableDataset,
    OssMapDataset,
    imagenet_manifest_parser,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from digits.pictures import Pictures
    from osstorchconnector.emulator import Emulator

NAME = "digits"
FIRST_BYTE_MS = 30  # about what the service takes to answer a GET from a machine in its region
READ_AHEAD_MIB = 4

_UPLOAD_THREADS = 8
# By default a worker reads up to 64 MiB ahead. That is more than its share of these pictures, so all requests of an
# epoch would go out in its first moment, and there would be nothing to see after it.
_CONFIG = {"network": {"maxBytesInFlight": READ_AHEAD_MIB << 20}}


class Bucket:
    """The bucket `digits` of an emulator that runs.

    Args:
        oss: the emulator.
        home: a private folder for the credentials file.

    Attributes:
        oss: the emulator, to be told to misbehave.
        access: the keyword arguments that every class of the package takes to reach it.
    """

    def __init__(self, oss: Emulator, home: Path) -> None:
        self.oss = oss
        self.access: dict[str, Any] = {
            "endpoint": oss.endpoint,
            "region": oss.region,
            "cred_path": oss.write_credentials(home),
        }
        self._config_path = oss.write_config(home, _CONFIG)

    def fill(self, pictures: Pictures) -> None:
        """Put every picture and both manifests, each with one signed and checked PutObject."""
        client = OssClient(**self.access)

        def put(key: str, data: bytes) -> None:
            with client.put_object(NAME, key) as writer:
                writer.write(data)

        def put_picture(file: str) -> None:
            put(file, (pictures.folder / file).read_bytes())

        with ThreadPoolExecutor(_UPLOAD_THREADS) as threads:
            for _ in threads.map(put_picture, pictures.files):
                pass
        for part in ("train", "held-out"):
            put(f"manifests/{part}.tsv", pictures.manifest(part))

    def behave(self, rules: Sequence[Mapping[str, Any]] = (), seed: int = 0) -> None:
        """Let the emulator answer as slowly as a real service, and misbehave by these rules alone.

        Args:
            seed: decides which requests meet rules that have a probability.
        """
        self.oss.rules(rules, seed)
        self.oss.shape(first_byte_ms=FIRST_BYTE_MS)

    def train_dataset(self) -> Any:
        """Return the training pictures as a stream, in the manifest's order."""
        return self._dataset(OssIterableDataset, "train", shard="rank")

    def held_out_dataset(self) -> Any:
        """Return the held-out pictures by position."""
        return self._dataset(OssMapDataset, "held-out")

    def access_arguments(self) -> list[str]:
        """Return endpoint, region, credentials file and config file, for the command line of a child."""
        return [*(str(self.access[name]) for name in ("endpoint", "region", "cred_path")), self._config_path]

    def checkpoints(self) -> OssCheckpoint:
        """Return what opens checkpoints of this bucket."""
        return OssCheckpoint(**self.access)

    def _dataset(self, kind: Any, part: str, **options: Any) -> Any:
        return kind.from_manifest_file(
            f"oss://{NAME}/manifests/{part}.tsv",
            imagenet_manifest_parser,
            f"oss://{NAME}/",
            transform=decode,
            config_path=self._config_path,
            **options,
            **self.access,
        )
