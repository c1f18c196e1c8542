"""Candles of whatever a store can scan."""

from collections.abc import Sequence
from contextlib import aclosing

from binance_proxy.application.ends import END_OF_TIME
from binance_proxy.application.ports import MarketStore
from binance_proxy.domain.candle import Candle, CandleFold, Timeframe
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import TradeTick


async def candles_of_trades(
    store: MarketStore, instrument: Instrument, timeframe: Timeframe, start: int, end: int
) -> Sequence[Candle]:
    """Fold the trades of a store into the candles whose period starts in ``[start, end)``, oldest first.

    The trade before the range and those behind it are looked at as well: they say whether the first candle
    is complete and the last one closed. Raises what the scan raises.
    """
    first, behind = timeframe.period(start)
    if first < start:
        first = behind
    if first >= end:
        return []
    last = timeframe.period(end - 1)[1]
    fold: CandleFold | None = None
    candles: list[Candle] = []
    async with aclosing(store.scan(TradeTick, instrument, 0, first, newest_first=True)) as before:
        async for trade in before:
            fold = CandleFold(trade.instrument, timeframe)
            fold.feed(trade)
            break
    async with aclosing(store.scan(TradeTick, instrument, first, END_OF_TIME)) as trades:
        async for trade in trades:
            if fold is None:
                fold = CandleFold(trade.instrument, timeframe)
            candles += fold.feed(trade)
            if trade.ts_event >= last and not trade.off_book:
                break
    newest = fold.current() if fold else None
    return [one for one in (*candles, *([newest] if newest else [])) if first <= one.start < end]
