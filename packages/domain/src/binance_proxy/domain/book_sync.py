"""How a live book is got into step with a stream of updates, and back into step after a hole."""

from collections import deque

from binance_proxy.domain.errors import BookStale
from binance_proxy.domain.order_book import OrderBook
from binance_proxy.domain.tick import BookSnapshot, QuoteTick


class BookSync:
    """Feeds one book: holds updates back until a snapshot comes that they follow.

    What it passes on is what a reader may rely on: a snapshot, then every update that follows it. Of more
    than `HELD` updates that wait for a snapshot the oldest are dropped; a later snapshot contains them.

    Source: Binance Spot, "How to manage a local order book correctly".
    """

    HELD = 10_000

    def __init__(self) -> None:
        self.book: OrderBook | None = None
        """The book while it is in step, else `None`."""
        self._waiting: deque[QuoteTick] = deque(maxlen=self.HELD)

    def update(self, tick: QuoteTick) -> bool:
        """Take an update; return true if it was applied and may be passed on.

        Raises:
            BookStale: The update does not follow. The book is gone; ask for a snapshot.
        """
        if self.book is None:
            self._waiting.append(tick)
            return False
        try:
            return self.book.apply(tick)
        except BookStale:
            self.lose_step()
            self._waiting.append(tick)
            raise

    def snapshot(self, snapshot: BookSnapshot) -> tuple[QuoteTick, ...] | None:
        """Take a snapshot; return the updates that waited and follow it, now applied.

        `None` means that the snapshot is not needed: the book is in step and at least as new.

        Raises:
            BookStale: An update between the snapshot and those that wait is missing, or the snapshot
                contradicts itself. Ask for another one.
        """
        if self.book is not None and snapshot.last_update_id <= self.book.last_update_id:
            return None
        book = OrderBook(snapshot)
        in_order = sorted(self._waiting, key=lambda tick: tick.last_update_id)
        applied = tuple(tick for tick in in_order if book.apply(tick))
        self._waiting.clear()
        self.book = book
        return applied

    def lose_step(self) -> None:
        """Give the book up and wait for a snapshot, because something was or may have been missed."""
        self.book = None
        self._waiting.clear()
