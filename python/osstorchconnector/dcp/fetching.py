"""Bringing the items of a load plan here: coalesced ranges, straight into the tensors where they can land.

Items are fetched in batches of one data object, several batches at a time. A tensor whose place within its item is
in the manifest, and of which all, or neighbouring rows, are wanted as they are stored, is read into the tensor of the
model itself. What lands is compared with the CRC-64 of the item, or of the parts around the rows, before the planner
hears of it.
"""

from __future__ import annotations

import io
import itertools
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed._shard._utils import narrow_tensor_by_index
from torch.distributed.checkpoint.planner import LoadItemType

from osstorchconnector.checksum import crc64_combine
from osstorchconnector.dcp import memory, older_torch
from osstorchconnector.dcp.rows import wanted_rows
from osstorchconnector.errors import FormatError, IntegrityError, ObjectChangedError
from osstorchconnector.uri import as_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from torch.distributed.checkpoint.filesystem import _StorageInfo
    from torch.distributed.checkpoint.planner import LoadPlanner, ReadItem

    from osstorchconnector.connection import OssStore
    from osstorchconnector.dcp.manifest import Item
    from osstorchconnector.dcp.progress import Progress
    from osstorchconnector.dcp.rows import Parts, Rows
    from osstorchconnector.streams import ObjectReader

# Data objects that are read at a time; each fans out into ranges by itself.
_READERS = 8
# Large enough for many ranges, small enough that the first tensors are put in place while the rest arrives.
_BATCH_BYTES = 128 << 20
# Memory for what cannot land in place, at most, beyond one batch.
_WAITING_BYTES = 512 << 20
_TRIES = 3


@dataclass(frozen=True)
class Wanted:
    """One stored item, and everything that the plan wants of it."""

    info: _StorageInfo
    item: Item | None
    reads: list[ReadItem]
    # Size of the stored chunk.
    chunk: torch.Size | None
    # What is read of it; None for all.
    rows: Rows | None = None

    @classmethod
    def of(
        cls,
        info: _StorageInfo,
        item: Item | None,
        reads: list[ReadItem],
        chunk: torch.Size | None,
        parts: Parts | None,
    ) -> Wanted:
        """Choose what is read of an item of a data object that was uploaded in `parts`."""
        whole = cls(info, item, reads, chunk)
        shape_and_type = whole.payload_type
        if shape_and_type is None or parts is None:
            return whole
        shape, dtype = shape_and_type
        some = wanted_rows(reads, shape, whole.payload_offset, dtype.itemsize, parts)
        return whole if some is None else cls(info, item, reads, chunk, some)

    @property
    def offset(self) -> int:
        """Where the bytes that are read begin in the data object."""
        return self.info.offset if self.rows is None else self.rows.parts_offset

    @property
    def size_bytes(self) -> int:
        """Bytes that are read."""
        return self.info.length if self.rows is None else self.rows.parts_bytes

    @property
    def checks(self) -> tuple[tuple[int, int], ...]:
        """Sizes and CRC-64 of the pieces in which these bytes are compared; none where nothing is known of them."""
        if self.rows is not None:
            return self.rows.parts
        if self.item is None or self.item.crc64 is None:
            return ()
        return ((self.info.length, self.item.crc64),)

    @property
    def payload_offset(self) -> int:
        """Where the plain elements of the stored tensor begin in the data object."""
        assert self.item is not None
        assert self.item.payload is not None
        return self.info.offset + self.item.payload.offset

    @property
    def payload_type(self) -> tuple[tuple[int, ...], torch.dtype] | None:
        """Shape and dtype of these elements, if the manifest and the metadata tell them."""
        if self.item is None or self.item.crc64 is None or self.item.payload is None:
            return None
        if older_torch.descriptors(self.info) or self.chunk is None:
            return None
        payload = self.item.payload
        dtype = getattr(torch, payload.dtype, None)
        if not isinstance(dtype, torch.dtype) or tuple(self.chunk) != payload.shape:
            return None
        if payload.offset + prod(payload.shape) * dtype.itemsize > self.info.length:
            return None
        return payload.shape, dtype


@dataclass
class _Landing:
    """An item on its way, or rows of it: the memory that it lands in, piece by piece.

    Attributes:
        tensor: what the elements land in; None if the item lands as plain bytes.
        is_in_place: `tensor` is the model's own.
    """

    wanted: Wanted
    pieces: list[Any]
    tensor: torch.Tensor | None = None
    is_in_place: bool = False

    def __post_init__(self) -> None:
        """Cut the pieces so that each lies in one of those that are compared."""
        edges = itertools.accumulate(size_bytes for size_bytes, _ in self.wanted.checks)
        self.pieces = _cut(self.pieces, list(edges)[:-1])

    @property
    def ranges(self) -> list[tuple[int, Any]]:
        starts = itertools.accumulate((len(piece) for piece in self.pieces), initial=self.wanted.offset)
        return [(start, piece) for start, piece in zip(starts, self.pieces, strict=False) if len(piece)]

    @property
    def scratch_bytes(self) -> int:
        return 0 if self.is_in_place else self.wanted.size_bytes

    @property
    def first_row(self) -> int:
        return 0 if self.wanted.rows is None else self.wanted.rows.first

    def is_whole(self, crc64s: list[int]) -> bool:
        """Compare the CRC-64 of the pieces, in order, with what is known."""
        sizes = (len(piece) for piece in self.pieces if len(piece))
        landed = zip(crc64s, sizes, strict=True)
        for size_bytes, crc64 in self.wanted.checks:
            total, left = 0, size_bytes
            while left > 0:
                piece_crc64, piece_bytes = next(landed)
                total = crc64_combine(total, piece_crc64, piece_bytes)
                left -= piece_bytes
            if total != crc64:
                return False
        return True


class Fetcher:
    """Fetches the items of one rank's load plan.

    Args:
        path: `/bucket/checkpoint`.
        sizes: of the data objects, as far as the manifest tells them.
        transform: undoes torch's extensions of a stream.
        check_object: looks at the bytes of an item that is no tensor before the planner gets them.
    """

    def __init__(
        self,
        store: OssStore,
        path: str,
        sizes: dict[str, int],
        planner: LoadPlanner,
        transform: Callable[[ReadItem, Sequence[str], Any], Any],
        check_object: Callable[[ReadItem, bytes], None] | None,
        progress: Progress,
    ) -> None:
        self._store, self._path, self._sizes = store, path, sizes
        self._planner = planner
        self._transform = transform
        self._check_object = check_object
        self._progress = progress
        self._readers: set[ObjectReader] = set()
        self._failure: BaseException | None = None
        self._lock = threading.Lock()
        # ETags of the data objects that were read from.
        self._versions: dict[str, str] = {}
        # By their `id`, the items whose tensors share memory with those of others: tied weights, and views.
        self._sharing: set[int] = set()

    def fetch(self, wanted: Sequence[Wanted]) -> None:
        """Bring everything, and give it to the planner, on this thread."""
        self._sharing = memory.sharing(self._extents(wanted))
        waiting: deque[tuple[Future[None], list[_Landing]]] = deque()
        held_bytes = 0
        with ThreadPoolExecutor(_READERS, thread_name_prefix="oss-dcp-load") as pool:
            try:
                for batch in _batches(wanted):
                    landings = [self._landing(one) for one in batch]
                    waiting.append((pool.submit(self._read, batch[0].info.relative_path, landings), landings))
                    held_bytes += sum(landing.scratch_bytes for landing in landings)
                    while held_bytes > _WAITING_BYTES or len(waiting) > 2 * _READERS:
                        held_bytes -= self._take(*waiting.popleft())
                while waiting:
                    self._take(*waiting.popleft())
            except BaseException as raised:
                # Neither a failure nor Ctrl-C waits for what the network still owes us.
                first = self.give_up(raised)
                if isinstance(raised, Exception) and first is not raised:
                    # This read was ended because another one had failed.
                    raise first from None
                raise
            finally:
                # What has not begun shall not; what has begun writes into our memory, and is waited for.
                pool.shutdown(wait=True, cancel_futures=True)

    def give_up(self, failure: BaseException) -> BaseException:
        """End the reads that run; return the failure that came first."""
        with self._lock:
            first = self._failure = self._failure or failure
            readers = list(self._readers)
        for reader in readers:
            reader.close()
        return first

    @contextmanager
    def _opened(self, at: str, size_bytes: int | None) -> Iterator[ObjectReader]:
        """Open a data object, so that `give_up` ends its read."""
        with self._store.open_reader(at, size_bytes) as reader:
            with self._lock:
                if self._failure is not None:
                    reader.close()
                self._readers.add(reader)
            try:
                yield reader
            finally:
                with self._lock:
                    self._readers.discard(reader)

    def _extents(self, wanted: Iterable[Wanted]) -> Iterator[tuple[tuple[int, int], int]]:
        for one in wanted:
            for read in one.reads:
                if read.type != LoadItemType.BYTE_IO:
                    yield memory.extent(self._planner.resolve_tensor(read).detach()), id(one)

    def _landing(self, wanted: Wanted) -> _Landing:
        shape_and_type = wanted.payload_type
        if shape_and_type is None:
            return _Landing(wanted, [bytearray(wanted.size_bytes)])
        shape, dtype = shape_and_type
        some = wanted.rows
        if some is not None:
            shape = (some.count, *shape[1:])
        target = self._own_target(wanted, shape, dtype)
        tensor = torch.empty(shape, dtype=dtype) if target is None else target
        before_bytes = (wanted.payload_offset if some is None else some.offset) - wanted.offset
        pieces = [
            bytearray(before_bytes),
            memory.octets(tensor),
            bytearray(wanted.size_bytes - before_bytes - tensor.nbytes),
        ]
        return _Landing(wanted, pieces, tensor, target is not None)

    def _own_target(self, wanted: Wanted, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor | None:
        """Return the model's tensor if what is read can land in it, and no other reader can write there."""
        if len(wanted.reads) != 1 or id(wanted) in self._sharing:
            return None
        read = wanted.reads[0]
        # Rows are those that the one read wants.
        if tuple(read.lengths) != shape or (wanted.rows is None and any(read.storage_offsets)):
            return None
        target: torch.Tensor = self._planner.resolve_tensor(read).detach()
        fits = (
            type(target) is torch.Tensor
            and target.device.type == "cpu"
            and target.dtype == dtype
            and tuple(target.shape) == shape
            and target.is_contiguous()
        )
        return target if fits else None

    def _read(self, name: str, landings: list[_Landing]) -> None:
        """Read a batch of one data object; runs on a thread of the pool. Its failure ends all reads."""
        try:
            self._read_whole(name, landings)
        except BaseException as failure:
            self.give_up(failure)
            raise

    def _read_whole(self, name: str, landings: list[_Landing]) -> None:
        at = f"{self._path}/{name}"
        broken = landings
        with self._progress.stage("read"):
            for _ in range(_TRIES):
                with self._opened(at, self._sizes.get(name)) as reader:
                    broken = _read_once(reader, broken)
                    self._stay_with_version(name, reader)
                if not broken:
                    break
        if broken:
            read = broken[0].wanted.reads[0]
            raise IntegrityError(
                f"load {as_uri(at)}: the bytes of {read.storage_index.fqn!r} do not have the CRC-64 with which they "
                f"were written, read {_TRIES} times; load an older checkpoint",
                operation="load",
                uri=as_uri(at),
            )
        for landing in landings:
            self._progress.moved(landing.wanted.size_bytes)

    def _stay_with_version(self, name: str, reader: ObjectReader) -> None:
        """Make sure that every batch of a data object is of one version: other tools write to the same names again.

        Raises:
            ObjectChangedError: it was replaced since another batch of it was read.
        """
        _, etag = reader.pinned()
        if etag is not None and self._versions.setdefault(name, etag) != etag:
            raise ObjectChangedError(
                f"load {reader.uri}: this part of the checkpoint was replaced while it was loaded; load it again",
                operation="load",
                uri=reader.uri,
            )

    def _take(self, reading: Future[None], landings: list[_Landing]) -> int:
        """Give a batch to the planner; return the memory that it held."""
        reading.result()
        with self._progress.stage("place"):
            for landing in landings:
                self._place(landing)
        self._progress.part_done()
        return sum(landing.scratch_bytes for landing in landings)

    def _place(self, landing: _Landing) -> None:
        wanted = landing.wanted
        if landing.is_in_place:
            assert landing.tensor is not None
            self._planner.commit_tensor(wanted.reads[0], landing.tensor)
            return
        for read in wanted.reads:
            if read.type == LoadItemType.BYTE_IO:
                self._place_object(read, wanted, landing.pieces[0])
            else:
                tensor = landing.tensor
                stored = self._unwrapped(read, landing) if tensor is None else tensor
                self._place_tensor(read, stored, landing.first_row)

    def _place_object(self, read: ReadItem, wanted: Wanted, data: bytearray) -> None:
        plain = self._plain(read, wanted.info, data).read(-1)
        if self._check_object is not None:
            self._check_object(read, plain)
        self._planner.load_bytes(read, io.BytesIO(plain))

    def _place_tensor(self, read: ReadItem, stored: torch.Tensor, first_row: int) -> None:
        offsets = list(read.storage_offsets)
        if first_row:
            offsets[0] -= first_row
        try:
            part = narrow_tensor_by_index(stored, offsets, read.lengths)
        except (IndexError, RuntimeError) as wrong:
            raise self._misfit(read, stored.shape, f"asked for {list(read.lengths)}") from wrong
        target = self._planner.resolve_tensor(read).detach()
        if target.size() != part.size():
            raise self._misfit(read, part.shape, f"the model's has {list(target.shape)}")
        target.copy_(part)
        self._planner.commit_tensor(read, target)

    def _unwrapped(self, read: ReadItem, landing: _Landing) -> torch.Tensor:
        stream = self._plain(read, landing.wanted.info, landing.pieces[0])
        if not stream.seekable():
            stream = io.BytesIO(stream.read(-1))
        older_torch.refuse_older_format(stream, self._uri_of(landing.wanted))
        loaded = torch.load(stream, map_location="cpu", weights_only=True)
        if not isinstance(loaded, torch.Tensor):
            raise FormatError(
                f"load {self._uri_of(landing.wanted)}: {read.storage_index.fqn!r} is stored as "
                f"{type(loaded).__name__}, a tensor is wanted; load it as an object",
                operation="load",
                uri=self._uri_of(landing.wanted),
            )
        return loaded

    def _plain(self, read: ReadItem, info: _StorageInfo, data: bytearray) -> Any:
        return self._transform(read, older_torch.descriptors(info), io.BytesIO(data))

    def _uri_of(self, wanted: Wanted) -> str:
        return as_uri(f"{self._path}/{wanted.info.relative_path}")

    def _misfit(self, read: ReadItem, shape: Sequence[int], wish: str) -> FormatError:
        return FormatError(
            f"load {as_uri(self._path)}: {read.storage_index.fqn!r} is stored with the shape {list(shape)}, {wish}; "
            "load it into a model of the same shape",
            operation="load",
            uri=as_uri(self._path),
        )


def _read_once(reader: ObjectReader, landings: list[_Landing]) -> list[_Landing]:
    """Read all ranges of landings; return those whose CRC-64 is not the item's, all if the object's own is wrong."""
    ranges = [landing.ranges for landing in landings]
    try:
        crc64s = iter(reader.readinto_ranges(itertools.chain.from_iterable(ranges)))
    except IntegrityError:
        return landings
    return [
        landing
        for landing, some in zip(landings, ranges, strict=True)
        if not landing.is_whole(list(itertools.islice(crc64s, len(some))))
    ]


def _cut(pieces: Iterable[Any], edges: Sequence[int]) -> list[Any]:
    """Cut neighbouring pieces of memory at these offsets, which rise."""
    found = []
    start = 0
    for piece in pieces:
        ends = [edge - start for edge in edges if start < edge < start + len(piece)]
        if ends:
            view = memoryview(piece)
            found += [view[at:end] for at, end in itertools.pairwise([0, *ends, len(piece)])]
        else:
            found.append(piece)
        start += len(piece)
    return found


def _batches(wanted: Iterable[Wanted]) -> Iterator[list[Wanted]]:
    """Gather items into batches, each of one data object, in the order of their offsets."""
    by_shard = sorted(wanted, key=lambda one: (one.info.relative_path, one.info.offset))
    for _, items in itertools.groupby(by_shard, key=lambda one: one.info.relative_path):
        batch: list[Wanted] = []
        size_bytes = 0
        for one in items:
            if batch and size_bytes + one.size_bytes > _BATCH_BYTES:
                yield batch
                batch, size_bytes = [], 0
            batch.append(one)
            size_bytes += one.size_bytes
        yield batch
