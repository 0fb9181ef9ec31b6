"""What the rooms above need from a place where objects are, whichever it is: OSS, or a local directory.

Only types: the stores themselves are `connection.OssStore` and `local.LocalStore`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from _typeshed import ReadableBuffer

    from osstorchconnector.growing import GrowingIndex
    from osstorchconnector.index import IndexFile
    from osstorchconnector.order import Order
    from osstorchconnector.sharding import Rest
    from osstorchconnector.streams import ObjectReader

    Positions = range | list[int] | Rest

# ("/bucket/key", size or None, etag or None, label)
Row = tuple[str, int | None, str | None, str]

# ("/bucket/key", size, etag, seconds since the epoch); a group of keys has no size and ends with the delimiter
Entry = tuple[str, int | None, str, float]


class AbandonedUpload(NamedTuple):
    """An upload that was begun and neither finished nor aborted; its parts cost storage, and nobody sees them.

    Attributes:
        uri: the object it was for, `oss://bucket/key`.
        upload_id: what OSS calls it.
        initiated: when it was begun, in seconds since the epoch.
        age_seconds: since then, by the clock of OSS.
        part_count: parts that OSS keeps.
        size_bytes: their bytes.
        shape: whose it seems to be by the sizes of its parts: `ours`; `other`, another tool's, or ours with other
            options; `empty`, without a part to judge by.
    """

    uri: str
    upload_id: str
    initiated: float
    age_seconds: int
    part_count: int
    size_bytes: int
    shape: Literal["ours", "empty", "other"]


class Bucket(NamedTuple):
    """A bucket of the account; a text is "" where OSS does not say.

    Attributes:
        region: where it is, such as `cn-hangzhou`.
        created: in seconds since the epoch.
        storage_class: what new objects get.
        extranet_endpoint: host of its region.
        intranet_endpoint: the same inside Alibaba Cloud.
    """

    name: str
    region: str
    created: float | None
    storage_class: str
    extranet_endpoint: str
    intranet_endpoint: str


class ObjectInfo(Protocol):
    """What a store says of an object without reading it; None where it does not say."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def etag(self) -> str | None:
        """Its version."""

    @property
    def crc64(self) -> int | None:
        """CRC-64/XZ of its bytes."""

    @property
    def last_modified(self) -> float | None:
        """Seconds since the epoch, by the clock of the store."""

    @property
    def metadata(self) -> dict[str, str]:
        """User metadata."""


class Rows(Protocol):
    """Rows by their position in an index: all of them, or some."""

    def row(self, position: int) -> Row:
        """Return one row."""

    def names(self, position: int) -> tuple[str, str]:
        """Return path and label of one row, all that a delivered object needs of it."""


class RowIndex(Rows, Protocol):
    """Rows by position: a mapped index file, or rows in memory."""

    def __len__(self) -> int:
        """Count the rows."""

    @property
    def fingerprint(self) -> str:
        """A hash of all rows in their order, as 16 hexadecimal digits."""

    def pack(self) -> bytes:
        """Return the index in a form to send or store."""


@dataclass(frozen=True)
class Reading:
    """How objects are fetched ahead.

    Attributes:
        order: what the positions are of; None is the order of the index.
        ordered: deliver in the order of the positions, not as objects arrive.
        skip_missing: deliver None for a missing object.
        pin_versions: an object that was replaced after it was listed is an error, and not read anew.
    """

    order: Order | None = None
    ordered: bool = True
    skip_missing: bool = False
    pin_versions: bool = False


class Deliveries(Protocol):
    """Whole objects on their way; a failed one comes as its error, a missing one that is to be skipped as None."""

    def __iter__(self) -> Iterator[tuple[int, bytes | Exception | None]]:
        """Return itself."""

    def __next__(self) -> tuple[int, bytes | Exception | None]:
        """Return the next position and its bytes, or why there are none."""

    @property
    def wait_seconds(self) -> float:
        """Seconds that the consumer has waited."""

    def close(self) -> None:
        """Cancel what is in flight."""


class Store(Protocol):
    """Where objects are: OSS, or a local directory."""

    def open_index(self, source: RowSource, file: IndexFile) -> RowIndex:
        """Open the index of `source`, building it if nobody has."""

    def growing_index(self, source: RowSource, file: IndexFile, rows_of_round: int) -> GrowingIndex | None:
        """Begin to list, and return when the first rows are there; None if there is nothing to wait for.

        Args:
            rows_of_round: what is known is told in such numbers of rows, one for each rank that shares them.
        """

    def unpack_index(self, data: bytes, file: IndexFile) -> None:
        """Write what `RowIndex.pack` returned into the index file, unless it is there."""

    def prefetch(self, index: Rows, positions: Positions, reading: Reading) -> Deliveries:
        """Fetch whole objects ahead."""

    def fetch(self, row: Row) -> bytes:
        """Fetch one whole object."""

    def rows(self, prefix: str) -> Iterator[Row]:
        """List what is below `/bucket/prefix`, sorted by the bytes of its keys."""

    def head(self, path: str) -> int:
        """Return the size of `/bucket/key`."""

    def is_directory(self, path: str) -> bool:
        """Say whether there are keys below `/bucket/key/`."""

    def open_reader(
        self, path: str, size: int | None = None, etag: str | None = None, label: str = ""
    ) -> ObjectReader:
        """Open a stream; the first request may wait for its first use."""

    def open_sink(self, path: str, **options: Any) -> ByteSink:
        """Open the way into one object."""

    def put(self, path: str, data: ReadableBuffer, *, if_absent: bool = False, **options: Any) -> str | None:
        """Write one whole object, visible complete or not at all; return its version tag if there is one."""

    def copy(self, source: str, target: str, size: int | None = None) -> None:
        """Copy an object within the store; a known size saves asking."""

    def remove(self, path: str) -> None:
        """Remove an object; a missing one is no error."""

    def abandoned_uploads(self, prefix: str, older_than_seconds: float = 0.0) -> list[AbandonedUpload]:
        """Find uploads to keys below `/bucket/prefix` that were begun so long ago and never ended."""

    def remove_abandoned(self, upload: AbandonedUpload) -> None:
        """Remove what such an upload left; no object changes."""

    def stats(self) -> dict[str, int | float]:
        """Return the counters of this process."""


class RowSource(Protocol):
    """A recipe for the rows of an index; a picklable value."""

    @property
    def name(self) -> str:
        """What it reads, for messages."""

    def rows(self, store: Store) -> Iterable[Row]:
        """Yield the rows in delivery order."""


class ByteSource(Protocol):
    """Random access to one object's bytes: the native reader, a file, or bytes in memory.

    The native reader has `readinto_ranges` as well, which fills many buffers at once.
    """

    def read(self, size: int, /) -> bytes:
        """Return `size` bytes, fewer at the end, all that is left for -1."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill `buffer`; return the bytes filled, fewer than asked at the end only."""

    def readline(self, size: int, /) -> bytes:
        """Return up to and with the next newline, at most `size` bytes unless -1."""

    def seek(self, offset: int, /) -> int:
        """Move to `offset` from the start, which may be past the end."""

    def tell(self) -> int:
        """Return the position."""

    def close(self) -> None:
        """Give everything back."""


class ByteSink(Protocol):
    """Bytes on their way into one object: the native writer or a temporary file."""

    @property
    def bytes_accepted(self) -> int:
        """Bytes taken so far."""

    @property
    def crc64(self) -> int:
        """CRC-64 of the bytes taken so far."""

    @property
    def parts(self) -> list[tuple[int, int]]:
        """Size and CRC-64 of each part of a published object; [] of one that was not cut."""

    @property
    def timings(self) -> tuple[float, float, float]:
        """Seconds of the stages so far: serialise, upload, settle."""

    @property
    def forked(self) -> bool:
        """Whether this is a child's copy of its parent's writer."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Accept all of `data`."""

    def seal(self) -> None:
        """Accept no more."""

    def publish(self) -> None:
        """Make the object visible."""

    def abort(self) -> None:
        """Give up; the previous object stays."""

    def abandon(self) -> None:
        """Abort, best effort, without raising."""
