"""The class of every stream: a binary `io` stream that also speaks the dialect of the original.

A `DataObject` itself is detached: it names an object and has no bytes. Its children read or write.
"""

from __future__ import annotations

import errno
import io
import operator
import os
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, SupportsIndex, TypeVar

from osstorchconnector import logs
from osstorchconnector.uri import as_uri, location_text, split

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import ReadableBuffer, WriteableBuffer
    from typing_extensions import Self

    class _BinaryStream(io.BufferedIOBase, BinaryIO):
        """What type checkers see, as of the standard library's own streams: code that takes files takes it."""

else:
    _BinaryStream = io.BufferedIOBase

_T = TypeVar("_T")


class DataObject(_BinaryStream):
    """An object's name, size and label; in its children also its bytes.

    `key`, `size` and `label` may be assigned; that never changes what is read or written.

    Attributes:
        key: `/bucket/key`; an absolute path in local-directory mode; the given text if detached.
        label: the manifest's label, "" where there is none.
    """

    __slots__ = ("_failure", "_path", "_size", "key", "label")

    key: str
    label: str

    def __init__(self, path: str, size: int | None = None, label: str = "") -> None:
        self.key = self._path = path
        self.label = label
        self._size = size
        self._failure: tuple[int, str] | None = None

    @property
    def uri(self) -> str:
        """`oss://bucket/key`, whatever was assigned to `key`."""
        return as_uri(self._path)

    @property
    def size(self) -> int:
        """Bytes of the object; 0 when detached and not given."""
        return self._size or 0

    @size.setter
    def size(self, value: int) -> None:
        self._size = value

    def pinned(self) -> tuple[int | None, str | None]:
        """Return size and ETag of one version, if both are known; of a detached object neither is."""
        return None, None

    @property
    def name(self) -> str:
        """The URI, as files have a name."""
        return self.uri

    def copy(self) -> Self:
        """Return this object: every delivered object is its own and safe to keep."""
        return self

    def err(self) -> int:
        """Return the errno of the last call's failure, 0 after a success."""
        return self._failure[0] if self._failure else 0

    def error_msg(self) -> str:
        """Return the text of the last call's failure, "" after a success."""
        return self._failure[1] if self._failure else ""

    def read(self, size: int | None = -1, *, count: int | None = None) -> bytes:
        """Refuse: a detached object has no bytes."""
        self._refuse("read")

    def read1(self, size: int = -1) -> bytes:
        """Refuse as `read`."""
        self._refuse("read")

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Refuse as `read`."""
        self._refuse("read")

    def readinto1(self, buffer: WriteableBuffer) -> int:
        """Read as `readinto`."""
        return self.readinto(buffer)

    def readline(self, size: int | None = -1) -> bytes:
        """Refuse as `read`."""
        self._refuse("read")

    def write(self, data: ReadableBuffer) -> int:
        """Refuse: only writers are written to."""
        self._refuse("write")

    def seek(self, offset: SupportsIndex, whence: int = os.SEEK_SET) -> int:
        """Refuse: only readers seek."""
        self._refuse("seek")

    def tell(self) -> int:
        """Refuse: there is no position."""
        self._refuse("tell")

    def __repr__(self) -> str:
        """Name the class and the object."""
        return f"<{type(self).__name__} {self.uri}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pickle a detached object as its three fields; an open stream refuses."""
        if type(self) is DataObject:
            return new_data_object, (self.key, self.size, self.label)
        raise self._uncopyable()

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        """Pickle as `__reduce__` in every protocol."""
        return self.__reduce__()

    def __del__(self) -> None:
        """Do nothing: the finaliser of `io.IOBase` would call `close`, which costs time on every sample."""

    def _uncopyable(self) -> TypeError:
        return TypeError(
            f"{self!r} is an open stream and cannot be copied or pickled; pass its key and open it again, "
            "or return what you need of it from `transform`"
        )

    def _refuse(self, operation: str, instead: str = "") -> NoReturn:
        text = f"{operation} is not possible on {self!r}{instead and '; '}{instead}"
        self._failure = (errno.ENOSYS, text)
        raise io.UnsupportedOperation(text)

    def _do(self, call: Callable[..., _T], *arguments: Any) -> _T:
        """Call, and keep what `err` and `error_msg` tell about it."""
        try:
            result = call(*arguments)
        except Exception as failure:
            self.fail_with(failure)
            logs.emit_waiting()
            raise
        self._failure = None
        return result

    def fail_with(self, failure: BaseException) -> None:
        """Let `err` and `error_msg` tell this failure."""
        number = getattr(failure, "errno", None)
        self._failure = (number if isinstance(number, int) else errno.EIO, str(failure))


def new_data_object(key: str | os.PathLike[str], size: int = 0, label: str | None = "") -> DataObject:
    """Make a detached object: a name to hand to a listing or a dataset.

    Args:
        key: must start with `oss://` or `/`; kept as given.

        size: told by `size` and no more; what is read is as long as it is.

    Raises:
        ValueError: the key starts with neither.
        TypeError: an argument is of another type.
    """
    text = location_text(key, "key")
    split(text, "key")
    return DataObject(text, operator.index(size), checked_label(label))


def checked_label(label: object) -> str:
    """Return a label as text: None is "".

    Raises:
        TypeError: it is something else.
    """
    if label is None:
        return ""
    if not isinstance(label, str):
        raise TypeError(f"a label must be a str, not {type(label).__name__}")
    return label
