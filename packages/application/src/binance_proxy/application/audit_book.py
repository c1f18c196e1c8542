"""Is the book that the stored updates make the one that the stored snapshots show?"""

import heapq
from itertools import count

from binance_proxy.application.certificate import Fault, Findings
from binance_proxy.domain.errors import BookStale
from binance_proxy.domain.order_book import OrderBook
from binance_proxy.domain.scale import to_text
from binance_proxy.domain.sequence import covered_ids
from binance_proxy.domain.tick import BookSnapshot, Levels, QuoteTick

CHECK = "book"
CROSSED = "crossed books"


class BookAudit:
    """Rebuilds the book from each snapshot, and compares it with the next one, level by level.

    A snapshot that the bridge took of its own book has to be equal in all levels. One of a venue ends at its
    last level on each side, and the book before it knew no level behind the end of its own venue's snapshot
    until it changed: so within both ends all levels have to be equal, and between them each level that the
    book has. Where the end of the book is not known, only what it has is compared.
    """

    def __init__(self, findings: Findings, book: OrderBook | None) -> None:
        """Begin with the book as it was before the range, if it is known."""
        self.equal = 0
        self._findings = findings
        self._book = book
        self._ends: tuple[int, int] | None = None
        self._pending: list[tuple[int, int, BookSnapshot]] = []
        self._number = count()
        self._reached = -1
        self._blind_since: int | None = None
        self._seen_ts = 0

    def snapshot(self, snapshot: BookSnapshot) -> None:
        """Take a snapshot, before the update that reaches it."""
        heapq.heappush(self._pending, (snapshot.last_update_id, next(self._number), snapshot))

    def update(self, quote: QuoteTick) -> None:
        """Apply an update, and look at the snapshots that it reaches."""
        self._apply(quote)
        while self._pending and self._pending[0][0] <= quote.last_update_id:
            snapshot = heapq.heappop(self._pending)[2]
            if snapshot.last_update_id < self._reached:
                self._findings.cannot(
                    CHECK, "snapshots that are stored long behind their updates", snapshot.ts_event
                )
                continue
            self._look_at(snapshot, quote)
        self._reached = max(self._reached, quote.last_update_id)
        if self._book is None and self._blind_since is None:
            self._blind_since = quote.ts_event
        elif self._book is not None and self._blind_since is not None:
            self._see_again(quote.ts_event)
        self._seen_ts = quote.ts_event

    def finish(self) -> None:
        """Tell what could not be looked at."""
        if self._blind_since is not None:
            self._see_again(self._seen_ts)
        for _ in self._pending:
            self._findings.cannot(CHECK, "snapshots that no update of the range reaches")

    def _see_again(self, ts: int) -> None:
        self._findings.cannot(CHECK, "no snapshot to rebuild it from", self._blind_since, ts, apart=True)
        self._blind_since = None

    def _apply(self, quote: QuoteTick) -> None:
        if self._book is None:
            return
        before = self._book.last_update_id
        try:
            self._book.apply(quote)
        except BookStale:
            crossed = self._book.last_update_id != before
            self._book = None
            if crossed:
                self._fault(CROSSED, "bids and asks cross", quote.last_update_id, quote.ts_event)
            elif covered_ids(quote)[0] <= before + 1:  # else it is a hole, which is told by its ids
                what = f"update {quote.last_update_id} does not name {before} as the one before it"
                self._fault(CHECK, what, quote.last_update_id, quote.ts_event)
            return
        self._findings.compared(CROSSED, 1, "updates")

    def _look_at(self, snapshot: BookSnapshot, quote: QuoteTick) -> None:
        """Compare, and go on from the snapshot."""
        reached = snapshot.last_update_id
        try:
            fresh = OrderBook(snapshot)
            fresh.apply(quote)
        except BookStale:
            if snapshot.bids and snapshot.asks and snapshot.bids[0][0] >= snapshot.asks[0][0]:
                self._fault(CROSSED, "bids and asks of a snapshot cross", reached, snapshot.ts_event)
            return
        own = (reached, snapshot.ts_event, snapshot.ts_recv) == (
            quote.last_update_id, quote.ts_event, quote.ts_recv,
        )  # fmt: skip
        ends = _end(snapshot.bids, 0), _end(snapshot.asks, 2**63)
        if self._book is not None:
            known = None if self._ends is None else self._ends[0]
            bids = _difference(self._book.bids(), fresh.bids(), 1, None if own else (ends[0], known))
            known = None if self._ends is None else -self._ends[1]
            asks = _difference(self._book.asks(), fresh.asks(), -1, None if own else (-ends[1], known))
            self._findings.compared(CHECK, 1, "snapshots")
            for side, found in (("bid", bids), ("ask", asks)):
                if found is not None:
                    self._differs(snapshot, side, found)
            self.equal += bids is None and asks is None
        self._book = fresh
        if not own:
            self._ends = ends

    def _differs(self, snapshot: BookSnapshot, side: str, found: tuple[int, int, int]) -> None:
        one = snapshot.instrument
        price, rebuilt, stored = found
        sizes = (
            f"rebuilt {to_text(rebuilt, one.size_precision)}, stored {to_text(stored, one.size_precision)}"
        )
        what = f"{side} {to_text(price, one.price_precision)} of a snapshot: {sizes}"
        self._fault(CHECK, what, snapshot.last_update_id, snapshot.ts_event)

    def _fault(self, check: str, what: str, update_id: int, ts: int) -> None:
        self._findings.fault(Fault(check=check, what=what, first_id=update_id, last_id=update_id, start=ts))


def _difference(
    rebuilt: Levels, stored: Levels, sign: int, ends: tuple[int, int | None] | None
) -> tuple[int, int, int] | None:
    """Return price, rebuilt size and stored size of the best level that differs; `None` if none does.

    Args:
        rebuilt: Levels of one side, best first.
        stored: The same of the snapshot.
        sign: 1 for bids, -1 for asks; times the price it falls from the best level on.
        ends: Of the snapshot, and of the book if it is known; `None` if both have everything.
    """
    if rebuilt == stored:
        return None
    ours, theirs = dict(rebuilt), dict(stored)
    for price in sorted(ours.keys() | theirs.keys(), key=lambda price: -sign * price):
        if ends is not None:
            if sign * price < ends[0]:
                return None
            if price not in ours and (ends[1] is None or sign * price < ends[1]):
                continue  # the book cannot know it
        if ours.get(price, 0) != theirs.get(price, 0):
            return price, ours.get(price, 0), theirs.get(price, 0)
    return None


def _end(levels: Levels, otherwise: int) -> int:
    return levels[-1][0] if levels else otherwise
