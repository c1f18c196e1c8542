"""Klines as Binance prints them: candles that also say what takers bought and which trades they hold."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, takewhile
from typing import TypeVar

from binance_proxy.domain.candle import Timeframe
from binance_proxy.sandbox.prints import Print, Prints

INTERVALS = {
    name: Timeframe("1mo" if name == "1M" else name)
    for name in (
        "1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M",
    )
}  # fmt: skip
"""Binance's name of each interval, and the timeframe that it is."""
MINUTE = INTERVALS["1m"]
MINUTES_KEPT = 100_000
LOOKED_AT = 50_000

Part = TypeVar("Part")


class Kline:
    """One period, half-open, in ns; prices and sizes in the units of their instrument."""

    __slots__ = (
        "bought", "bought_quote", "close", "end", "first_id", "high", "last_id", "low", "open",
        "quote_volume", "start", "trades", "volume",
    )  # fmt: skip

    def __init__(self, start: int, end: int, price: int) -> None:
        """Begin a period without a trade at the price that it opens with."""
        self.start, self.end = start, end
        self.open = self.high = self.low = self.close = price
        self.volume = self.quote_volume = self.trades = self.bought = self.bought_quote = 0
        self.first_id = self.last_id = -1

    def add(self, trade: Print) -> None:
        """Take one trade of the period, behind those before."""
        price, size, quote = trade.price, trade.size, trade.price * trade.size
        self.high, self.low, self.close = max(self.high, price), min(self.low, price), price
        self.volume += size
        self.quote_volume += quote
        self.trades += trade.last_id - trade.first_id + 1
        if not trade.sold:
            self.bought += size
            self.bought_quote += quote
        if self.first_id < 0:
            self.first_id = trade.first_id
        self.last_id = trade.last_id

    def join(self, later: "Kline") -> None:
        """Take the trades of a later, shorter period within this one."""
        self.high, self.low, self.close = max(self.high, later.high), min(self.low, later.low), later.close
        self.volume += later.volume
        self.quote_volume += later.quote_volume
        self.trades += later.trades
        self.bought += later.bought
        self.bought_quote += later.bought_quote
        if self.first_id < 0:
            self.first_id = later.first_id
        if later.last_id >= 0:
            self.last_id = later.last_id


class Klines:
    """The minutes of one symbol, of which all longer intervals are made; seconds are made of its trades."""

    def __init__(self) -> None:
        self._minutes: deque[Kline] = deque(maxlen=MINUTES_KEPT)

    def feed(self, trade: Print) -> None:
        """Take a trade. One of a minute that is over is added to that minute."""
        minutes = self._minutes
        if minutes and trade.ts_event < minutes[-1].end:
            for minute in reversed(minutes):
                if minute.start <= trade.ts_event:
                    if trade.ts_event < minute.end:
                        minute.add(trade)
                    return
            return
        minute = Kline(*MINUTE.period(trade.ts_event), trade.price)
        minute.add(trade)
        minutes.append(minute)

    def ask(
        self, interval: str, start: int | None, end: int | None, limit: int, trades: Prints
    ) -> list[Kline]:
        """Return klines that start within ``[start, end]``, in ns, oldest first, and at most so many.

        The first ones if there is a start, else the last. A period without a trade has the price before it.
        Those of seconds are made of the given trades; without a start, of the newest `LOOKED_AT`.
        """
        timeframe = INTERVALS[interval]
        if interval == "1s":
            looked_at = LOOKED_AT if start is None else len(trades)
            prints = trades.between(start, None, looked_at)
            made = _made(timeframe, ((one.ts_event, one.price, one) for one in prints), Kline.add)
        else:
            minutes = ((one.start, one.open, one) for one in self._minutes)
            made = _made(timeframe, minutes, Kline.join)
        found = (
            kline
            for kline in takewhile(
                lambda one: end is None or one.start <= end, _without_holes(made, timeframe)
            )
            if start is None or kline.start >= start
        )
        return list(deque(found, maxlen=limit) if start is None else islice(found, limit))


def _made(
    timeframe: Timeframe, parts: Iterable[tuple[int, int, Part]], take: Callable[[Kline, Part], None]
) -> Iterator[Kline]:
    """Make klines of parts, oldest first, each behind its time in ns and the price that it opens with."""
    kline: Kline | None = None
    for ts_event, price, part in parts:
        if kline is None or ts_event >= kline.end:
            if kline is not None:
                yield kline
            kline = Kline(*timeframe.period(ts_event), price)
        take(kline, part)
    if kline is not None:
        yield kline


def _without_holes(klines: Iterable[Kline], timeframe: Timeframe) -> Iterator[Kline]:
    """Yield the klines, and one without trades for each period between them."""
    before: Kline | None = None
    for kline in klines:
        while before is not None and before.end < kline.start:
            before = Kline(*timeframe.period(before.end), before.close)
            yield before
        yield kline
        before = kline
