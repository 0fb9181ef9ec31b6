"""An index that is still being listed: what was found is read while the rest is looked for.

A thread lists, or waits for another process of the node that does. Whoever it is writes row after row into a file, and
this process reads along, in pieces. What comes of that is what would come without it: rows are used only where they
are the beginning of the index that there is in the end, and a listing that fails ends the iteration with its error.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

from osstorchconnector.errors import ObjectChangedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from osstorchconnector.store import Row, RowIndex

# How long it takes to look for new rows again: at first no longer than a page of a near endpoint takes, then twice as
# long each time, as whoever lists does not tell.
_FIRST_LOOK_SECONDS = 0.001
_LONGEST_LOOK_SECONDS = 0.016


class _GivenUpError(Exception):
    """Nobody waits for this listing any more."""


class Piece(Protocol):
    """Some rows of an index, in memory."""

    @property
    def end(self) -> int:
        """How many rows of the index are known with this piece."""

    def row(self, position: int) -> Row:
        """Return the row at a position of the index."""

    def names(self, position: int) -> tuple[str, str]:
        """Return path and label of that row."""


class Tail(Protocol):
    """What is being written of an index."""

    def next_piece(self) -> Piece | None:
        """Return the rows that came since the last piece; None if there are none."""

    def is_beginning_of(self, index: Any) -> bool:
        """Say whether the rows so far are the first ones of an index of the same kind."""


class GrowingIndex:
    """One process's view of an index while it is listed.

    Args:
        name: what is listed.
        build: lists; calls what it is given now and then, and ends when that raises.
        open_tail: opens the rows that are being written; None while there are none.
    """

    def __init__(
        self,
        name: str,
        build: Callable[[Callable[[], None]], None],
        open_tail: Callable[[], Tail | None],
    ) -> None:
        self._name = name
        self._build = build
        self._open_tail = open_tail
        self._tail: Tail | None = None
        self._first: Piece | None = None
        self._ended = threading.Event()
        self._is_given_up = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._list, name="oss-index")

    def has_begun(self) -> bool:
        """Begin to list, and wait for the first rows; False if the listing ended before there were any.

        False also where no thread can be made: then the caller lists first, on its own.

        Raises:
            OssError: the listing failed.
        """
        try:
            self._thread.start()
        except RuntimeError:
            return False
        except BaseException:
            self.close()
            raise
        try:
            self._first = self._next_piece()
            if self._first is None:
                self.finish()
        except BaseException:
            self.close()
            raise
        return self._first is not None

    def pieces(self) -> Iterator[Piece]:
        """Yield the rows as they come, until the listing has ended; its last rows need not be among them."""
        piece, self._first = self._first, None
        while piece is not None:
            yield piece
            piece = self._next_piece()

    def finish(self) -> None:
        """Wait for the end of the listing.

        Raises:
            OssError: it failed.
        """
        self._thread.join()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def demand_beginning_of(self, index: RowIndex) -> None:
        """Check that the rows of the pieces are those that the index begins with.

        Raises:
            ObjectChangedError: they are not: the process that listed was ended, and another one found other objects.
        """
        if self._tail is not None and not self._tail.is_beginning_of(index):
            raise ObjectChangedError(
                f"list {self._name}: a listing was broken off and begun anew, and meanwhile objects came or went; "
                "begin the epoch again",
                operation="list",
                uri=self._name,
            )

    def close(self) -> None:
        """Give the listing up, if it is this process's and still going on."""
        self._is_given_up = True
        if self._thread.ident is not None:
            self._thread.join()

    def _next_piece(self) -> Piece | None:
        """Wait for more rows; None when the listing has ended."""
        look_seconds = _FIRST_LOOK_SECONDS
        while not self._ended.is_set():
            if self._tail is None:
                self._tail = self._open_tail()
            piece = None if self._tail is None else self._tail.next_piece()
            if piece is not None:
                return piece
            self._ended.wait(look_seconds)
            look_seconds = min(2 * look_seconds, _LONGEST_LOOK_SECONDS)
        return None

    def _list(self) -> None:
        try:
            self._build(self._go_on)
        except BaseException as failure:  # noqa: BLE001  (it is raised where somebody waits for the rows)
            self._failure = failure
        finally:
            self._ended.set()

    def _go_on(self) -> None:
        # An interpreter that exits waits for this thread, and nobody would tell it to stop.
        if self._is_given_up or not threading.main_thread().is_alive():
            raise _GivenUpError
