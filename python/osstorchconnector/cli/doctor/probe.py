"""One list, put, get and delete below the prefix, on an object of our own, which is gone afterwards."""

from __future__ import annotations

import itertools
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from osstorchconnector.cli.doctor.findings import Finding, skipped, wrong
from osstorchconnector.errors import IntegrityError, PermissionDeniedError
from osstorchconnector.uri import as_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from osstorchconnector.connection import OssStore
    from osstorchconnector.store import Entry

NAMES = ("list", "put", "get", "delete")

_PROBE_BYTES = 4096
_GETS = 12
_PAGE = 1000
_ACTIONS = {
    "list": "oss:ListObjects",
    "put": "oss:PutObject",
    "get": "oss:GetObject",
    "delete": "oss:DeleteObject",
}


@dataclass
class Probe:
    """The four requests.

    Attributes:
        prefix: `/bucket/prefix`.
        sample: entries of the first page of the listing.
        get_seconds: how long each small read took, on open connections.
        is_answered: whether any request was answered as it should be.
        clock: (before, what OSS wrote down, after) of the put, by this machine's clock and by OSS's.
    """

    store: OssStore
    prefix: str
    is_read_only: bool
    sample: list[Entry] = field(default_factory=list)
    get_seconds: list[float] = field(default_factory=list)
    clock: tuple[float, float, float] | None = None
    is_answered: bool = False
    _is_refused: bool = False
    _path: str = ""
    _data: bytes = b""

    def run(self) -> Iterator[Finding]:
        """Send them; what was put is deleted even if it cannot be read, or after Ctrl-C."""
        listing = self._tried("list", self._list)
        yield listing
        if not self.is_answered and not self._is_refused:
            yield from skipped(NAMES[1:], "the listing comes first")
            return
        if self.is_read_only:
            yield Finding("put", "skipped", "--read-only")
            yield self._get_one_of_theirs()
            yield Finding("delete", "skipped", "--read-only")
            return
        below = self.prefix if self.prefix.endswith("/") else f"{self.prefix}/"
        self._path = f"{below}.ossconnector-doctor-{secrets.token_hex(8)}/probe"
        self._data = secrets.token_bytes(_PROBE_BYTES)
        try:
            put = self._tried("put", self._put)
            yield put
            if put.status == "ok":
                yield self._tried("get", self._get)
            else:
                yield self._get_one_of_theirs()
        finally:
            # Also after a put that failed: it may have arrived.
            delete = self._tried("delete", self._delete)
        yield delete if put.status == "ok" else Finding("delete", "skipped", "nothing was put")

    def _tried(self, name: str, send: Callable[[], str]) -> Finding:
        began = time.monotonic()
        try:
            text = send()
        except OSError as failure:
            remedy = ""
            self._is_refused = isinstance(failure, PermissionDeniedError) and failure.code == "AccessDenied"
            if self._is_refused:
                remedy = f"the identity above needs {_ACTIONS[name]} on {as_uri(self.prefix)}*, by a policy of RAM or bucket"
            return wrong(name, failure, remedy)
        seconds = time.monotonic() - began
        self.is_answered = True
        return Finding(name, "ok", f"{text}, {seconds * 1000:.1f} ms", facts={"seconds": round(seconds, 4)})

    def _list(self) -> str:
        entries = self.store.entries(self.prefix, None, page_size=_PAGE)
        self.sample = list(itertools.islice(entries, _PAGE))
        more = " or more" if len(self.sample) == _PAGE else ""
        return f"{len(self.sample)}{more} object(s) below {as_uri(self.prefix)}"

    def _put(self) -> str:
        before = time.time()
        self.store.put(self._path, self._data)
        after = time.time()
        changed = self.store.head_object(self._path).last_modified
        self.clock = None if changed is None else (before, changed, after)
        return f"{_PROBE_BYTES} bytes to {as_uri(self._path)}"

    def _get(self) -> str:
        self._read(self._path, _PROBE_BYTES)
        return f"the same bytes {_GETS} times"

    def _get_one_of_theirs(self) -> Finding:
        found = next((entry for entry in self.sample if entry[1]), None)
        if found is None:
            return Finding("get", "skipped", "there is nothing to read")

        def get() -> str:
            self._read(found[0], None)
            return f"the first bytes of {as_uri(found[0])} {_GETS} times"

        return self._tried("get", get)

    def _read(self, path: str, size_bytes: int | None) -> None:
        for _ in range(_GETS):
            began = time.monotonic()
            if size_bytes is None:
                with self.store.open_reader(path) as reader:
                    reader.read(_PROBE_BYTES)
            elif self.store.fetch((path, size_bytes, None, "")) != self._data:
                raise IntegrityError(
                    f"get {as_uri(path)}: other bytes came than were put; something in between keeps old ones"
                )
            self.get_seconds.append(time.monotonic() - began)

    def _delete(self) -> str:
        self.store.remove(self._path)
        left = [entry[0] for entry in self.store.entries(self._path.rpartition("/")[0] + "/", None)]
        if left:
            raise IntegrityError(f"delete {as_uri(left[0])}: it is still listed; look whether it goes")
        return "it is gone"
