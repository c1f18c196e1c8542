"""The average price of the trades of a window, weighted by size."""

from collections.abc import Sequence
from contextlib import aclosing
from typing import Annotated, NamedTuple

from msgspec import Meta

from binance_proxy.application.ports import MarketStore
from binance_proxy.application.serve.asked import AskedOf, End, Start, range_of
from binance_proxy.application.serve.candles import missing_trades
from binance_proxy.application.serve.failures import NothingStored, WrongParams
from binance_proxy.application.serve.rows import Hole, Ns, Row, Size, Value, holes_of
from binance_proxy.application.serve.sources import Sources, goes_on, question_of
from binance_proxy.application.unrecorded import Part, read_unrecorded
from binance_proxy.domain.candle import DAY_NS, SECOND_NS, Timeframe
from binance_proxy.domain.instrument import Instrument, Stream
from binance_proxy.domain.scale import to_text
from binance_proxy.domain.tick import TradeTick

MINUTE_NS = 60 * SECOND_NS


class AskedVwap(AskedOf, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Get the average price of the trades of a range, or of the last `window_s` seconds, weighted by size."""

    start: Start = None
    end: End = None
    window_s: Annotated[
        Annotated[float, Meta(gt=0, le=10_000_000_000)] | None,
        Meta(description="In place of `start`: the last so many seconds"),
    ] = None
    fresh: Annotated[bool, Meta(description="Work it out anew, past the cache")] = False


class Vwap(Row, frozen=True, kw_only=True, omit_defaults=True):
    """The trades of a range, summed up. Prints that were off the book are left out, as in candles."""

    start: Ns
    end: Ns
    vwap: Annotated[
        str | None,
        Meta(description="In the quote asset, rounded half up at the price precision; null without a trade"),
    ]
    volume: Size
    quote_volume: Value
    trades: Annotated[int, Meta(description="Number of matches")]
    holes: list[Hole]
    as_of: Ns
    stored: Annotated[bool, Meta(description="False if the newest trades may not be in the store yet")]


class Sums(NamedTuple):
    """Exact sums over trades."""

    trades: int = 0
    volume: int = 0
    """In size units."""
    quote_volume: int = 0
    """In price units times size units."""

    def plus(self, other: "Sums") -> "Sums":
        """Return both together."""
        return Sums(*(one + more for one, more in zip(self, other, strict=True)))


async def get_vwap(sources: Sources, asked: AskedVwap, deadline: int) -> Vwap:
    """Answer ``stats.vwap``."""
    if asked.window_s is not None and (asked.start is not None or asked.end is not None):
        raise WrongParams("window_s", "goes without `start` and `end`")
    if asked.window_s is None and asked.start is None:
        raise WrongParams("start", "is missing; or say `window_s`")
    given = range_of(asked.start, asked.end)
    instrument = await sources.instrument(asked)
    question = question_of("stats.vwap", instrument, *given, asked.window_s)

    async def make() -> Vwap:
        as_of = sources.clock.now()
        start, end = given[0], given[1]
        caught = await sources.caught_up(instrument, end, deadline)
        now = max(as_of, (caught.newest or 0) + 1)  # the venue's clock may be ahead of ours
        if asked.window_s is not None:
            start, end = max(now - round(asked.window_s * SECOND_NS), 0), now
        elif asked.end is None:
            end = max(now, (start or 0) + 1)
        assert start is not None  # noqa: S101  one of the two was there
        sums = await summed(sources.store, instrument, start, end)
        price, size = instrument.price_precision, instrument.size_precision
        average = (2 * sums.quote_volume + sums.volume) // (2 * sums.volume) if sums.volume else None
        holes = await missing_trades(sources.store, instrument, start, end)
        part = Part(start=start, end=end, now=now, goes_on=goes_on(caught))
        unrecorded = await read_unrecorded(sources.store, instrument, part, sources.runs)
        return Vwap(
            venue=instrument.venue,
            market=instrument.market,
            symbol=instrument.symbol,
            start=start,
            end=end,
            vwap=None if average is None else to_text(average, price),
            volume=to_text(sums.volume, size),
            quote_volume=to_text(sums.quote_volume, price + size),
            trades=sums.trades,
            holes=holes_of(Stream.TRADES, holes, unrecorded),
            as_of=as_of,
            stored=caught.stored,
        )

    return await sources.kept(instrument, question, given[1], Vwap, make, fresh=asked.fresh)


async def summed(store: MarketStore, instrument: Instrument, start: int, end: int) -> Sums:
    """Return the sums of all trades of a range: whole days and minutes by their candles, the rest by trades.

    Candles are exact sums of the same trades, also of days whose trades the store has dropped.

    Raises:
        NothingStored: The range begins or ends within a minute whose trades are not kept any more.
        StoreUnavailable: The store is away.
    """
    return await _of_parts(store, instrument, start, end, (("1d", DAY_NS), ("1m", MINUTE_NS)))


async def _of_parts(
    store: MarketStore, instrument: Instrument, start: int, end: int, parts: Sequence[tuple[str, int]]
) -> Sums:
    if start >= end:
        return Sums()
    if not parts:
        return await _of_trades(store, instrument, start, end)
    (name, length), *finer = parts
    first, behind = -(-start // length) * length, end // length * length
    if first >= behind:
        return await _of_parts(store, instrument, start, end, finer)
    found = Sums()
    for candle in await store.candles(instrument, Timeframe(name), first, behind):
        found = found.plus(Sums(candle.trades, candle.volume, candle.quote_volume))
    before = await _of_parts(store, instrument, start, first, finer)
    after = await _of_parts(store, instrument, behind, end, finer)
    return found.plus(before).plus(after)


async def _of_trades(store: MarketStore, instrument: Instrument, start: int, end: int) -> Sums:
    """Sum up trades one by one; less than two minutes of them."""
    found, is_empty = Sums(), True
    async with aclosing(store.scan(TradeTick, instrument, start, end)) as trades:
        async for one in trades:
            is_empty = False
            if not one.off_book:
                found = found.plus(Sums(one.matches, one.size, one.price * one.size))
    if is_empty:
        await _refuse_dropped(store, instrument, start, end)
    return found


async def _refuse_dropped(store: MarketStore, instrument: Instrument, start: int, end: int) -> None:
    """Raise `NothingStored` if candles tell of trades that are not kept any more."""
    first = start - start % MINUTE_NS
    for candle in await store.candles(instrument, Timeframe("1m"), first, end):
        async with aclosing(store.scan(TradeTick, instrument, candle.start, candle.end)) as trades:
            if await anext(trades, None) is None:
                raise NothingStored(
                    "the single trades at an end of this range are not kept any more, only candles of them:"
                    " ask for whole minutes"
                )
