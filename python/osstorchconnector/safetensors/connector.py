"""`OssSafetensor`: opens, loads and saves safetensors files on OSS by URI."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from osstorchconnector.connection import OnOss
from osstorchconnector.errors import FormatError, IntegrityError, NotFoundError
from osstorchconnector.safetensors import shards, weight_map
from osstorchconnector.safetensors.file import TensorFile
from osstorchconnector.safetensors.memory import usable_device
from osstorchconnector.safetensors.opened import OpenTensors
from osstorchconnector.safetensors.saving import Plan
from osstorchconnector.streams import ObjectWriter
from osstorchconnector.uri import as_uri, location_text, object_path

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import torch

_log = logging.getLogger(__name__)

# A damaged file is loaded so often before its error is the caller's.
_LOADS = 3


class OssSafetensor(OnOss):
    """Opens, loads and saves safetensors files; it can be pickled.

    A URI names a file, the index of a checkpoint in several files (`model.safetensors.index.json`), or a directory
    with one of them (`model.safetensors`).

    Args:
        endpoint: `http[s]://host[:port]`; None takes the environment's.
        cred_path: JSON credentials file; "" with no provider is the chain of sources.
        config_path: JSON config file; "" is the default one if it exists.
        cred_provider: an object with `get_credentials()`, or a callable.
        region: signing region; "" is inferred.
        addressing: `auto`, `virtual`, `path` or `cname`.

    Raises:
        ConfigError: `endpoint` is "", or the config file is wrong.
    """

    def safe_open(
        self, oss_uri: str | os.PathLike[str], device: str | int | torch.device | None = "cpu"
    ) -> OpenTensors:
        """Open a file or a checkpoint: headers are read and checked, tensors when they are asked for.

        Args:
            device: where tensors are made; an integer is a GPU's number.

        Raises:
            ConfigError: the device cannot be used here.
            FormatError: a header or an index is damaged or lies.
            NotFoundError: there is no such file, or a shard that the index names is missing.
        """
        path = _path(oss_uri)
        target = usable_device(device)
        if path.endswith("/"):
            return self._open_directory(path, target)
        if path.endswith(".json"):
            return self._open_index(path, target)
        try:
            return self._open_file(path, target)
        except NotFoundError as missing:
            try:
                return self._open_index(f"{path}/{weight_map.INDEX_NAME}", target)
            except NotFoundError as also:
                # A shard that is missing is another matter than an index that is.
                raise (missing if also.uri.endswith(weight_map.INDEX_NAME) else also) from None

    def load_file(
        self, oss_uri: str | os.PathLike[str], device: str | int | torch.device | None = "cpu"
    ) -> dict[str, torch.Tensor]:
        """Load all tensors of a file or a checkpoint, in the order of their bytes.

        Tensors are filled in place by parallel ranges, and compared with OSS's CRC-64; what was damaged on the way is
        loaded again. On the way to a GPU they pass through 128 MiB of pinned memory.

        Raises:
            ConfigError, FormatError, NotFoundError: as `safe_open`.
            IntegrityError: the bytes were damaged three times.
        """
        for remaining in reversed(range(_LOADS)):
            try:
                with self.safe_open(oss_uri, device) as opened:
                    return opened.get_tensors()
            except IntegrityError as damaged:
                if not remaining:
                    raise
                _log.warning("%s; loading it again", damaged)
        raise AssertionError("the last load returns or raises")

    def save_file(
        self,
        tensors: Mapping[str, torch.Tensor],
        oss_uri: str | os.PathLike[str],
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Save tensors as one file, byte for byte as the official library does; it appears whole or not at all.

        Args:
            tensors: dense and contiguous, none sharing memory with another; those on a GPU are copied to the host
                one at a time.
            metadata: texts for the header, kept in this order.

        Raises:
            ConfigError: the format cannot hold a tensor; nothing was sent.
            TypeError: metadata is not `str` to `str`; nothing was sent.
            UploadError: it was not, or not certainly, written.
        """
        path = _path(oss_uri)
        plan = Plan(tensors, metadata)
        sink = self.store().open_sink(path, size_hint_bytes=plan.size_bytes)
        with ObjectWriter(sink, path) as writer:
            for piece in plan.pieces():
                writer.write(piece)

    def _open_directory(self, path: str, device: torch.device) -> OpenTensors:
        try:
            return self._open_index(path + weight_map.INDEX_NAME, device)
        except NotFoundError as missing:
            if not missing.uri.endswith(weight_map.INDEX_NAME):
                raise
        try:
            return self._open_file(path + weight_map.SINGLE_NAME, device)
        except NotFoundError as missing:
            missing.advise(f"a directory needs it, or {weight_map.INDEX_NAME}")
            raise

    def _open_file(self, path: str, device: torch.device) -> OpenTensors:
        file = TensorFile(self.store().open_reader(path))
        return OpenTensors([file], dict.fromkeys(file.header.tensors, file), device, as_uri(path))

    def _open_index(self, path: str, device: torch.device) -> OpenTensors:
        uri = as_uri(path)
        shard_names = weight_map.parse(self._small_object(path), uri)
        directory = path[: path.rindex("/") + 1]
        homes = shards.open_all(self.store(), directory, shard_names, uri)
        return OpenTensors(list(dict.fromkeys(homes.values())), homes, device, uri)

    def _small_object(self, path: str) -> bytes:
        with self.store().open_reader(path) as reader:
            if reader.size > weight_map.MAX_INDEX_BYTES:
                raise FormatError(
                    f"safe_open {reader.uri}: an index of {reader.size} bytes is none; pass the URI of an index",
                    operation="safe_open",
                    uri=reader.uri,
                )
            return reader.read()


def _path(oss_uri: str | os.PathLike[str]) -> str:
    return object_path(location_text(oss_uri, "oss_uri"))
