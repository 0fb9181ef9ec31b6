"""What every class is made with (endpoint, identity, configuration) as a picklable value, and OSS as a store.

The native client is made from the value on first use in a process. It notices a fork by itself.
"""

from __future__ import annotations

import atexit
import functools
import logging
import os
from typing import TYPE_CHECKING, Any

from osstorchconnector import (
    _native,
    config,
    counters,
    credentials,
    dumping,
    logs,
    measures,
    ranks,
    stats_log,
    upload_options,
    vendor,
)
from osstorchconnector.errors import ConfigError
from osstorchconnector.growing import GrowingIndex
from osstorchconnector.listing_progress import ListingProgress
from osstorchconnector.local import LocalStore
from osstorchconnector.order import native_positions
from osstorchconnector.sharding import Rest
from osstorchconnector.sources import PrefixSource
from osstorchconnector.store import AbandonedUpload, Bucket
from osstorchconnector.streams import ObjectReader
from osstorchconnector.uri import as_uri, shown_endpoint, split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from _typeshed import ReadableBuffer

    from osstorchconnector.index import IndexFile
    from osstorchconnector.store import Entry, Positions, Reading, Row, RowIndex, Rows, RowSource, Store

_log = logging.getLogger(__name__)

# The option that the processes of a job share.
_RATE = "max_requests_per_second"


class Connection:
    """Endpoint, region, addressing, credentials source and config of one user object.

    Args:
        endpoint: None is resolved from the environment on first use; "" is local-directory mode.
        region: "" and None are inferred.
        addressing: `auto`, `virtual`, `path` or `cname`; None leaves it to the config file.

    Attributes:
        world_size: how many ranks the job has, if the user said it; else that is found out.

    Raises:
        ConfigError: the config file is wrong.
        CredentialsError: the provider is none.
    """

    def __init__(
        self,
        endpoint: str | None,
        cred_path: str | os.PathLike[str] | None,
        config_path: str | os.PathLike[str] | None,
        cred_provider: Any,
        region: str | None,
        addressing: str | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.region = region or None
        self.config = config.load(config_path, logs.set_up)
        vendor.warn_once()
        self.addressing = addressing or self.config.addressing or "auto"
        self.credentials = credentials.choose(cred_path, cred_provider)
        self.world_size: int | None = None
        self._carried_size = 1
        self._workers = 1
        # By the part of the request rate that they keep to: a forked worker finds its parent's here, and has less.
        self._made: dict[int, _native.Client] = {}

    @property
    def is_local(self) -> bool:
        """Whether this is local-directory mode."""
        return self.endpoint == ""

    def refuse_local(self, what: str) -> Connection:
        """Demand an endpoint.

        Raises:
            ConfigError: it is "".
        """
        if self.is_local:
            raise ConfigError(
                f'{what} needs an endpoint; endpoint="" is local-directory mode, which it does not have'
            )
        return self

    def store(self, workers: int | None = None) -> Store:
        """Return where the objects are.

        Args:
            workers: how many processes of this rank read alongside, and share its request rate and what it begins
                with, from now on; None is as it was said before.
        """
        self._set_up_logs()
        self._workers = workers or self._workers
        if self.is_local:
            _log_local_once()
            return LocalStore()
        native = self.native()
        native.read_alongside(self._workers)
        return OssStore(native)

    def oss_store(self) -> OssStore:
        """Return where the objects are, for those who have no local-directory mode."""
        assert not self.is_local, "an endpoint, or the environment's"
        self._set_up_logs()
        return OssStore(self.native())

    def _set_up_logs(self) -> None:
        """Do so again, and cheaply: a DataLoader worker has log files, and a thread for its counters, of its own."""
        logs.set_up(self.config)
        if self.config.stats_log_seconds is not None:
            stats_log.keep(self.config.stats_log_seconds, raw_stats)

    def native(self) -> _native.Client:
        """Return this process's native client, made on first use.

        Raises:
            ConfigError: endpoint, region or an option is wrong.
        """
        parts = 1 if self.config.options.get(_RATE) is None else self._job_size() * self._workers
        made = self._made.get(parts)
        if made is None:
            # Several threads may come first at once. They go on with one client, whose keys, connections and budgets
            # they share; the others were never used. A lock could be held while a thread forks.
            made = self._made.setdefault(parts, self._made_native(parts))
        return made

    def _made_native(self, parts: int) -> _native.Client:
        _answer_when_asked()
        options = {**self.config.options, **logs.told_requests(self.config)}
        rate = options.get(_RATE)
        if rate is not None:
            options[_RATE] = float(rate) / parts
        try:
            made = _native.Client(
                self.endpoint, self.region, self.addressing, self.credentials.native(), options
            )
        except ConfigError as wrong:
            raise ConfigError(self.config.in_the_files_words(str(wrong))) from None
        for note in made.notes:
            _warn_once(self.config.in_the_files_words(note))
        return made

    def _job_size(self) -> int:
        return self.world_size or max(self._carried_size, ranks.job_size(os.environ))

    def __getstate__(self) -> dict[str, Any]:
        """Carry values only: no client; and how large the job is, as a spawned child knows no process group."""
        return {**self.__dict__, "_made": {}, "_workers": 1, "_carried_size": self._job_size()}


class OnOss:
    """Made with endpoint, identity and configuration, and without a local-directory mode. It can be pickled.

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

    def __init__(
        self,
        endpoint: str | None = None,
        cred_path: str | os.PathLike[str] | None = "",
        config_path: str | os.PathLike[str] | None = "",
        cred_provider: Any = None,
        region: str | None = "",
        *,
        addressing: str | None = None,
    ) -> None:
        connection = Connection(endpoint, cred_path, config_path, cred_provider, region, addressing)
        self._connection = connection.refuse_local(type(self).__name__)

    def store(self) -> OssStore:
        """Return the objects on OSS, as this process reaches them."""
        return self._connection.oss_store()

    def stats(self) -> dict[str, int | float]:
        """Return the counters of this object's client; names and units are in docs/stats.md."""
        return measures.shown(self.store().stats())

    def __repr__(self) -> str:
        """Name the endpoint."""
        return f"{type(self).__name__}(endpoint={shown_endpoint(self._connection.endpoint)!r})"


class OssStore:
    """Objects on OSS; see `osstorchconnector.store.Store`."""

    def __init__(self, native: _native.Client) -> None:
        self.native = native

    @property
    def endpoint(self) -> str:
        """The endpoint that requests go to."""
        return self.native.endpoint

    def open_index(self, source: RowSource, file: IndexFile) -> RowIndex:
        """List or copy the rows into the index file, unless it is there, and map it."""
        if isinstance(source, PrefixSource):
            return self.list_index(source, file)
        if file.is_built:
            return _native.Index.open(file.path)
        rows: Iterable[Row] = source.rows(self)
        return _native.Index.build(file.path, rows)

    def unpack_index(self, data: bytes, file: IndexFile) -> None:
        """Write a packed index into the index file, unless it is there."""
        map_packed(data, file)

    def list_index(self, source: PrefixSource, file: IndexFile) -> _native.Index:
        """List into the index file, unless it is there, over many ranges of keys at a time; map it."""
        progress, is_there = ListingProgress(source.name), file.is_built
        self._list(source, file.path, progress)
        index = _native.Index.open(file.path)
        if not is_there:
            progress.count(len(index))
        progress.ended(len(index))
        return index

    def growing_index(self, source: RowSource, file: IndexFile, rows_of_round: int) -> GrowingIndex | None:
        """Begin to list a prefix; None if that is done before there is something to read."""
        if not isinstance(source, PrefixSource) or file.is_built:
            return None
        path, (bucket, _) = file.path, split(source.path)
        progress = ListingProgress(source.name)

        def listing(go_on: Callable[[], None]) -> None:
            def tell(keys: int, pages: int) -> None:
                go_on()
                progress(keys, pages)

            self._list(source, path, tell)
            progress.count(len(_native.Index.open(path)))

        def open_tail() -> _native.Tail | None:
            return _native.Tail.open(path, bucket, rows_of_round)

        growing = GrowingIndex(source.name, listing, open_tail, self.prefetch)
        return growing if growing.has_begun() else None

    def _list(self, source: PrefixSource, path: str, tell: Callable[[int, int], None]) -> None:
        with logs.emitting():
            self.native.build_index(source.name, path, source.include_empty, tell)

    def prefetch(self, index: Rows, positions: Positions, reading: Reading) -> _native.Prefetch:
        """Fetch whole objects ahead, under the byte budget."""
        assert isinstance(index, _native.Index | _native.Piece), "rows of this store"
        return self.native.prefetch(
            index,
            native_positions(positions) if isinstance(positions, Rest) else positions,
            order=reading.order,
            missing="skip" if reading.skip_missing else "raise",
            changed="raise" if reading.pin_versions else "reread",
            failures="yield",
            ordered=reading.ordered,
        )

    def fetch(self, row: Row) -> bytes:
        """Fetch one whole object, verified."""
        path, size, etag, _ = row
        return self.native.get_object(path, size, etag)

    def rows(self, prefix: str) -> Iterator[Row]:
        """List what is below a prefix."""
        bucket, _ = split(prefix)
        with logs.emitting():
            for key, size, etag in self.native.list_objects(as_uri(prefix)):
                yield f"/{bucket}/{key}", size, etag, ""

    def head(self, path: str) -> int:
        """Return the size of an object."""
        with logs.emitting():
            return self.native.head_object(as_uri(path)).size

    def head_object(self, path: str) -> _native.ObjectInfo:
        """Ask for size, version, times and metadata of an object."""
        with logs.emitting():
            return self.native.head_object(as_uri(path))

    def is_directory(self, path: str) -> bool:
        """Say whether there are keys below `path` and a slash."""
        return next(self.rows(f"{path.rstrip('/')}/"), None) is not None

    def open_reader(
        self, path: str, size: int | None = None, etag: str | None = None, label: str = ""
    ) -> ObjectReader:
        """Open a stream; the first request goes out with its first use."""
        # The length is left to the native reader: it knows which version it reads in the end.
        return ObjectReader(self.open_source(path, size, etag), path, label=label)

    def open_source(self, path: str, size: int | None = None, etag: str | None = None) -> _native.Reader:
        """Open the bytes of one version of an object; the first request goes out with their first use."""
        return self.native.open_reader(as_uri(path), size, etag)

    def open_sink(self, path: str, **options: Any) -> _native.Writer:
        """Open the way into one object."""
        return self.native.open_writer(as_uri(path), **upload_options.checked(options))

    def put(self, path: str, data: ReadableBuffer, *, if_absent: bool = False, **options: Any) -> str | None:
        """Write one whole object, visible complete or not at all, and return its ETag."""
        with logs.emitting():
            return self.native.put_object(
                as_uri(path), data, if_absent=if_absent, **upload_options.checked(options)
            )

    def copy(self, source: str, target: str, size: int | None = None) -> None:
        """Copy an object within OSS, by OSS itself; a known size saves asking."""
        with logs.emitting():
            self.native.copy_object(as_uri(source), as_uri(target), size)

    def presigned(self, path: str, expires_seconds: int) -> str:
        """Make a URL with which anybody can get the object for a while; nothing is sent."""
        return self.native.presign_get(as_uri(path), expires_seconds)

    def remove(self, path: str) -> None:
        """Delete an object; a missing one is no error."""
        with logs.emitting():
            self.native.delete_object(as_uri(path))

    def remove_all(self, paths: Sequence[str]) -> None:
        """Delete objects, a thousand a request; a missing one is no error."""
        with logs.emitting():
            self.native.delete_objects([as_uri(path) for path in paths])

    def entries(self, prefix: str, delimiter: str | None = "/", page_size: int = 1000) -> Iterator[Entry]:
        """List the objects below `/bucket/prefix`, and the groups of keys up to the delimiter, in byte order."""
        bucket, _ = split(prefix)
        with logs.emitting():
            for key, size, etag, changed in self.native.list_entries(
                as_uri(prefix), delimiter, page_size=page_size
            ):
                yield f"/{bucket}/{key}", size, etag, changed

    def buckets(self) -> list[Bucket]:
        """List the buckets of the account, of every region."""
        with logs.emitting():
            return [Bucket(*row) for row in self.native.list_buckets()]

    def abandoned_uploads(self, prefix: str, older_than_seconds: float = 0.0) -> list[AbandonedUpload]:
        """Find uploads that were begun so long ago and never ended."""
        with logs.emitting():
            rows = self.native.abandoned_uploads(as_uri(prefix), older_than_seconds)
        found = [AbandonedUpload(*row) for row in rows]
        counters.note("orphan_uploads", len(found))
        counters.note("orphan_upload_bytes", sum(upload.size_bytes for upload in found))
        return found

    def remove_abandoned(self, upload: AbandonedUpload) -> None:
        """Abort such an upload; one that is gone is no error."""
        self.remove_upload(upload.uri, upload.upload_id)

    def remove_upload(self, uri: str, upload_id: str) -> None:
        """Abort an upload to `oss://bucket/key`; one that is gone is no error."""
        with logs.emitting():
            self.native.remove_abandoned(uri, upload_id)

    def server_now(self) -> float:
        """Return the time by the clock of OSS, in seconds since 1970, as exact as OSS demands of a signature."""
        return self.native.server_now()

    def stats(self) -> dict[str, int | float]:
        """Return the raw counters of the native client in this process."""
        return self.native.stats()


logs.take_from(_native.drain_logs)
_native.show_logs_by(logs.emit_waiting)
atexit.register(logs.emit_waiting)


def map_packed(data: bytes, file: IndexFile) -> _native.Index:
    """Write a packed index to its file and map it.

    Raises:
        FormatError: it is no whole packed index of this version.
    """
    return _native.Index.unpack(data, file.path)


def process_stats() -> measures.Stats:
    """Return the raw counters of this process: those of all native clients, and Python's."""
    gone, *living = _native.process_stats()
    return measures.total([measures.lasting(gone), *living, counters.of_process()])


def raw_stats() -> measures.Stats:
    """Return the raw counters of this process, of its datasets and of their workers."""
    return counters.everything(process_stats())


def set_role(role: str) -> None:
    """Say what this process is, for those who ask what it is doing."""
    _native.set_role(role)


def start_trace(requests: int) -> bool:
    """Keep the newest requests of this process from now on; False if that is done already."""
    return _native.start_trace(requests)


def stop_trace() -> str:
    """Keep none any more; return those that were kept, as JSON in the trace event format."""
    return _native.stop_trace()


@functools.cache
def _answer_when_asked() -> None:
    """Let this process and its children tell what they are doing; the native side makes the socket on first use."""
    prefix = dumping.own_prefix()
    if prefix is not None:
        _native.answer_at(prefix)


@functools.cache
def _warn_once(text: str) -> None:
    _log.warning(text)


@functools.cache
def _log_local_once() -> None:
    _log.info('endpoint is "": local-directory mode, URIs are paths of this machine')
