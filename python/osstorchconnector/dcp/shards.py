"""Data objects: what is written into them, and what is remembered of every item.

The format is torch's own: an item is what `torch.save` writes of one tensor, or the bytes that the planner gives, one
after the other. Torch's reader can load it.
"""

from __future__ import annotations

import io
import sys
import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.checkpoint.filesystem import _OverlappingCpuLoader, _SerialCpuLoader
from torch.distributed.checkpoint.metadata import MetadataIndex
from torch.distributed.checkpoint.planner import WriteItemType
from torch.distributed.checkpoint.storage import WriteResult

from osstorchconnector.checksum import crc64_combine
from osstorchconnector.dcp.manifest import Item, Payload
from osstorchconnector.dcp.older_torch import storage_info, without_crc32
from osstorchconnector.errors import OssError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future

    from _typeshed import ReadableBuffer
    from torch.distributed.checkpoint.filesystem import _StorageInfo
    from torch.distributed.checkpoint.planner import SavePlanner, WriteItem

    from osstorchconnector.dcp.progress import Progress
    from osstorchconnector.streams import ObjectWriter

# A tensor of this size or more is read into place, past its wrapping; below, copying costs less than a range more.
PAYLOAD_BYTES = 64 * 1024
# `torch.save` makes forty small writes around a tensor; they are joined up to this size.
_JOINED_BYTES = 64 * 1024
# What `torch.save` wraps around a tensor, at most, in practice.
_WRAPPING_BYTES = 2048


@dataclass(frozen=True)
class StoredItem:
    """What a rank tells the coordinator of an item it has written: for `.metadata` and for the manifest.

    Attributes:
        path: the checkpoint that this rank saves into.
        save_id: the save that the coordinator named; None if the plan did not carry it here.
        shard_parts: size and CRC-64 of each part of the data object; told with the first of its items alone.
    """

    info: _StorageInfo
    item: Item
    shard_bytes: int
    shard_crc64: int
    path: str
    save_id: str | None
    shard_parts: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class GivenUp:
    """What a rank tells the coordinator instead, when it ended its part because another rank had failed.

    Whoever would make a checkpoint of it must not.
    """

    why: str


def given_up(failure: Exception) -> list[WriteResult]:
    """Make such a result."""
    return [WriteResult(index=MetadataIndex(""), size_in_bytes=0, storage_data=GivenUp(str(failure)))]


@dataclass(frozen=True)
class PlannedShard:
    """A data object to be written; `name` is relative to the checkpoint's path."""

    name: str
    items: list[WriteItem]

    @property
    def size_hint_bytes(self) -> int:
        """About how large it will be."""
        return sum(item_bytes(item) + _WRAPPING_BYTES for item in self.items)


def item_bytes(item: WriteItem) -> int:
    """Return about how many bytes an item has: of a tensor's chunk, its elements."""
    if item.tensor_data is not None:
        chunk, dtype = item.tensor_data.chunk, item.tensor_data.properties.dtype
        return int(chunk.sizes.numel()) * dtype.itemsize
    # An older torch does not tell of objects.
    told = getattr(item, "bytes_io_data", None)
    return max(0, told.nbytes) if told is not None else 0


class _Recorder(io.RawIOBase):
    """The way of one item into the stream: joins small writes, and finds the tensor's elements among them."""

    def __init__(self, stream: ObjectWriter, progress: Progress) -> None:
        super().__init__()
        self._stream, self._progress = stream, progress
        self._joined = bytearray()
        self._sent_bytes = 0
        self._wanted_bytes = -1
        self._payload_at: int | None = None

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._sent_bytes + len(self._joined)

    def look_for(self, size_bytes: int) -> None:
        """Remember where the next write of exactly this size begins."""
        self._wanted_bytes, self._payload_at = size_bytes, None

    def found(self) -> int | None:
        return self._payload_at

    def write(self, data: ReadableBuffer, /) -> int:
        with memoryview(data) as view:
            size_bytes = view.nbytes
            if size_bytes == self._wanted_bytes:
                self._payload_at = self.tell()
            if size_bytes < _JOINED_BYTES:
                self._joined += view
                if len(self._joined) >= _JOINED_BYTES:
                    self.drain()
            else:
                self.drain()
                self._send(view)
        return size_bytes

    def drain(self) -> None:
        """Let the stream have everything."""
        if self._joined:
            joined, self._joined = self._joined, bytearray()
            self._send(joined)

    def flush(self) -> None:
        """Do nothing: an item's end drains."""

    def _send(self, data: ReadableBuffer) -> None:
        size_bytes = self._stream.write(data)
        self._sent_bytes += size_bytes
        self._progress.moved(size_bytes)


class ShardWriter:
    """Writes data objects of one rank.

    Args:
        open_stream: opens the writer of one: its relative name and size hint.
        transforms: torch's extensions of the stream; see `FileSystemWriter`.
        copy_ahead_bytes: how much to copy from a GPU ahead of saving it; 0 for nothing.
    """

    def __init__(
        self,
        open_stream: Callable[[str, int], ObjectWriter],
        planner: SavePlanner,
        transforms: Any,
        copy_ahead_bytes: int,
        progress: Progress,
        path: str,
        save_id: str | None,
    ) -> None:
        self._open_stream = open_stream
        self._planner = planner
        self._transforms = transforms
        self._copy_ahead_bytes = copy_ahead_bytes
        self._progress = progress
        self._path, self._save_id = path, save_id
        self._streams: set[ObjectWriter] = set()
        self._is_given_up = False
        self._lock = threading.Lock()

    def write_all(self, shards: Sequence[PlannedShard], threads: int) -> list[WriteResult]:
        """Write data objects, several at a time if asked; the first failure ends all."""
        if threads == 1 or len(shards) <= 1:
            return [result for shard in shards for result in self.write(shard)]
        with ThreadPoolExecutor(threads, thread_name_prefix="oss-dcp-save") as pool:
            writes = [pool.submit(self.write, shard) for shard in shards]
            try:
                wait(writes, return_when=FIRST_EXCEPTION)
            except BaseException:
                self._end(writes)
                raise
            failed = [write for write in writes if write.done() and write.exception() is not None]
            if failed:
                self._end(writes)
        return [result for write in failed or writes for result in write.result()]

    def _end(self, writes: Sequence[Future[list[WriteResult]]]) -> None:
        """Let no write begin, and none go on."""
        for write in writes:
            write.cancel()
        self.give_up()

    def give_up(self) -> None:
        """Abort what other threads still write: the save is lost already, and they may have gigabytes to go."""
        with self._lock:
            self._is_given_up = True
            streams = list(self._streams)
        for stream in streams:
            # The failure that ended the save is the one to be told.
            with suppress(OssError):
                stream.abort()

    @contextmanager
    def _opened(self, shard: PlannedShard) -> Iterator[ObjectWriter]:
        """Open a data object, so that `give_up` ends its writing."""
        stream = self._open_stream(shard.name, shard.size_hint_bytes)
        with self._lock:
            self._streams.add(stream)
            is_late = self._is_given_up
        try:
            # Most of a data object may still be on its way when the block's end publishes it.
            with stream:
                if is_late:
                    stream.abort()
                yield stream
        finally:
            with self._lock:
                self._streams.discard(stream)

    def write(self, shard: PlannedShard) -> list[WriteResult]:
        """Write one data object, whole or not at all."""
        with self._opened(shard) as stream:
            recorder = _Recorder(stream, self._progress)
            written = [
                self._write_item(stream, recorder, shard.name, item, data)
                for item, data in self._resolved(shard.items)
            ]
            size_bytes, crc64 = stream.tell(), stream.crc64
        took = stream.timings
        self._progress.add("serialise", took.serialise_seconds)
        self._progress.add("upload", took.upload_seconds)
        self._progress.add("settle", took.settle_seconds)
        self._progress.part_done()
        parts = [tuple(stream.parts)] + [()] * len(written)
        return [
            WriteResult(
                index=index,
                size_in_bytes=info.length,
                storage_data=StoredItem(info, item, size_bytes, crc64, self._path, self._save_id, some),
            )
            for (index, info, item), some in zip(written, parts, strict=False)
        ]

    def _write_item(
        self,
        stream: ObjectWriter,
        recorder: _Recorder,
        name: str,
        item: WriteItem,
        data: io.BytesIO | torch.Tensor,
    ) -> tuple[Any, _StorageInfo, Item]:
        offset, crc64_before = recorder.tell(), stream.crc64
        transformed, descriptors = self._transforms.transform_save_stream(item, recorder)
        payload = None
        if isinstance(data, torch.Tensor):
            is_plain = not descriptors and _is_plain(data)
            recorder.look_for(data.nbytes if is_plain else -1)
            with without_crc32():
                torch.save(data, transformed)
            found = recorder.found()
            if is_plain and found is not None:
                payload = Payload(found - offset, str(data.dtype).removeprefix("torch."), tuple(data.shape))
        else:
            transformed.write(data.getbuffer())
        # Torch's wrapper does not close what is below it.
        transformed.close()
        recorder.drain()
        size_bytes = recorder.tell() - offset
        crc64 = crc64_combine(crc64_before, 0, size_bytes) ^ stream.crc64
        info = storage_info(name, offset, size_bytes, descriptors)
        return item.index, info, Item(offset, size_bytes, crc64, payload)

    def _resolved(self, items: Sequence[WriteItem]) -> Iterator[tuple[WriteItem, io.BytesIO | torch.Tensor]]:
        """Bring items into this host's memory, one after the other, objects first."""
        tensors = []
        for item in items:
            if item.type == WriteItemType.BYTE_IO:
                data = self._planner.resolve_data(item)
                assert isinstance(data, io.BytesIO), "a planner gives the bytes of what is no tensor"
                yield item, data
            else:
                tensors.append(item)
        loader = self._loader()
        for item in tensors:
            loader.add(item_bytes(item), item)
        loader.start_loading()
        for tensor, item in loader.values():
            yield item, tensor

    def _loader(self) -> Any:
        resolve = self._planner.resolve_data
        if self._copy_ahead_bytes > 0 and torch.cuda.is_available():
            return _OverlappingCpuLoader(resolve, inflight_threshhold=self._copy_ahead_bytes)
        return _SerialCpuLoader(resolve)


def _is_plain(tensor: torch.Tensor) -> bool:
    """Say whether the bytes of its storage are its elements in order, and worth reading into place."""
    return (
        tensor.nbytes >= PAYLOAD_BYTES
        and tensor.layout == torch.strided
        and tensor.is_contiguous()
        and tensor.untyped_storage().nbytes() == tensor.nbytes
        and not tensor.is_quantized
        and not tensor.is_conj()
        and not tensor.is_neg()
        and sys.byteorder == "little"
    )
