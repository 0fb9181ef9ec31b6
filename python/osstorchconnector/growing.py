"""An index that is still being listed: what was found is read while the rest is looked for.

A thread lists, or waits for another process of the node that does. Whoever it is writes row after row into a file, and
this process reads along, in pieces. What comes of that is what would come without it: rows are used only where they
are the beginning of the index that there is in the end, and a listing that fails ends the iteration with its error.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect
from typing import TYPE_CHECKING, Any, Protocol

from osstorchconnector.errors import ObjectChangedError
from osstorchconnector.order import native_positions
from osstorchconnector.sharding import Rest
from osstorchconnector.store import Deliveries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from osstorchconnector.order import Order
    from osstorchconnector.run import Run
    from osstorchconnector.store import Positions, Reading, Row, RowIndex, Rows

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


class ExtendableDeliveries(Deliveries, Protocol):
    """Objects on their way, behind which others may follow."""

    @property
    def has_asked_all(self) -> bool:
        """Whether all of them were asked for."""

    def extend(self, index: Any, positions: Any, *, order: Any = None) -> None:
        """Go on with rows of a piece or of an index, once all were asked for."""


class GrowingIndex:
    """One process's view of an index while it is listed.

    Args:
        name: what is listed.
        build: lists; calls what it is given now and then, and ends when that raises.
        open_tail: opens the rows that are being written; None while there are none.
        prefetch: fetches objects of them.
    """

    def __init__(
        self,
        name: str,
        build: Callable[[Callable[[], None]], None],
        open_tail: Callable[[], Tail | None],
        prefetch: Callable[[Rows, Positions, Reading], ExtendableDeliveries],
    ) -> None:
        self.prefetch = prefetch
        self._name = name
        self._build = build
        self._open_tail = open_tail
        self._tail: Tail | None = None
        self._first: Piece | None = None
        self._ended = threading.Event()
        self._is_given_up = False
        self._looked_at = 0.0
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

    def found(self) -> Piece | None:
        """Return rows that came meanwhile, if there are any; looks for them now and then, and never waits."""
        now = time.monotonic()
        if self._tail is None or self._ended.is_set() or now < self._looked_at + _FIRST_LOOK_SECONDS:
            return None
        self._looked_at = now
        return self._tail.next_piece()

    def is_complete(self) -> bool:
        """Say whether everything is listed, and well."""
        return self._ended.is_set() and self._failure is None

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


class Growth:
    """Lets an iteration go on with what is found meanwhile: the wire is not to run dry between two pieces.

    Args:
        growing: what is being listed.
        plan: of the iteration.
        settle: waits for all rows, tells the plan how many they are, and returns them.
    """

    def __init__(self, growing: GrowingIndex, plan: Run, settle: Callable[[], RowIndex]) -> None:
        self._growing, self._plan, self._settle = growing, plan, settle
        self._pieces: list[Piece] = []
        self._ends: list[int] = []
        self._index: RowIndex | None = None
        self._deliveries: ExtendableDeliveries | None = None

    @property
    def is_settled(self) -> bool:
        """Whether the iteration goes on to the end of the index by itself."""
        return self._index is not None

    def begin_with(self, piece: Piece) -> Rest:
        """Take the rows that come next, and return the positions that are to be read of them."""
        known = self._plan.share.count
        self._plan.grow(piece.end)
        self._pieces.append(piece)
        self._ends.append(piece.end)
        return Rest(self._plan.share, known)

    def prefetch(self, rows: Rows, positions: Positions, reading: Reading) -> Deliveries:
        """Fetch objects of the last piece, and remember whose deliveries they are."""
        self._deliveries = self._growing.prefetch(rows, positions, reading)
        return self._deliveries

    def lengthen(self) -> tuple[Rows, Order | None]:
        """Let deliveries that have asked for everything go on with what there is; return all rows, and their order."""
        deliveries = self._deliveries
        if self._index is None and deliveries is not None and deliveries.has_asked_all:
            piece = self._growing.found()
            if piece is not None:
                deliveries.extend(piece, native_positions(self.begin_with(piece)))
            elif self._growing.is_complete():
                known = self._plan.share.count
                self._index = self._settle()
                rest = native_positions(Rest(self._plan.share, known))
                deliveries.extend(self._index, rest, order=self._plan.order)
        return (self, None) if self._index is None else (self._index, self._plan.order)

    def row(self, position: int) -> Row:
        """Return the row at a position of the index."""
        return self._piece(position).row(position)

    def names(self, position: int) -> tuple[str, str]:
        """Return path and label of that row."""
        return self._piece(position).names(position)

    def _piece(self, position: int) -> Piece:
        return self._pieces[bisect(self._ends, position)]
