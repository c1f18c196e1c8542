"""How a live book is got into step with a stream of updates, and back into step after a hole."""

from collections import deque
from typing import TypeAlias

from binance_proxy.domain.errors import BookStale
from binance_proxy.domain.order_book import OrderBook
from binance_proxy.domain.tick import BookSnapshot, QuoteTick

Passed: TypeAlias = tuple[BookSnapshot | QuoteTick, ...]
"""What a reader may rely on, in order: a snapshot, then each update that follows it."""


class BookSync:
    """Feeds one book, and passes on what may be relied on.

    Updates wait until there is a snapshot that they follow. A snapshot from elsewhere, of another stream or
    ahead of this one, would make a book that no update ever touches and that looks right for ever. So a
    snapshot is only a candidate until the stream confirms it: by an update that follows it, or by having
    ended exactly there. While the book is in step a newer snapshot is kept in reserve, and is tried when an
    update does not follow.

    Of more than `HELD` updates that wait the oldest are dropped; a later snapshot contains them.

    Source: Binance Spot, "How to manage a local order book correctly".
    """

    HELD = 10_000
    AHEAD = 1_000
    """A candidate that so many updates in a row have not reached belongs to another stream."""

    def __init__(self, *, trusting: bool = False) -> None:
        """Begin without a book.

        With ``trusting`` every newer snapshot is taken at once: for a stream whose snapshots come in order
        with its updates, as those of a bridge do.
        """
        self.book: OrderBook | None = None
        """The book while it is in step, else `None`."""
        self._trusting = trusting
        self._waiting: deque[QuoteTick] = deque(maxlen=self.HELD)
        self._candidate: BookSnapshot | None = None
        self._not_reached = 0
        self._last_seen_id: int | None = None

    @property
    def reached(self) -> int | None:
        """The update id of the book, or of the snapshot that may become one."""
        if self.book is not None:
            return self.book.last_update_id
        return None if self._candidate is None else self._candidate.last_update_id

    def update(self, tick: QuoteTick) -> Passed:
        """Take an update; return what may be passed on now that it has come.

        Raises:
            BookStale: The update does not follow, and neither does it follow a snapshot in reserve. There is
                no book; ask for a snapshot.
        """
        if self._last_seen_id is None or tick.last_update_id > self._last_seen_id:
            self._last_seen_id = tick.last_update_id
        if self.book is None:
            self._waiting.append(tick)
            return self._confirm(tick) if self._candidate is not None else ()
        try:
            applied = self.book.apply(tick)
        except BookStale:
            self.book = None
            self._waiting.append(tick)
            if self._candidate is None or tick.last_update_id <= self._candidate.last_update_id:
                raise
            return self._confirm(tick)
        if self._candidate is not None and self.book.last_update_id >= self._candidate.last_update_id:
            self._candidate = None
        return (tick,) if applied else ()

    def snapshot(self, snapshot: BookSnapshot) -> Passed:
        """Take a snapshot; return what may be passed on now that it has come.

        Raises:
            BookStale: An update between the snapshot and those that wait is missing, or the snapshot
                contradicts itself. There is no book; ask for another snapshot.
        """
        if self.book is not None and snapshot.last_update_id <= self.book.last_update_id:
            return ()
        self._candidate, self._not_reached = snapshot, 0
        if self.book is None:
            return self._begin(snapshot)
        if not self._trusting:
            return ()
        self.book = None
        return self._begin(snapshot)

    def lose_step(self) -> None:
        """Give the book up and wait for a snapshot, because something was or may have been missed."""
        self.book = self._candidate = None
        self._waiting.clear()

    def _confirm(self, tick: QuoteTick) -> Passed:
        """See whether an update follows the candidate."""
        candidate = self._candidate
        if candidate is None:
            return ()
        if tick.last_update_id > candidate.last_update_id:
            return self._begin(candidate)
        self._not_reached += 1
        if self._not_reached > self.AHEAD:
            self._candidate = None
            raise BookStale(
                f"{candidate.instrument.name}: no update reaches the snapshot {candidate.last_update_id}"
            )
        return ()

    def _begin(self, snapshot: BookSnapshot) -> Passed:
        """Make the book of a candidate, if what waits confirms it."""
        in_order = sorted(self._waiting, key=lambda tick: tick.last_update_id)
        try:
            book = OrderBook(snapshot)
            followed = tuple(tick for tick in in_order if book.apply(tick))
        except BookStale:
            self._candidate = None
            raise
        if not (followed or self._trusting or snapshot.last_update_id == self._last_seen_id):
            return ()
        self.book, self._candidate = book, None
        self._waiting.clear()
        return (snapshot, *followed)
