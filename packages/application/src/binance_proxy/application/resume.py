"""Where an earlier run ended: what is stored of an instrument, for its track to go on behind it."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from binance_proxy.application.continuity import OpenGap
from binance_proxy.application.ends import END_OF_TIME, newest
from binance_proxy.application.missing import MissingIds
from binance_proxy.application.ports import MarketStore
from binance_proxy.application.track import Track
from binance_proxy.domain.candle import SECOND_NS, Timeframe
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Instrument, Stream
from binance_proxy.domain.tick import QuoteTick, TradeTick

LOOK_BACK_NS = 600 * SECOND_NS
"""How much of the stored trades, at their end, is looked through for holes that a killed run did not tell."""


@dataclass(frozen=True)
class Ending:
    """How the stored ticks of an instrument end."""

    trade: TradeTick | None
    """The newest one."""
    trades: Sequence[TradeTick]
    """The newest ones, at least all of the candles that are still open."""
    trade_gaps: Sequence[OpenGap]
    """Those that were not repaired."""
    quote: QuoteTick | None
    """The newest one."""
    quotes: Sequence[QuoteTick]
    """The newest ones."""
    quote_gaps: Sequence[Gap]
    """Those that were not repaired."""


async def read_ending(store: MarketStore, instrument: Instrument, timeframes: Sequence[Timeframe]) -> Ending:
    """Read how the stored ticks end. Raises `StoreUnavailable`."""
    trade = await newest(store, TradeTick, instrument)
    quote = await newest(store, QuoteTick, instrument)
    trades: list[TradeTick] = []
    quotes: list[QuoteTick] = []
    async with aclosing(store.scan(Gap, instrument, 0, END_OF_TIME)) as found:
        gaps = [gap async for gap in found if gap.state is not GapState.REPAIRED]
    if quote is not None:
        start = quote.ts_event - LOOK_BACK_NS
        async with aclosing(store.scan(QuoteTick, instrument, start, END_OF_TIME)) as newest_quotes:
            quotes = [one async for one in newest_quotes]
    if trade is not None:
        starts = [one.period(trade.ts_event)[0] for one in timeframes]
        start = min(trade.ts_event - LOOK_BACK_NS, *starts)
        async with aclosing(store.scan(TradeTick, instrument, start, END_OF_TIME)) as newest_trades:
            trades = [one async for one in newest_trades]
    return Ending(
        trade,
        trades,
        [OpenGap(gap, await _unstored(store, gap)) for gap in gaps if gap.stream is Stream.TRADES],
        quote,
        quotes,
        [gap for gap in gaps if gap.stream is Stream.ORDERBOOK],
    )


def resume(track: Track, ending: Ending) -> Sequence[Gap]:
    """Let a track go on behind what is stored; return the gaps in trades that an earlier run has left."""
    if ending.quote is not None:
        track.resume_book(ending.quote, ending.quote_gaps, ending.quotes)
    if ending.trade is None:
        return []
    track.resume_trades(ending.trade, ending.trade_gaps, ending.trades)
    return [one.gap for one in ending.trade_gaps]


async def stored_aggregated(store: MarketStore, instrument: Instrument) -> bool | None:
    """Return whether the stored trades of an instrument are aggregated ones; `None` without any.

    Those that stand in for single ones, with the id of their first match, do not count as such.
    """
    trade = await newest(store, TradeTick, instrument)
    return None if trade is None else trade.first_match_id not in {None, trade.trade_id}


async def _unstored(store: MarketStore, gap: Gap) -> Sequence[tuple[int, int]]:
    """Return what of a gap is not in the store: a run that was killed may have stored a part."""
    missing = MissingIds(gap.first_id, gap.last_id)
    if gap.state is GapState.OPEN:
        stored = store.scan(TradeTick, gap.instrument, gap.start, gap.end + 1)
        async with aclosing(stored) as trades:
            async for trade in trades:
                missing.take(trade)
    return missing.ranges
