"""An order book that is right, or says that it is not."""

from bisect import bisect_left, insort
from collections.abc import Callable
from decimal import Decimal
from itertools import islice

from msgspec import Struct

from binance_proxy.client.errors import BookStale
from binance_proxy.client.messages import Level, Levels, Quote

BPS = 10_000


class BookView(Struct, frozen=True, kw_only=True):
    """A book as it was at one update id; it does not change any more."""

    symbol: str
    last_update_id: int
    ts_event: int
    """Of the newest update in it; ns since the epoch, UTC."""
    ts_recv: int
    bids: Levels
    """Best first."""
    asks: Levels
    """Best first."""

    @property
    def best_bid(self) -> Level | None:
        """The highest bid and its size; `None` if there are no bids."""
        return self.bids[0] if self.bids else None

    @property
    def best_ask(self) -> Level | None:
        """The lowest ask and its size; `None` if there are no asks."""
        return self.asks[0] if self.asks else None

    @property
    def spread(self) -> Decimal | None:
        """Best ask less best bid; `None` if a side is empty."""
        return self.asks[0][0] - self.bids[0][0] if self.bids and self.asks else None

    @property
    def mid(self) -> Decimal | None:
        """The middle between best bid and best ask; `None` if a side is empty."""
        return (self.asks[0][0] + self.bids[0][0]) / 2 if self.bids and self.asks else None

    @property
    def spread_bps(self) -> float | None:
        """The spread in basis points of the mid; `None` if a side is empty."""
        spread, mid = self.spread, self.mid
        return None if spread is None or mid is None else float(spread / mid * BPS)


class OrderBook:
    """Resting sizes by price, kept up to date while somebody follows it.

    Reading prices or ids of a book that is not in step raises `BookStale` with the reason: an old book is
    never shown as if it were right. It gets back into step by itself. Read it in the thread of its bridge;
    what one read returns is of one update id, and so are all reads without an ``await`` between them.
    """

    def __init__(self, symbol: str = "") -> None:
        self.symbol = symbol
        """Such as ``ETH/USDT``."""
        self.doubt: Callable[[], str | None] | None = None
        """Asked at each read: why nobody knows whether the book is right, or `None`."""
        self._reason: str | None = "no snapshot has come yet"
        self._bid_sizes: dict[Decimal, Decimal] = {}
        self._ask_sizes: dict[Decimal, Decimal] = {}
        # Each side is sorted with its best price last, so that the busy end of the list is the cheap one.
        # Asks are negated by a copy: the minus of a `Decimal` rounds to whatever precision the user has set.
        self._bids: list[Decimal] = []
        self._asks: list[Decimal] = []
        self._last_update_id = 0
        self._ts_event = self._ts_recv = 0
        self._chained = False

    @property
    def in_step(self) -> bool:
        """True while the book equals the bridge's, as far as that was heard."""
        return self.reason is None

    @property
    def reason(self) -> str | None:
        """Why the book is not in step, for a person; `None` if it is."""
        if self._reason is None and self.doubt is not None:
            return self.doubt()
        return self._reason

    @property
    def state(self) -> tuple[int, str | None]:
        """The update id that it has reached, and why it is not in step: two equal ones are of one book."""
        return self._last_update_id, self._reason

    @property
    def last_update_id(self) -> int:
        """Every change up to and including this id is in the book. Raises `BookStale`."""
        self._refuse_stale()
        return self._last_update_id

    @property
    def ts_event(self) -> int:
        """When it changed last, by the venue's clock; ns since the epoch, UTC. Raises `BookStale`."""
        self._refuse_stale()
        return self._ts_event

    def bids(self, levels: int | None = None) -> Levels:
        """Return bids, best first, at most so many levels. Raises `BookStale`."""
        self._refuse_stale()
        sizes = self._bid_sizes
        return tuple((price, sizes[price]) for price in islice(reversed(self._bids), levels))

    def asks(self, levels: int | None = None) -> Levels:
        """Return asks, best first, at most so many levels. Raises `BookStale`."""
        self._refuse_stale()
        sizes = self._ask_sizes
        prices = [price.copy_negate() for price in islice(reversed(self._asks), levels)]
        return tuple((price, sizes[price]) for price in prices)

    @property
    def best_bid(self) -> Level | None:
        """The highest bid and its size; `None` if there are no bids. Raises `BookStale`."""
        return next(iter(self.bids(1)), None)

    @property
    def best_ask(self) -> Level | None:
        """The lowest ask and its size; `None` if there are no asks. Raises `BookStale`."""
        return next(iter(self.asks(1)), None)

    @property
    def spread(self) -> Decimal | None:
        """Best ask less best bid; `None` if a side is empty. Raises `BookStale`."""
        return self.view(1).spread

    @property
    def mid(self) -> Decimal | None:
        """The middle between best bid and best ask; `None` if a side is empty. Raises `BookStale`."""
        return self.view(1).mid

    @property
    def spread_bps(self) -> float | None:
        """The spread in basis points of the mid; `None` if a side is empty. Raises `BookStale`."""
        return self.view(1).spread_bps

    def view(self, levels: int | None = None) -> BookView:
        """Return the book as it is now, or so many levels of each side. Raises `BookStale`."""
        return BookView(
            symbol=self.symbol,
            last_update_id=self.last_update_id,
            ts_event=self._ts_event,
            ts_recv=self._ts_recv,
            bids=self.bids(levels),
            asks=self.asks(levels),
        )

    def begin(
        self, *, last_update_id: int, ts_event: int, ts_recv: int, bids: Levels, asks: Levels
    ) -> str | None:
        """Become the book of a snapshot; return why that cannot be, or `None`."""
        self._bid_sizes = {price: size for price, size in bids if size}
        self._ask_sizes = {price: size for price, size in asks if size}
        self._bids = sorted(self._bid_sizes)
        self._asks = sorted(price.copy_negate() for price in self._ask_sizes)
        self._last_update_id, self._ts_event, self._ts_recv = last_update_id, ts_event, ts_recv
        self._chained = False
        return self._crossed()

    def apply(self, quote: Quote) -> str | None:
        """Advance by one update; return why it does not follow, or `None`. An older one changes nothing."""
        if quote.last_update_id <= self._last_update_id:
            return None
        if not self._follows(quote):
            return f"update {quote.first_update_id} does not follow {self._last_update_id}"
        sizes, prices = self._bid_sizes, self._bids
        for price, size in quote.bids:
            if size:
                known = len(sizes)
                sizes[price] = size  # the hash of a `Decimal` is what costs most here, so it is taken once
                if len(sizes) > known:
                    insort(prices, price)
            elif sizes.pop(price, None) is not None:
                del prices[bisect_left(prices, price)]
        sizes, prices = self._ask_sizes, self._asks
        for price, size in quote.asks:
            if size:
                known = len(sizes)
                sizes[price] = size
                if len(sizes) > known:
                    insort(prices, price.copy_negate())
            elif sizes.pop(price, None) is not None:
                del prices[bisect_left(prices, price.copy_negate())]
        self._last_update_id, self._chained = quote.last_update_id, True
        self._ts_event, self._ts_recv = quote.ts_event, quote.ts_recv
        return self._crossed()

    def lose(self, reason: str) -> None:
        """Be out of step from now on."""
        self._reason = reason

    def regain(self) -> None:
        """Be in step from now on."""
        self._reason = None

    def _follows(self, quote: Quote) -> bool:
        """Say whether no update is missing before this one, by the rule of its market."""
        previous = quote.previous_update_id
        if previous is None:
            return quote.first_update_id <= self._last_update_id + 1
        return previous == self._last_update_id if self._chained else previous <= self._last_update_id

    def _crossed(self) -> str | None:
        if self._bids and self._asks and self._bids[-1] >= self._asks[-1].copy_negate():
            return f"bids and asks cross at update {self._last_update_id}"
        return None

    def _refuse_stale(self) -> None:
        reason = self.reason
        if reason is not None:
            raise BookStale(f"{self.symbol}: {reason}")
