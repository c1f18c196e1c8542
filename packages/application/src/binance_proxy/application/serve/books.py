"""The order book now or at a moment, and what can be told by it."""

from collections.abc import Callable
from typing import Annotated, TypedDict

from msgspec import Meta, Struct

from binance_proxy.application.ends import END_OF_TIME
from binance_proxy.application.moments import utc
from binance_proxy.application.ports import LiveBook, StoreUnavailable
from binance_proxy.application.rebuild import LATE_NS, BookUnknown, book_at
from binance_proxy.application.serve.asked import AskedOf, At, Count, time_of
from binance_proxy.application.serve.failures import WrongParams
from binance_proxy.application.serve.rows import (
    BookRow,
    Id,
    Ns,
    Price,
    Row,
    Size,
    TextLevels,
    Value,
    text_levels,
)
from binance_proxy.application.serve.sources import Sources, question_of
from binance_proxy.domain.errors import ScaleError
from binance_proxy.domain.execution import sweep
from binance_proxy.domain.instrument import Instrument, Market
from binance_proxy.domain.order_book import OrderBook
from binance_proxy.domain.scale import to_text, to_units
from binance_proxy.domain.tick import BookSnapshot, Level, Levels, Side

FEW = 50
"""Levels of the live book that are asked for first, where more are rarely needed."""
NOT_YET = "the book of then is not known as long as the newest that was recorded is not in the store"

Bps = Annotated[float, Meta(description="In basis points: hundredths of a percent")]
Levelled = Annotated[Count | None, Meta(description="The best so many of each side; all of them if left out")]


class AskedBook(AskedOf, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Get the order book now, with its place in the topic, or as it was at a moment."""

    at: At = None
    levels: Levelled = None


class AskedDepth(AskedOf, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Get the best levels of the book, each with the size up to it."""

    at: At = None
    levels: Annotated[int, Meta(ge=1, le=100_000, description="So many of each side")] = 10


class AskedSpread(AskedOf, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Get best bid, best ask and what is between them."""

    at: At = None


class AskedSlippage(AskedOf, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Get what a market order would have got, and how much worse that is than mid and best price."""

    side: Annotated[Side, Meta(description="Whether the order buys or sells")]
    size: Annotated[
        str, Meta(min_length=1, max_length=60, description="In the base asset, decimal text such as 1.5")
    ]
    at: At = None


class AskedLiquidity(AskedOf, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Get how much rests within a distance of the mid."""

    bps: Annotated[float, Meta(gt=0, le=1_000_000, description="The distance, in basis points of the mid")]
    at: At = None


class BookNow(BookRow, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A book, best prices first. Of a past one, epoch and sequence are left out."""

    epoch: Annotated[str | None, Meta(description="Of the book's topic")] = None
    sequence: Annotated[
        int | None,
        Meta(description="Every message of the topic up to this one is in the book, none behind it is"),
    ] = None


class FromBook(Row, frozen=True, kw_only=True, omit_defaults=True):
    """What was worked out of a book, and which one it was."""

    ts_event: Ns
    last_update_id: Id


class Depth(FromBook, frozen=True, kw_only=True, omit_defaults=True):
    """Levels, best first: price, size, and the size up to this price."""

    bids: list[tuple[Price, Size, Size]]
    asks: list[tuple[Price, Size, Size]]


class Spread(FromBook, frozen=True, kw_only=True, omit_defaults=True):
    """The best prices."""

    bid: Price
    ask: Price
    bid_size: Size
    ask_size: Size
    mid: Price
    spread: Price
    spread_bps: Bps


class Slippage(FromBook, frozen=True, kw_only=True, omit_defaults=True):
    """What a market order would have got."""

    side: Side
    size: Size
    filled: Size
    unfilled: Annotated[str, Meta(description="What the book could not fill, in the base asset")]
    vwap: Annotated[str, Meta(description="The average price, rounded half up at the price precision")]
    mid: Price
    slippage_mid_bps: Annotated[float, Meta(description="Worse than the mid by so much; positive is worse")]
    slippage_touch_bps: Annotated[float, Meta(description="Worse than the best price by so much")]
    fills: TextLevels


class Liquidity(FromBook, frozen=True, kw_only=True, omit_defaults=True):
    """What rests within a distance of the mid."""

    bps: Bps
    mid: Price
    bid_size: Size
    ask_size: Size
    bid_value: Value
    ask_value: Value


async def get_book(sources: Sources, asked: AskedBook, deadline: int) -> BookNow:
    """Answer ``orderbook.get``."""
    instrument = await sources.instrument(asked)
    if asked.at is None:
        live = await sources.live.book(instrument, asked.levels)
        return _shown(live.book, live)
    book = await _past(sources, instrument, time_of("at", asked.at), deadline)
    bids, asks = book.depth(asked.levels)
    shown = BookSnapshot(
        instrument=book.instrument,
        ts_event=book.ts_event,
        ts_recv=book.ts_recv,
        last_update_id=book.last_update_id,
        bids=bids,
        asks=asks,
    )
    return _shown(shown)


def _shown(book: BookSnapshot, live: LiveBook | None = None) -> BookNow:
    one = book.instrument
    return BookNow(
        venue=one.venue,
        market=one.market,
        symbol=one.symbol,
        ts_event=book.ts_event,
        ts_recv=book.ts_recv,
        last_update_id=book.last_update_id,
        bids=text_levels(book.bids, one),
        asks=text_levels(book.asks, one),
        epoch=None if live is None else live.epoch,
        sequence=None if live is None else live.sequence,
    )


async def get_depth(sources: Sources, asked: AskedDepth, deadline: int) -> Depth:
    """Answer ``orderbook.depth``."""
    book = await _book(sources, asked, asked.at, deadline, asked.levels)
    bids, asks = book.depth(asked.levels)
    return Depth(**_of(book), bids=_cumulated(bids, book.instrument), asks=_cumulated(asks, book.instrument))


def _cumulated(levels: Levels, one: Instrument) -> list[tuple[str, str, str]]:
    found, total = [], 0
    for price, size in levels:
        total += size
        size_text, total_text = (to_text(units, one.size_precision) for units in (size, total))
        found.append((to_text(price, one.price_precision), size_text, total_text))
    return found


async def get_spread(sources: Sources, asked: AskedSpread, deadline: int) -> Spread:
    """Answer ``stats.spread``."""
    book = await _book(sources, asked, asked.at, deadline, 1)
    one, bid, ask = book.instrument, book.best_bid(), book.best_ask()
    return Spread(
        **_of(book),
        bid=to_text(bid[0], one.price_precision),
        ask=to_text(ask[0], one.price_precision),
        bid_size=to_text(bid[1], one.size_precision),
        ask_size=to_text(ask[1], one.size_precision),
        mid=_mid(bid, ask, one),
        spread=to_text(book.spread(), one.price_precision),
        spread_bps=book.spread_bps(),
    )


async def get_slippage(sources: Sources, asked: AskedSlippage, deadline: int) -> Slippage:
    """Answer ``stats.slippage``."""
    instrument = await sources.instrument(asked)
    try:
        size = to_units(asked.size, instrument.size_precision)
    except ScaleError as error:
        raise WrongParams("size", str(error)) from error
    if size <= 0:
        raise WrongParams("size", "must be above zero")

    def is_enough(book: OrderBook) -> bool:
        return not sweep(book, asked.side, size).unfilled

    book = await _deep(sources, instrument, asked.at, deadline, is_enough)
    order, one = sweep(book, asked.side, size), book.instrument
    cost = sum(fill.price * fill.size for fill in order.fills)
    return Slippage(
        **_of(book),
        side=asked.side,
        size=to_text(size, one.size_precision),
        filled=to_text(order.filled, one.size_precision),
        unfilled=to_text(order.unfilled, one.size_precision),
        vwap=to_text((2 * cost + order.filled) // (2 * order.filled), one.price_precision),
        mid=_mid(book.best_bid(), book.best_ask(), one),
        slippage_mid_bps=order.slippage_mid_bps,
        slippage_touch_bps=order.slippage_touch_bps,
        fills=text_levels(tuple((fill.price, fill.size) for fill in order.fills), one),
    )


async def get_liquidity(sources: Sources, asked: AskedLiquidity, deadline: int) -> Liquidity:
    """Answer ``stats.liquidity``."""
    instrument = await sources.instrument(asked)

    def is_enough(book: OrderBook) -> bool:
        sides = zip(book.within(asked.bps), book.depth(), strict=True)
        return all(len(within) < len(every) for within, every in sides)

    book = await _deep(sources, instrument, asked.at, deadline, is_enough)
    one, (bids, asks) = book.instrument, book.within(asked.bps)
    values = [sum(price * size for price, size in levels) for levels in (bids, asks)]
    precision = one.price_precision + one.size_precision
    bid_size, ask_size = book.liquidity(asked.bps)
    return Liquidity(
        **_of(book),
        bps=asked.bps,
        mid=_mid(book.best_bid(), book.best_ask(), one),
        bid_size=to_text(bid_size, one.size_precision),
        ask_size=to_text(ask_size, one.size_precision),
        bid_value=to_text(values[0], precision),
        ask_value=to_text(values[1], precision),
    )


class _Of(TypedDict):
    venue: str
    market: Market
    symbol: str
    ts_event: int
    last_update_id: int


def _of(book: OrderBook) -> _Of:
    one = book.instrument
    return {
        "venue": one.venue,
        "market": one.market,
        "symbol": one.symbol,
        "ts_event": book.ts_event,
        "last_update_id": book.last_update_id,
    }


def _mid(bid: Level, ask: Level, one: Instrument) -> str:
    """Return the middle, exactly: it may need one decimal more than a price."""
    return to_text((bid[0] + ask[0]) * 5, one.price_precision + 1)


async def _book(
    sources: Sources, asked: AskedOf, at: int | str | None, deadline: int, levels: int
) -> OrderBook:
    """Return the best levels of the book now, or all of it at a moment."""
    instrument = await sources.instrument(asked)
    if at is None:
        return OrderBook((await sources.live.book(instrument, levels)).book)
    return await _past(sources, instrument, time_of("at", at), deadline)


async def _deep(
    sources: Sources,
    instrument: Instrument,
    at: int | str | None,
    deadline: int,
    is_enough: Callable[[OrderBook], bool],
) -> OrderBook:
    """Return as much of the book as it takes: of the live one a few levels are asked for first."""
    if at is not None:
        return await _past(sources, instrument, time_of("at", at), deadline)
    few = OrderBook((await sources.live.book(instrument, FEW)).book)
    if min(map(len, few.depth())) and is_enough(few):
        return few
    return OrderBook((await sources.live.book(instrument)).book)


class _KeptBook(Struct, frozen=True, gc=False, array_like=True):
    """A past book, as it is kept in the cache for every question about it."""

    ts_event: int
    ts_recv: int
    last_update_id: int
    bids: Levels
    asks: Levels
    stored: bool


async def _past(sources: Sources, instrument: Instrument, at: int, deadline: int) -> OrderBook:
    """Return the book of a moment.

    Raises:
        BookUnknown: It is not known. The message says of which moment it is.
        StoreUnavailable: It is not known yet: what was recorded is not all in the store.
    """

    async def make() -> _KeptBook:
        caught = await sources.caught_up(instrument, at + LATE_NS, deadline)
        try:
            book = await book_at(sources.store, instrument, min(at, END_OF_TIME - 1))
        except BookUnknown as error:
            if not caught.stored and error.again is None:
                raise StoreUnavailable(NOT_YET) from error
            raise BookUnknown(
                unknown_text(error, at), missing=error.missing, since=error.since, again=error.again
            ) from error
        bids, asks = book.depth()
        return _KeptBook(book.ts_event, book.ts_recv, book.last_update_id, bids, asks, caught.stored)

    question = question_of("book", instrument, at)
    kept = await sources.kept(instrument, question, at, _KeptBook, make, fresh=False)
    return OrderBook(
        BookSnapshot(
            instrument=instrument,
            ts_event=kept.ts_event,
            ts_recv=kept.ts_recv,
            last_update_id=kept.last_update_id,
            bids=kept.bids,
            asks=kept.asks,
        )
    )


def unknown_text(error: BookUnknown, at: int) -> str:
    """Say what is not known of the book at a moment, and of which moment it is known."""
    if at >= END_OF_TIME:
        again = "" if error.since is None else "; it is right again with the next snapshot"
        return f"{error.why}{again}"
    since = "" if error.since is None else f" since {utc(error.since)}"
    if error.again is not None and error.again > at:
        again = f"; the book is known again from {utc(error.again)} on"
    elif error.missing is not None:
        again = "; no later snapshot is stored"
    else:
        again = ""
    return f"the book of {utc(at)} UTC is not known: {error.why}{since}{again}"
