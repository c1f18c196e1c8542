"""A venue's past in memory: the model that others are compared with."""

from collections.abc import AsyncGenerator, Sequence

from binance_proxy.application.missing import matches_of
from binance_proxy.application.ports import HistoryRejected
from binance_proxy.domain.candle import Candle, CandleFold, Timeframe
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import TradeTick


class MemoryHistory:
    """An `ExchangeHistory` of the trades that it is given: single ones, or aggregated ones that stand in."""

    TIMEFRAMES = frozenset({"1s", "1m", "5m", "15m", "1h", "1d"})

    def __init__(self, trades: Sequence[TradeTick], *, page: int = 1_000) -> None:
        """Have these trades, which are counted by the ids of single ones, and give so many at once."""
        self._trades = sorted(trades, key=matches_of)
        self._page = page

    async def ids(self, instrument: Instrument, start: int, end: int) -> tuple[int, int] | None:
        """Return the lowest and highest id of the trades of a range of time; `None` if there are none."""
        found = [matches_of(one) for one in self._of(instrument) if start <= one.ts_event < end]
        return (found[0][0], found[-1][1]) if found else None

    async def trades(
        self, instrument: Instrument, first_id: int, last_id: int
    ) -> AsyncGenerator[Sequence[TradeTick]]:
        """Yield the trades that hold an id of the range, by id, in pages."""
        found = [
            one
            for one in self._of(instrument)
            if matches_of(one)[0] <= last_id and first_id <= matches_of(one)[1]
        ]
        for at in range(0, len(found), self._page):
            yield found[at : at + self._page]

    async def candles(
        self, instrument: Instrument, timeframe: Timeframe, start: int, end: int
    ) -> AsyncGenerator[Sequence[Candle]]:
        """Yield the candles of the trades but the newest, which may still be open, in pages."""
        if timeframe.name not in self.TIMEFRAMES:
            raise HistoryRejected(f"there are no {timeframe} candles here")
        fold = CandleFold(instrument, timeframe)
        closed = [candle for one in self._of(instrument) for candle in fold.feed(one)]
        found = [candle for candle in closed if start <= candle.start < end]
        for at in range(0, len(found), self._page):
            yield found[at : at + self._page]

    def _of(self, instrument: Instrument) -> Sequence[TradeTick]:
        found = [one for one in self._trades if one.instrument.name == instrument.name]
        if not found:
            raise HistoryRejected(f"there is nothing of {instrument.symbol} here")
        return found
