"""The errors a user meets: one class for each thing the user can do about it.

Every class is an `OssError`, which is an `OSError` (this is I/O) and a `RuntimeError` (the original raised nothing
else), so both kinds of old handler keep catching. Subclasses add the built-in that a Python user would catch.

The text is one line that ends in a machine tail, `[status=404 code=NoSuchKey ... elapsed=0.1s]`. PyTorch squeezes a
worker's error into one string and calls the class with it; the fields are then read back from that tail.
"""

from __future__ import annotations

import errno as _errno
import re
from http import HTTPStatus
from typing import Any, ClassVar

_TAIL = re.compile(r"\[((?:[a-z_]+=\S*)(?: [a-z_]+=\S*)*)\]\s*$", re.MULTILINE)
_PAIR = re.compile(r"([a-z_]+)=(\S*)")
_HEAD = re.compile(
    r"^(?:[\w.]+Error: )?(?P<operation>[A-Za-z_]\w*) (?P<uri>oss://.*?)(?:\[\d+\.\.\d+\))?: ", re.MULTILINE
)


class OssError(OSError, RuntimeError):
    """Something between this process and OSS failed; the text says what, where and what to do.

    Args:
        text: the whole line, machine tail included. Fields that are not given are read back from it.
        operation: the OSS operation or call, such as `GetObject`.
        uri: `oss://bucket/key`.
        status: HTTP status of the last answer, None when there was none.
        code: OSS error code, such as `NoSuchKey`.
        ec: OSS's own number for the cause, such as `0026-00000001`.
        request_id: what the OSS support desk asks for.
        attempts: requests that were sent.
        elapsed_seconds: from the first attempt to the error.
        retryable: True when the same call may work later.
        errno: overrides the number of the class.
    """

    default_errno: ClassVar[int] = _errno.EIO
    default_retryable: ClassVar[bool] = False

    operation: str
    uri: str
    status: int | None
    code: str
    ec: str
    request_id: str
    attempts: int
    elapsed_seconds: float
    retryable: bool

    def __init__(
        self,
        text: str = "",
        *,
        operation: str | None = None,
        uri: str | None = None,
        status: int | None = None,
        code: str | None = None,
        ec: str | None = None,
        request_id: str | None = None,
        attempts: int | None = None,
        elapsed_seconds: float | None = None,
        retryable: bool | None = None,
        errno: int | None = None,
    ) -> None:
        # OSError would read two positional arguments as (errno, text): it gets the text alone.
        super().__init__(text)
        said = _fields_said(text)
        self.operation = _first(operation, said.get("operation"), "")
        self.uri = _first(uri, said.get("uri"), "")
        self.status = _first(status, _number(said.get("status")), None)
        self.code = _first(code, said.get("code"), "")
        self.ec = _first(ec, said.get("ec"), "")
        self.request_id = _first(request_id, said.get("request_id"), "")
        self.attempts = _first(attempts, _number(said.get("attempts")), 0)
        self.elapsed_seconds = _first(elapsed_seconds, _seconds(said.get("elapsed")), 0.0)
        self.retryable = _first(retryable, None, self.default_retryable or _is_trouble_there(self.status))
        self.errno = _first(errno, _number(said.get("errno")), self.default_errno)

    def advise(self, remedy: str) -> None:
        """Write a further remedy into the line, before its machine tail."""
        text = str(self)
        tail = _TAIL.search(text)
        at = tail.start() if tail else len(text)
        self.args = (f"{text[:at].rstrip()}; {remedy} {text[at:]}".rstrip(),)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the text and every field; `BaseException.__setstate__` puts the fields back."""
        return type(self), (str(self),), {**self.__dict__, "errno": self.errno}


class ConfigError(OssError, ValueError):
    """An argument, URI, endpoint or config value is wrong: fix it. Nothing was sent."""

    default_errno = _errno.EINVAL


class CredentialsError(OssError, PermissionError):
    """The credentials source gave nothing usable: fix the file, environment or provider that is named."""

    default_errno = _errno.EPERM


class PermissionDeniedError(OssError, PermissionError):
    """OSS refused the identity or the signature: ask for rights, check region and endpoint."""

    default_errno = _errno.EPERM


class NotFoundError(OssError, FileNotFoundError):
    """The bucket, object or upload is not there."""

    default_errno = _errno.ENOENT


class AlreadyExistsError(OssError, FileExistsError):
    """`if_absent` was asked for and the object exists."""

    default_errno = _errno.EEXIST


class EmptyDatasetError(OssError, FileNotFoundError):
    """Nothing is below the prefix: check it, or pass `allow_empty=True`."""

    default_errno = _errno.ENOENT


class ObjectChangedError(OssError):
    """The object was replaced while it was read: list again."""

    default_errno = _errno.ESTALE


class ObjectArchivedError(OssError, PermissionError):
    """The object is in an archive class: restore it first."""

    default_errno = _errno.EPERM


class ThrottledError(OssError):
    """OSS asked to slow down until the deadline: send fewer requests, pack small objects."""

    default_retryable = True


class RequestTimeoutError(OssError, TimeoutError):
    """No answer, or none fast enough, until the deadline."""

    default_errno = _errno.ETIMEDOUT
    default_retryable = True


class ConnectionFailedError(OssError, ConnectionError):
    """Network, name, proxy or TLS: no connection until the deadline. errno 104 reset, 111 refused, 113 no such name."""

    default_errno = _errno.ECONNRESET
    default_retryable = True


class IntegrityError(OssError):
    """CRC-64 or size differs from what OSS keeps: stop and look."""


class ProtocolError(OssError):
    """An answer that OSS would not give: something in between lies."""


class ListingError(ProtocolError):
    """A listing repeats itself or has a gap."""


class FormatError(OssError, ValueError):
    """A manifest, index or other file is malformed."""

    default_errno = _errno.EINVAL


class NotAllowedError(FormatError):
    """A checkpoint's metadata asks for a class that nobody allowed; whether it is whole could not be looked at."""


class UploadError(OssError):
    """An object was not, or not certainly, written.

    Args:
        state: `not_committed` (the old object stays), `committed` (visible, but look) or `unknown`.
        upload_id: the multipart upload that may be left, None when there is none.
    """

    state: str
    upload_id: str | None

    def __init__(
        self, text: str = "", *, state: str | None = None, upload_id: str | None = None, **fields: Any
    ) -> None:
        super().__init__(text, **fields)
        said = _fields_said(text)
        self.state = _first(state, said.get("state"), "not_committed")
        self.upload_id = _first(upload_id, said.get("upload_id"), None)


class ClosedError(OssError, ValueError):
    """The stream was closed: open it again."""

    default_errno = _errno.EBADF


class ForkedHandleError(OssError):
    """The writer was opened in another process: open it in this one."""

    default_errno = _errno.EBADF


class InternalError(OssError):
    """A bug of this package: please report it."""


class ServiceError(OssError):
    """Anything else that OSS answered."""


def _is_trouble_there(status: int | None) -> bool:
    """Say whether the service itself failed, and not the request."""
    never = (HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    return status is not None and status >= HTTPStatus.INTERNAL_SERVER_ERROR and status not in never


def _fields_said(text: str) -> dict[str, str]:
    """Read the machine tail, and the operation and URI of its line, out of a text of one or many lines."""
    tails = list(_TAIL.finditer(text))
    if not tails:
        return {}
    tail = tails[-1]
    fields = {name: value for name, value in _PAIR.findall(tail.group(1)) if value not in ("", "-")}
    line_start = text.rfind("\n", 0, tail.start()) + 1
    head = _HEAD.match(text[line_start : tail.start()])
    if head:
        fields.setdefault("operation", head["operation"])
        fields.setdefault("uri", head["uri"])
    return fields


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.lstrip("-").isdecimal() else None


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else float(text.removesuffix("s"))
    except ValueError:
        return None


def _first(given: Any, said: Any, default: Any) -> Any:
    return given if given is not None else said if said is not None else default
