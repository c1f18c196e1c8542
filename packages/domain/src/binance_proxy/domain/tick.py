"""What a market data stream consists of: trades, book updates, snapshots, and what interrupts them."""

from enum import StrEnum
from typing import TypeAlias

from msgspec import Struct

from binance_proxy.domain.errors import TickRejected
from binance_proxy.domain.instrument import Instrument

Level: TypeAlias = tuple[int, int]
"""A price and the size resting there, both in the units of their instrument. In an update, size 0 removes."""
Levels: TypeAlias = tuple[Level, ...]


class Side(StrEnum):
    """Who took liquidity."""

    BUY = "buy"
    SELL = "sell"


class Event(Struct, frozen=True, gc=False, kw_only=True):
    """Something that happened to one instrument."""

    instrument: Instrument
    ts_event: int
    """When it happened, by the venue's clock; ns since the epoch, UTC. Assigned by the venue."""
    ts_recv: int
    """When it reached us, by our clock; ns since the epoch, UTC. Assigned by the recorder.

    May lie before ``ts_event``: the two clocks are not one.
    """


class TradeTick(Event, frozen=True, gc=False, kw_only=True):
    """One match, as the venue printed it."""

    trade_id: int
    """Assigned by the venue; rises by one within an instrument."""
    price: int
    """In units of ``10**-price_precision`` of the quote asset. Always positive."""
    size: int
    """In units of ``10**-size_precision`` of the base asset. Always positive."""
    aggressor: Side
    first_match_id: int | None = None
    """On an aggregated print (Binance ``aggTrade``) the id of the first match in it, else `None`.

    Aggregated prints have trade ids of their own, so ``trade_id`` is then not an id of single matches.
    """
    last_match_id: int | None = None
    """The id of the last match in an aggregated print, else `None`."""
    off_book: bool = False
    """True if no resting order was hit (USD-M insurance fund); venues leave such prints out of candles."""

    @property
    def matches(self) -> int:
        """How many single matches the print stands for."""
        if self.first_match_id is None or self.last_match_id is None:
            return 1
        return self.last_match_id - self.first_match_id + 1


class QuoteTick(Event, frozen=True, gc=False, kw_only=True):
    """One update of an order book: the levels that changed, with their new sizes."""

    first_update_id: int
    """Id of the first change in the update. Assigned by the venue."""
    last_update_id: int
    """Id of the last change in the update. Assigned by the venue."""
    previous_update_id: int | None = None
    """``last_update_id`` of the update before, where the venue says it (USD-M ``pu``), else `None`."""
    bids: Levels
    asks: Levels


class BookSnapshot(Event, frozen=True, gc=False, kw_only=True):
    """A whole order book at one update id."""

    last_update_id: int
    """Every change up to and including this id is in the snapshot."""
    bids: Levels
    """Best first."""
    asks: Levels
    """Best first."""


class StaleBook(Event, frozen=True, gc=False, kw_only=True):
    """The book of the instrument fell out of step: nothing of it holds until the next snapshot.

    ``ts_event`` is the venue's time as it was last heard of the book.
    """

    reason: str


Tick: TypeAlias = TradeTick | QuoteTick


class Disconnect(Struct, frozen=True, gc=False, kw_only=True):
    """The source was lost; what happened until the next event may be missing."""

    instruments: tuple[Instrument, ...]
    ts_recv: int
    reason: str


class BadFrame(Struct, frozen=True, gc=False, kw_only=True):
    """Something arrived that cannot be used. It was skipped; what follows is not affected."""

    kind: str
    """A few words that are the same for all frames of a kind, to count them by: ``broken JSON``."""
    where: str
    """Where to look: ``a.gz line 37``."""
    detail: str
    """What is wrong with this one."""
    ts_recv: int


MarketEvent: TypeAlias = TradeTick | QuoteTick | BookSnapshot | Disconnect | BadFrame
"""Whatever a `MarketFeed` yields."""


def check_trade(trade: TradeTick) -> TradeTick:
    """Return the trade if it can be true.

    Raises:
        TickRejected: Its price, size or time is not positive, or its matches run backwards.
    """
    if trade.price <= 0:
        raise TickRejected(f"trade {trade.trade_id} has a price that is not above zero")
    if trade.size <= 0:
        raise TickRejected(f"trade {trade.trade_id} has a size that is not above zero")
    if trade.ts_event <= 0:
        raise TickRejected(f"trade {trade.trade_id} has no time")
    if trade.first_match_id is not None and trade.matches <= 0:
        raise TickRejected(f"trade {trade.trade_id} ends with a match before its first")
    return trade


def check_quote(quote: QuoteTick) -> QuoteTick:
    """Return the update if it can be true.

    Raises:
        TickRejected: A price or its time is not positive, a size is negative, or its ids run backwards.
    """
    if quote.first_update_id > quote.last_update_id:
        raise TickRejected(f"update {quote.first_update_id} ends before it begins")
    if quote.ts_event <= 0:
        raise TickRejected(f"update {quote.first_update_id} has no time")
    for side in (quote.bids, quote.asks):
        for price, size in side:
            if price <= 0:
                raise TickRejected(f"update {quote.first_update_id} has a price that is not above zero")
            if size < 0:
                raise TickRejected(f"update {quote.first_update_id} has a size below zero")
    return quote
