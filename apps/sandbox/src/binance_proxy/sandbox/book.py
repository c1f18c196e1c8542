"""The book that the venue answers with, an older one for those who are to be misled, and checksums."""

from array import array
from bisect import bisect_left
from zlib import crc32

from binance_proxy.domain.book_sync import BookSync, Passed
from binance_proxy.domain.errors import BookStale
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.order_book import OrderBook
from binance_proxy.domain.scale import to_text
from binance_proxy.domain.tick import BookSnapshot, Levels, QuoteTick

OLDER_BY = 250
"""A stale snapshot is at least so many updates old, if there were so many."""
ASK_AGAIN = 1_000
CHECKSUMS_KEPT = 5_000_000
_MODULUS = 2**64


class VenueBook:
    """The book of one symbol, as right as its feed allows.

    The first snapshot makes it. A later one is needed only after a hole; until then there is no book.
    """

    def __init__(self, checksums: "Checksums | None" = None) -> None:
        self.checksums = checksums
        self._sync = BookSync(trusting=True)
        self._reserve: BookSnapshot | None = None
        self._applied = self._unapplied = 0
        self._older: list[BookSnapshot] = []

    @property
    def now(self) -> OrderBook | None:
        """The book, or `None` if there is none that is right."""
        return self._sync.book

    @property
    def older(self) -> BookSnapshot | None:
        """The book as it was a while ago."""
        return self._older[0] if self._older else None

    @property
    def needs_snapshot(self) -> bool:
        """True at the first update without a book, and at every thousandth behind it."""
        return self._unapplied % ASK_AGAIN == 1

    def update(self, tick: QuoteTick) -> bool:
        """Advance by an update; return whether the book changed. After a hole there is no book."""
        try:
            passed = self._sync.update(tick)
        except BookStale:
            return self._reserve is not None and self._take(self._reserve)
        finally:
            self._unapplied = 0 if self._sync.book else self._unapplied + 1
        if not passed:
            return False
        self._sum_up(passed)
        self._applied += 1
        if self._applied % OLDER_BY == 0:
            self._remember()
        return True

    def snapshot(self, snapshot: BookSnapshot) -> bool:
        """Take a snapshot if there is no book; return whether there is one because of it."""
        self._reserve = snapshot
        return self._sync.book is None and self._take(snapshot)

    def _take(self, snapshot: BookSnapshot) -> bool:
        try:
            passed = self._sync.snapshot(snapshot)
        except BookStale:
            return False
        self._sum_up(passed)
        self._remember()
        return bool(passed)

    def _sum_up(self, passed: Passed) -> None:
        if self.checksums is None:
            return
        for event in passed:
            if isinstance(event, BookSnapshot):
                self.checksums.begin(event)
            else:
                self.checksums.update(event)

    def _remember(self) -> None:
        book = self._sync.book
        if book is not None:
            self._older = [*self._older[-1:], book.snapshot()]


class Checksums:
    """A checksum of the whole book for every update id that the book had, for the newest 5 million.

    It is the sum, modulo 2**64, over all levels of the CRC-32 of ``b50000.5:0.25`` or ``a...``: side, price
    and size as shortest decimals. So it can be kept up level by level, by anyone, whatever the order.
    """

    def __init__(self, instrument: Instrument) -> None:
        self._precisions = instrument.price_precision, instrument.size_precision
        self._sizes: dict[str, dict[int, int]] = {}
        self._sum = 0
        self._ids = array("Q")
        self._sums = array("Q")

    def begin(self, snapshot: BookSnapshot) -> None:
        """Start over with a whole book."""
        self._sizes, self._sum = {"b": {}, "a": {}}, 0
        self._change("b", snapshot.bids)
        self._change("a", snapshot.asks)
        self._keep(snapshot.last_update_id)

    def update(self, tick: QuoteTick) -> None:
        """Follow an update that the book took."""
        self._change("b", tick.bids)
        self._change("a", tick.asks)
        self._keep(tick.last_update_id)

    def page(self, from_update_id: int, limit: int) -> dict[int, int]:
        """Return checksums by update id, so many from an id on."""
        first = bisect_left(self._ids, from_update_id)
        page = slice(first, first + limit)
        return dict(zip(self._ids[page], self._sums[page], strict=True))

    def _change(self, side: str, levels: Levels) -> None:
        sizes = self._sizes[side]
        for price, size in levels:
            before = sizes.pop(price, 0)
            if before:
                self._sum -= self._crc(side, price, before)
            if size:
                sizes[price] = size
                self._sum += self._crc(side, price, size)
        self._sum %= _MODULUS

    def _crc(self, side: str, price: int, size: int) -> int:
        price_precision, size_precision = self._precisions
        return crc32(f"{side}{to_text(price, price_precision)}:{to_text(size, size_precision)}".encode())

    def _keep(self, update_id: int) -> None:
        if self._ids and update_id <= self._ids[-1]:
            return
        self._ids.append(update_id)
        self._sums.append(self._sum)
        if len(self._ids) > CHECKSUMS_KEPT * 9 // 8:
            del self._ids[:-CHECKSUMS_KEPT], self._sums[:-CHECKSUMS_KEPT]
