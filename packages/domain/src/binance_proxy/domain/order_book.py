"""The live order book of one instrument, and what can be asked of it."""

from bisect import bisect_left, insort
from fractions import Fraction
from itertools import islice
from math import ceil, floor

from binance_proxy.domain.errors import BookStale, NotEnoughLiquidity
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.sequence import Step, book_sequence
from binance_proxy.domain.tick import BookSnapshot, Level, Levels, QuoteTick

BPS = 10_000


class OrderBook:
    """Resting sizes by price, right at one update id.

    A book begins with a snapshot and follows the updates of its market. It is right or it is stale: once an
    update is missing it raises `BookStale` at every further use, and a fresh book must be made from the next
    snapshot. Levels that were beyond a venue's snapshot are unknown until they change.
    """

    def __init__(self, snapshot: BookSnapshot) -> None:
        """Make a book that equals the snapshot.

        Raises:
            BookStale: The snapshot contradicts itself: its best bid is not below its best ask.
        """
        self.instrument: Instrument = snapshot.instrument
        self.ts_event = snapshot.ts_event
        self.ts_recv = snapshot.ts_recv
        self._sequence = book_sequence(snapshot.instrument.market, snapshot.last_update_id)
        self._stale: str | None = None
        self._bid_sizes = {price: size for price, size in snapshot.bids if size}
        self._ask_sizes = {price: size for price, size in snapshot.asks if size}
        # Each side is sorted with its best price last, so that the busy end of the list is the cheap one.
        self._bids = sorted(self._bid_sizes)
        self._asks = sorted(-price for price in self._ask_sizes)
        self._refuse_crossed()

    @property
    def last_update_id(self) -> int:
        """The book contains every change up to and including this id."""
        return self._sequence.last_update_id

    @property
    def is_stale(self) -> bool:
        """True once an update was missed, or bids and asks crossed."""
        return self._stale is not None

    def apply(self, tick: QuoteTick) -> bool:
        """Advance the book by one update; return false if the book contained it already.

        Raises:
            BookStale: An update is missing before this one, or the update crosses bids and asks. The book
                is of no use any more: make a new one from the next snapshot.

        Source: Binance Spot, "How to manage a local order book correctly", steps 6 and 7.
        """
        if self._stale:
            raise BookStale(self._stale)
        step = self._sequence.feed(tick)
        if step is Step.OLD:
            return False
        if step is Step.GAP:
            self._stale = (
                f"{self.instrument.name}: update {tick.first_update_id} does not follow {self.last_update_id}"
            )
            raise BookStale(self._stale)
        sizes, prices = self._bid_sizes, self._bids
        for price, size in tick.bids:
            if size:
                if price not in sizes:
                    insort(prices, price)
                sizes[price] = size
            elif sizes.pop(price, 0):
                del prices[bisect_left(prices, price)]
        sizes, prices = self._ask_sizes, self._asks
        for price, size in tick.asks:
            if size:
                if price not in sizes:
                    insort(prices, -price)
                sizes[price] = size
            elif sizes.pop(price, 0):
                del prices[bisect_left(prices, -price)]
        self.ts_event = tick.ts_event
        self.ts_recv = tick.ts_recv
        self._refuse_crossed()
        return True

    def _refuse_crossed(self) -> None:
        if self._bids and self._asks and self._bids[-1] >= -self._asks[-1]:
            self._stale = f"{self.instrument.name}: bids and asks cross at update {self.last_update_id}"
            raise BookStale(self._stale)

    def best_bid(self) -> Level:
        """Return the highest bid and its size.

        Raises:
            BookStale: An update was missed.
            NotEnoughLiquidity: There are no bids.
        """
        return self._best(self.bids(1), "bids")

    def best_ask(self) -> Level:
        """Return the lowest ask and its size.

        Raises:
            BookStale: An update was missed.
            NotEnoughLiquidity: There are no asks.
        """
        return self._best(self.asks(1), "asks")

    def _best(self, levels: Levels, side: str) -> Level:
        if not levels:
            raise NotEnoughLiquidity(f"{self.instrument.name} has no {side}")
        return levels[0]

    def bids(self, levels: int | None = None) -> Levels:
        """Return bids, best first, at most so many levels. Raises `BookStale` if an update was missed."""
        self._refuse_stale()
        return tuple((price, self._bid_sizes[price]) for price in islice(reversed(self._bids), levels))

    def asks(self, levels: int | None = None) -> Levels:
        """Return asks, best first, at most so many levels. Raises `BookStale` if an update was missed."""
        self._refuse_stale()
        return tuple((-price, self._ask_sizes[-price]) for price in islice(reversed(self._asks), levels))

    def _refuse_stale(self) -> None:
        if self._stale:
            raise BookStale(self._stale)

    def spread(self) -> int:
        """Return best ask less best bid, in price units. Raises like `best_bid`."""
        return self.best_ask()[0] - self.best_bid()[0]

    def spread_bps(self) -> float:
        """Return the spread in basis points of the mid. Raises like `best_bid`."""
        return self.spread() / self.mid() * BPS

    def mid(self) -> float:
        """Return the middle between best bid and best ask, in price units; it may end in a half.

        Raises like `best_bid`.
        """
        return (self.best_bid()[0] + self.best_ask()[0]) / 2

    def within(self, distance_bps: float) -> tuple[Levels, Levels]:
        """Return the bids and asks whose price is at most so far from the mid. Raises like `best_bid`.

        A level at exactly that distance is in; the distance is the decimal that it prints as.
        """
        mid = Fraction(self.best_bid()[0] + self.best_ask()[0], 2)
        reach = mid * Fraction(str(distance_bps)) / BPS
        first_bid = bisect_left(self._bids, ceil(mid - reach))
        first_ask = bisect_left(self._asks, -floor(mid + reach))
        return self.bids(len(self._bids) - first_bid), self.asks(len(self._asks) - first_ask)

    def depth(self, levels: int | None = None) -> tuple[Levels, Levels]:
        """Return bids and asks, best first, at most so many levels a side. Raises `BookStale`."""
        return self.bids(levels), self.asks(levels)

    def liquidity(self, distance_bps: float) -> tuple[int, int]:
        """Return the bid size and the ask size within a distance of the mid, in size units.

        Raises like `best_bid`.
        """
        bids, asks = self.within(distance_bps)
        return sum(size for _, size in bids), sum(size for _, size in asks)

    def imbalance(self, levels: int = 1) -> float:
        """Return (bid size - ask size) / (bid size + ask size) over the best levels.

        It lies between 1 (all bids) and -1 (all asks).

        Raises:
            BookStale: An update was missed.
            NotEnoughLiquidity: The book is empty.
        """
        bid = sum(size for _, size in self.bids(levels))
        ask = sum(size for _, size in self.asks(levels))
        if bid + ask == 0:
            raise NotEnoughLiquidity(f"{self.instrument.name} has an empty book")
        return (bid - ask) / (bid + ask)

    def snapshot(self) -> BookSnapshot:
        """Return the whole book as it is now, best first. Raises `BookStale` if an update was missed."""
        return BookSnapshot(
            instrument=self.instrument,
            ts_event=self.ts_event,
            ts_recv=self.ts_recv,
            last_update_id=self.last_update_id,
            bids=self.bids(),
            asks=self.asks(),
        )
