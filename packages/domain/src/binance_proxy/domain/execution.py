"""What a market order would have got: fills, average price, slippage, and what is left unfilled."""

from collections.abc import Iterable

from msgspec import Struct

from binance_proxy.domain.errors import NotEnoughLiquidity, TickRejected
from binance_proxy.domain.order_book import BPS, OrderBook
from binance_proxy.domain.tick import Side, TradeTick


class Fill(Struct, frozen=True, gc=False, kw_only=True):
    """A part of an order, at one price."""

    price: int
    """In price units."""
    size: int
    """In size units; positive."""


class Execution(Struct, frozen=True, gc=False, kw_only=True):
    """What became of a market order on one book."""

    side: Side
    fills: tuple[Fill, ...]
    """Best price first."""
    unfilled: int
    """What the book could not fill, in size units."""
    mid: float
    """The middle of the book before the order, in price units."""
    touch: int
    """The best price that the order met, in price units."""

    @property
    def filled(self) -> int:
        """The size that was filled, in size units."""
        return sum(fill.size for fill in self.fills)

    @property
    def vwap(self) -> float:
        """The average price paid or received, in price units."""
        return vwap(self.fills)

    @property
    def slippage_mid_bps(self) -> float:
        """How much worse than the mid the order did, in basis points; positive is worse."""
        return slippage_bps(self.side, self.vwap, self.mid)

    @property
    def slippage_touch_bps(self) -> float:
        """How much worse than the best price the order did, in basis points; 0 if one level was enough."""
        return slippage_bps(self.side, self.vwap, self.touch)


def sweep(book: OrderBook, side: Side, size: int) -> Execution:
    """Send a market order of ``size`` (size units) against a book, which it does not change.

    Raises:
        BookStale: The book missed an update.
        NotEnoughLiquidity: A side of the book is empty, so there is no mid.
        TickRejected: The size is not positive.
    """
    if size <= 0:
        raise TickRejected("the size of an order must be above zero")
    levels = book.asks() if side is Side.BUY else book.bids()
    fills: list[Fill] = []
    left = size
    for price, resting in levels:
        taken = min(left, resting)
        fills.append(Fill(price=price, size=taken))
        left -= taken
        if not left:
            break
    mid = book.mid()
    return Execution(side=side, fills=tuple(fills), unfilled=left, mid=mid, touch=levels[0][0])


def vwap(parts: Iterable[Fill | TradeTick]) -> float:
    """Return the average price of fills or trades, weighted by size, in price units.

    The sums are exact; only the last division is a float.

    Raises:
        NotEnoughLiquidity: There are none.
    """
    cost = size = 0
    for part in parts:
        cost += part.price * part.size
        size += part.size
    if not size:
        raise NotEnoughLiquidity("there is no average price of nothing")
    return cost / size


def slippage_bps(side: Side, price: float, reference: float) -> float:
    """Return how much worse ``price`` is than ``reference`` for that side, in basis points."""
    worse = price - reference if side is Side.BUY else reference - price
    return worse / reference * BPS
