"""The whole native surface: the Rust core as Python sees it.

Only the middle floor of the package (client, streams, index, emulator) imports this module. Every call that
waits releases the GIL and feels Ctrl-C within 200 ms. Every error is a class of `osstorchconnector.errors`.
URIs are `oss://bucket/key` or `/bucket/key`. Times are seconds since the epoch, sizes are bytes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, TypeAlias, final

from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = [
    "Client",
    "Index",
    "ObjectInfo",
    "Order",
    "Piece",
    "Prefetch",
    "Reader",
    "Share",
    "Tail",
    "Writer",
    "__version__",
    "answer_at",
    "crc64",
    "crc64_combine",
    "drain_logs",
    "emulator_main",
    "option_names",
    "process_stats",
    "raise_left_standing",
    "set_role",
    "show_logs_by",
    "start_trace",
    "state",
    "stop_trace",
]

__version__: str

_Fetched: TypeAlias = tuple[str, str, str | None, float | None]
_Credentials: TypeAlias = (
    tuple[Literal["chain", "environment", "anonymous"]]
    | tuple[Literal["file"], str]
    | tuple[Literal["static"], str, str, str | None]
    | tuple[Literal["provider"], Callable[[], _Fetched], str]
)
_Option: TypeAlias = int | float | str | bool

@final
class ObjectInfo:
    """What HEAD says of an object; a field the answer did not carry is None."""

    @property
    def uri(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def etag(self) -> str | None: ...
    @property
    def crc64(self) -> int | None: ...
    @property
    def last_modified(self) -> float | None: ...
    @property
    def content_type(self) -> str | None: ...
    @property
    def storage_class(self) -> str | None: ...
    @property
    def metadata(self) -> dict[str, str]: ...

@final
class Client:
    """One endpoint, one identity, one configuration.

    Holds values only: sockets, threads and credentials come with the first request, and are made anew in a
    forked child. `endpoint=None` and `region=None` are resolved from the environment or the host name.

    `credentials` is ("chain",), ("environment",), ("anonymous",), ("file", path), ("process", command),
    ("static", id, secret, token or None) or ("provider", callable, name): the callable returns
    (id, secret, token or None, expiry as epoch seconds or None) and is called without any lock held.

    `options` are the flat names of the Rust `ClientConfig` (see `option_names`).

    Raises:
        ConfigError: an endpoint, region or option is wrong; nothing is sent.
    """

    def __new__(
        cls,
        endpoint: str | None,
        region: str | None,
        addressing: str,
        credentials: _Credentials,
        options: Mapping[str, _Option],
    ) -> Client: ...
    @property
    def endpoint(self) -> str: ...
    @property
    def region(self) -> str: ...
    @property
    def notes(self) -> list[str]:
        """Lines about options that were changed to fit their bounds, and about clear-text endpoints."""
    @property
    def proxy(self) -> str | None:
        """`host:port` of the proxy that requests go through, None if they go straight."""
    def identity(self) -> tuple[str, str | None, str | None, float | None]:
        """Return (source of the credentials, why it is that one, id of the key, when it expires); no secret.

        Asks the source if nothing did yet. The id is None for anonymous requests.

        Raises:
            CredentialsError: as the first request would.
        """
    def head_object(self, uri: str) -> ObjectInfo: ...
    def get_object(self, uri: str, size: int | None = None, etag: str | None = None) -> bytes:
        """Read one whole object, verified, split into parallel ranges when it is large."""
    def list_objects(self, uri: str, delimiter: str | None = None) -> Iterator[tuple[str, int, str]]:
        """Yield (key, size, etag) in byte order of keys, a page at a time; keys without the bucket."""
    def list_entries(
        self, uri: str, delimiter: str | None = ..., *, page_size: int = 1000
    ) -> Iterator[tuple[str, int | None, str, float]]:
        """Yield (key, size, etag, last modified) of objects and common prefixes, together in byte order.

        A common prefix, which ends with the delimiter, has no size, no ETag and the time 0. With
        `delimiter=None` there are objects alone. Pages come as they are needed, with the guards of
        `list_objects`.

        Args:
            delimiter: "/" if not given.
            page_size: entries a page, 1 to 1000; small when only the first ones matter.
        """
    def list_buckets(self) -> list[tuple[str, str, float | None, str, str, str]]:
        """List the buckets of the account, of every region.

        Returns rows of (name, region, created at, storage class, public endpoint, endpoint inside the region).
        """
    def put_object(
        self,
        uri: str,
        data: ReadableBuffer,
        *,
        if_absent: bool = False,
        content_type: str | None = None,
        storage_class: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        """Write one whole object, visible complete or not at all, checked by CRC-64; return its ETag if told.

        Up to 16 MiB go with one PutObject. A lost answer is settled by looking.

        Raises:
            AlreadyExistsError: with `if_absent`, another object has the key.
        """
    def delete_object(self, uri: str) -> None: ...
    def delete_objects(self, uris: Sequence[str]) -> None:
        """Delete objects, a thousand a request; one that is not there is success.

        A key that the service refuses does not keep the others.

        Raises:
            PermissionDeniedError: a key was refused; the first one is named.
        """
    def copy_object(self, source: str, target: str, size: int | None = None) -> None:
        """Copy an object within the region, by the service itself; above 1 GB in parts of one version.

        Args:
            size: the source's, where it is known; it saves asking.
        """
    def presign_get(self, uri: str, expires_seconds: int) -> str:
        """Make a URL with which anybody can get the object for a while; nothing is sent.

        The URL is a credential. It ends with the keys that sign it, if those end first.

        Raises:
            ConfigError: not 1 to 604,800 seconds, or the credentials are anonymous.
        """
    def open_reader(self, uri: str, size: int | None = None, etag: str | None = None) -> Reader:
        """Make a reader; the first request goes out with its first use."""
    def open_writer(
        self,
        uri: str,
        *,
        size_hint_bytes: int | None = None,
        if_absent: bool = False,
        content_type: str | None = None,
        storage_class: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Writer:
        """Make a writer; the object becomes visible by its `publish` alone."""
    def read_alongside(self, processes: int) -> None:
        """Say how many processes read side by side with this one, before it reads: they share what one begins with."""
    def server_now(self) -> float:
        """Return the time by the service's clock, in seconds since 1970.

        It is this machine's until OSS refuses a signature for being more than 15 minutes off.
        """
    def abandoned_uploads(
        self, uri: str, older_than_seconds: float = 0.0
    ) -> list[tuple[str, str, float, int, int, int, Literal["ours", "empty", "other"]]]:
        """Find uploads to keys that begin with `uri`'s, begun at least so long ago and never ended.

        Returns rows of (uri, upload id, begun at, age in seconds, parts, bytes, whose they seem to be by the
        sizes of their parts).
        An upload that is being written looks the same: give an age that no save reaches.
        """
    def remove_abandoned(self, uri: str, upload_id: str) -> None:
        """Drop an upload and its parts; one that is gone is success. No object changes."""
    def build_index(
        self,
        uri: str,
        path: str,
        include_empty: bool,
        progress: Callable[[int, int], None] | None = None,
    ) -> int:
        """List everything below `uri` into the index file `path`, unless it is there already.

        `progress` is called at least every 50 ms with the keys and the pages so far.

        One process builds, the others wait for it. Returns the number of zero-byte objects left out.
        """
    def prefetch(
        self,
        index: Index | Piece,
        positions: Share | Sequence[int] | range,
        *,
        order: Order | None = None,
        missing: Literal["raise", "skip"] = "raise",
        changed: Literal["raise", "reread"] = "reread",
        failures: Literal["raise", "yield"] = "raise",
        ordered: bool = True,
    ) -> Prefetch:
        """Fetch whole objects ahead, those at `positions` of `order`, under the byte budget.

        Args:
            order: None is the order of the index.
            changed: what happens with an object that was replaced after it was listed.
            failures: with "yield", an error is the item of its position, and the iteration goes on.
            ordered: False delivers objects as they arrive.
        """
    def stats(self) -> dict[str, int | float]:
        """Counters and state of this client in this process; raw, see osstorchconnector.measures."""

@final
class Index:
    """A read-only, memory-mapped index file: which objects, in which order."""

    @staticmethod
    def open(path: str) -> Index: ...
    @staticmethod
    def build(path: str, rows: Iterable[tuple[str, int | None, str | None, str]]) -> Index:
        """Write rows of (uri, size or None, etag or None, label) to `path` unless it is there; open it.

        The rows are taken only if they are to be written, a thousand at a time.
        """
    @staticmethod
    def unpack(data: bytes, path: str) -> Index:
        """Write what `pack` returned to `path` unless it is there; open it. The fingerprint is checked.

        Raises FormatError if the bytes are no whole packed index of this version.
        """
    def pack(self) -> bytes:
        """Return the index in a form to send or store: front-coded and compressed, about 20 bytes an object."""
    def __len__(self) -> int: ...
    def row(self, position: int) -> tuple[str, int | None, str | None, str]:
        """Return ("/bucket/key", size or None, etag or None, label)."""
    def names(self, position: int) -> tuple[str, str]:
        """Return ("/bucket/key", label)."""
    @property
    def fingerprint(self) -> str: ...
    @property
    def left_out_empty(self) -> int: ...

@final
class Tail:
    """The rows that a listing has written so far, whichever process lists.

    They are no more than a beginning until there is an index: a listing may fail, and the next one may differ.
    """

    @staticmethod
    def open(path: str, bucket: str, rows_of_round: int) -> Tail | None:
        """Read along with whoever writes the index file `path`, a listing of `bucket`; None if nobody does.

        Args:
            rows_of_round: rows that only go together, as many as there are ranks to share them: pieces end where one ends.
        """
    def next_piece(self) -> Piece | None:
        """Return the rows that came since the last piece, 4 MiB of them at most; None if there are none."""
    def is_beginning_of(self, index: Index) -> bool:
        """Say whether the rows read so far are the first ones of `index`."""

@final
class Piece:
    """Some rows of an index that is still being listed, in memory."""

    @property
    def end(self) -> int:
        """How many rows of the index are known with this piece: the position behind its last row."""
    def row(self, position: int) -> tuple[str, int | None, str | None, str]:
        """Return ("/bucket/key", size or None, etag or None, label) of a position of the index."""
    def names(self, position: int) -> tuple[str, str]:
        """Return ("/bucket/key", label) of a position of the index."""

@final
class Order:
    """The order of one epoch over an index: a pure function of rows, fingerprint, seed and epoch.

    Without a fingerprint it is the order of the index.
    """

    def __new__(cls, rows: int, fingerprint: str | None = None, seed: int = 0, epoch: int = 0) -> Order: ...
    def row_at(self, position: int) -> int:
        """Return the row at a position; positions beyond the last begin again at the first."""

@final
class Share:
    """The positions that one worker of one rank reads, as numbers and not as a list.

    Positions from `first` on in steps of `step` are the rank's; its workers are dealt runs of `run` of them. Of this
    worker's, those at places `start` to `stop` are meant, but those in `without`.
    """

    def __new__(
        cls,
        first: int,
        step: int,
        run: int,
        worker: int,
        workers: int,
        start: int,
        stop: int,
        without: Sequence[int] | None = None,
    ) -> Share: ...

@final
class Prefetch:
    """Objects in the order of the positions asked for or as they arrive, each whole and verified.

    Yields (position, data). With `missing="skip"` a missing object yields (position, None), with `failures="yield"`
    a failed one (position, error).
    """

    def __iter__(self) -> Prefetch: ...
    def __next__(self) -> tuple[int, bytes | Exception | None]: ...
    @property
    def wait_seconds(self) -> float:
        """Seconds the consumer waited for data so far."""
    @property
    def in_flight(self) -> int: ...
    @property
    def has_asked_all(self) -> bool:
        """Whether all objects were asked for."""
    def extend(
        self, index: Index | Piece, positions: Share | range | Sequence[int], *, order: Order | None = None
    ) -> None:
        """Go on with objects of `index` behind those that there are, all of which were asked for."""
    def close(self) -> None:
        """Cancel what is in flight and give its memory back; within 200 ms."""

@final
class Reader:
    """Random access and read-ahead over one pinned version of one object."""

    @property
    def uri(self) -> str: ...
    @property
    def size(self) -> int:
        """The object's size; asks OSS when it is not known yet."""
    @property
    def etag(self) -> str | None: ...
    @property
    def closed(self) -> bool: ...
    def read(self, size: int = -1) -> bytes: ...
    def readinto(self, buffer: WriteableBuffer) -> int: ...
    def readinto_ranges(self, ranges: Iterable[tuple[int, WriteableBuffer]]) -> list[int]:
        """Fill each buffer with the bytes from its offset on, in parallel; return the CRC-64 of each.

        The position stays. Neighbours and near neighbours travel in one request, large ranges in several. Ranges may
        overlap, buffers may not. A range that does not lie in the object is a `ConfigError` before anything is read.
        """
    def readline(self, size: int = -1) -> bytes: ...
    def seek(self, offset: int, whence: int = 0) -> int: ...
    def tell(self) -> int: ...
    def close(self) -> None:
        """Give everything back; a read that another thread waits for ends with `ClosedError`."""

@final
class Writer:
    """Bytes on their way into one object; visible only by `publish`."""

    @property
    def uri(self) -> str: ...
    @property
    def bytes_accepted(self) -> int: ...
    @property
    def crc64(self) -> int:
        """CRC-64/XZ of the bytes accepted so far."""
    @property
    def parts(self) -> list[tuple[int, int]]:
        """Size and CRC-64/XZ of each part, in order, once it is published; [] for an object of one part."""
    @property
    def timings(self) -> tuple[float, float, float]:
        """Seconds since the first byte: the program made bytes, waited for them to be sent, and for the object."""
    @property
    def state(
        self,
    ) -> Literal["open", "multipart", "sealed", "publishing", "published", "aborted", "unknown"]: ...
    @property
    def forked(self) -> bool:
        """True in a child process that inherited this writer: every use of it is an error there."""
    @property
    def reused_bytes(self) -> int:
        """Bytes that were not sent, as OSS had them of an earlier try; 0 before it is published."""
    def begin(self) -> str | None:
        """Begin the multipart upload now and return its id; None if by its size hint the object is one part."""
    def go_on_with(self, upload_id: str) -> bool:
        """Go on with an upload that was begun before, with the same options: parts that OSS has are not sent again.

        False, and nothing has changed, if it is gone, or if its parts are not cut as those of this object.
        """
    def keep_parts(self) -> None:
        """Leave what OSS has there when it is given up, for a later `go_on_with`: its id was noted."""
    def write(self, data: ReadableBuffer) -> int:
        """Accept all of `data`; blocks without the GIL while the window is full."""
    def seal(self) -> None:
        """Accept no more bytes; nothing becomes visible."""
    def publish(self) -> None:
        """Make the object visible, whole and verified, or raise; the only call that does."""
    def abort(self) -> None:
        """Give up: cancel, drain and abort the upload; the previous object stays.

        A call of another thread that waits ends with `ClosedError`.
        """
    def abandon(self) -> None:
        """As `abort`, best effort and without raising; for finalisers."""

def crc64(data: ReadableBuffer, value: int = 0) -> int:
    """Compute the CRC-64 (XZ) that OSS keeps of an object, going on from `value`; without the GIL if large."""

def crc64_combine(first: int, second: int, second_bytes: int) -> int:
    """Compute the CRC-64 of two neighbouring pieces from that of each and the size of the second."""

def option_names() -> list[str]:
    """Name every option that `Client` takes."""

def process_stats() -> list[dict[str, int | float]]:
    """Counters of the clients of this process: of those that are gone together, then of each that lives."""

def answer_at(prefix: str) -> None:
    """Say where this process and its children can be asked; the first call counts."""

def set_role(role: str) -> None:
    """Say what this process is, such as `DataLoader worker 3`."""

def state() -> str:
    """Tell what every client of this process is doing now, as JSON."""

def start_trace(requests: int) -> bool:
    """Keep the newest requests of this process from now on; False if that is done already."""

def stop_trace() -> str:
    """Keep none any more; return those that were kept, as JSON in the trace event format."""

def raise_left_standing() -> None:
    """Raise the exception that a caller in C has left standing when it called back into Python."""

def drain_logs() -> list[tuple[int, str, str]]:
    """Take the waiting log records: (level as in `logging`, module, text)."""

def show_logs_by(show: Callable[[], object]) -> None:
    """Say what shows the waiting records: called by whoever waits, or writes, when one above DEBUG is there."""

def emulator_main(arguments: list[str]) -> int:
    """Run the emulator until SIGTERM; returns the exit status."""
