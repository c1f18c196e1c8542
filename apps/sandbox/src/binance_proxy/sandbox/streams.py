"""The streams that can be subscribed to: how they are called, and what each prints when.

All timing is by the time of the events, so that a recording prints the same at any speed.

Source: Binance Spot, "WebSocket Streams".
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

from binance_proxy.domain.candle import SECOND_NS
from binance_proxy.domain.instrument import MILLISECOND_NS
from binance_proxy.domain.tick import Levels, QuoteTick, TradeTick
from binance_proxy.sandbox import printing
from binance_proxy.sandbox.frames import text_frame
from binance_proxy.sandbox.klines import INTERVALS, Kline
from binance_proxy.sandbox.prints import Print, printed
from binance_proxy.sandbox.venue import Symbol, Venue

_NAME = re.compile(
    r"(?P<symbol>[A-Za-z0-9_]+)@(?:(?P<plain>trade|aggTrade|bookTicker)"
    r"|depth(?P<levels>5|10|20)?(?:@(?P<speed>100|1000)ms)?"
    rf"|kline_(?P<interval>{'|'.join(INTERVALS)})"
    r"|(?P<unserved>miniTicker|ticker|ticker_(?:1h|4h|1d)|avgPrice|kline_\w+@\+08:00))"
)
_ALL_MARKET = re.compile(r"!(?:miniTicker|ticker|ticker_(?:1h|4h|1d))@arr|!bookTicker")

Printed = TypeVar("Printed")


class Manner(NamedTuple):
    """How a reader wants its events."""

    is_combined: bool = False
    """Whether the name of the stream comes with them."""
    unit_ns: int = MILLISECOND_NS
    """The unit of their times."""


class Reader(Protocol):
    """Whoever gets frames; a session, usually."""

    def push(self, stream: str, frame: bytes) -> None:
        """Take a frame of a stream. Never waits."""
        ...


def combined(stream: str, event: str) -> str:
    """Put the name of its stream around an event."""
    return f'{{"stream":"{stream}","data":{event}}}'


class Stream:
    """One stream of one symbol, while it has readers."""

    def __init__(self, name: str, symbol: Symbol) -> None:
        self.name = name
        self.symbol = symbol
        self._readers: dict[Manner, list[Reader]] = {}

    @property
    def readers(self) -> int:
        """How many there are."""
        return sum(map(len, self._readers.values()))

    def join(self, reader: Reader, manner: Manner) -> None:
        """Send a reader what comes from now on."""
        self._readers.setdefault(manner, []).append(reader)

    def leave(self, reader: Reader, manner: Manner) -> None:
        """Send a reader nothing more."""
        readers = self._readers[manner]
        readers.remove(reader)
        if not readers:
            del self._readers[manner]

    def send(self, write: Callable[[Printed, int], str], what: Printed) -> None:
        """Print something once for each manner, and hand it to all readers of that manner."""
        for manner, readers in self._readers.items():
            event = write(what, manner.unit_ns)
            frame = text_frame((combined(self.name, event) if manner.is_combined else event).encode())
            for reader in readers:
                reader.push(self.name, frame)

    def trade(self, trade: TradeTick) -> None:
        """Hear of a single trade."""

    def aggregate(self, trade: TradeTick) -> None:
        """Hear of a complete aggregate."""

    def quote(self, quote: QuoteTick) -> None:
        """Hear of an update that the book has taken."""

    def end(self) -> None:
        """Hear that nothing more will come."""


class TradeStream(Stream):
    """``@trade``."""

    def trade(self, trade: TradeTick) -> None:
        """Print it."""
        self.send(printing.trade_event, trade)


class AggregateStream(Stream):
    """``@aggTrade``."""

    def aggregate(self, trade: TradeTick) -> None:
        """Print it."""
        self.send(printing.aggregate_event, trade)


class DepthStream(Stream):
    """``@depth@100ms``: every update of the feed at once, as it came."""

    def quote(self, quote: QuoteTick) -> None:
        """Print it."""
        self.send(printing.depth_event, quote)


class SlowDepthStream(Stream):
    """``@depth``: the updates of one second in one."""

    def __init__(self, name: str, symbol: Symbol) -> None:
        super().__init__(name, symbol)
        self._waiting: list[QuoteTick] = []

    def quote(self, quote: QuoteTick) -> None:
        """Keep it; print those before if they are of an earlier second."""
        if self._waiting and quote.ts_event // SECOND_NS > self._waiting[-1].ts_event // SECOND_NS:
            self.end()
        self._waiting.append(quote)

    def end(self) -> None:
        """Print what waits."""
        if self._waiting:
            self.send(printing.depth_event, merged(self._waiting))
            self._waiting.clear()


class PartialDepthStream(Stream):
    """``@depth5``, ``@depth10``, ``@depth20``: the best levels, after an update, at most every so often."""

    def __init__(self, name: str, symbol: Symbol, levels: int, every_ns: int) -> None:
        super().__init__(name, symbol)
        self._levels = levels
        self._every_ns = every_ns
        self._printed_at = 0

    def quote(self, quote: QuoteTick) -> None:
        """Print the book if it is time."""
        book = self.symbol.book.now
        if book is None or quote.ts_event - self._printed_at < self._every_ns:
            return
        self._printed_at = quote.ts_event
        bids, asks = book.depth(self._levels)
        text = printing.partial_depth(book.last_update_id, bids, asks, self.symbol.instrument)
        self.send(_as_it_is, text)


class BookTickerStream(Stream):
    """``@bookTicker``: best bid and best ask, whenever one of them changed."""

    def __init__(self, name: str, symbol: Symbol) -> None:
        super().__init__(name, symbol)
        self._best: tuple[Levels, Levels] | None = None

    def quote(self, quote: QuoteTick) -> None:
        """Print the best prices if they are others than before."""
        book = self.symbol.book.now
        if book is None or (best := book.depth(1)) == self._best:
            return
        self._best = best
        texts = printing.best_texts(*best, self.symbol.instrument)
        self.send(_as_it_is, printing.book_ticker_event(book.last_update_id, texts, self.symbol.name))


class KlineStream(Stream):
    """``@kline_<interval>``: the open kline every 2 s (``1s``: every second) if it changed, and its end."""

    def __init__(self, name: str, symbol: Symbol, interval: str) -> None:
        super().__init__(name, symbol)
        self._interval = interval
        self._every_ns = SECOND_NS if interval == "1s" else 2 * SECOND_NS
        newest = symbol.klines(interval, None, None, 1)
        self._kline: Kline | None = newest[-1] if newest else None
        self._printed_at = 0

    def trade(self, trade: TradeTick) -> None:
        """Add it."""
        self._add(printed(trade))

    def aggregate(self, trade: TradeTick) -> None:
        """Add it, if single trades are unknown."""
        if self.symbol.is_aggregated:
            self._add(printed(trade))

    def quote(self, quote: QuoteTick) -> None:
        """Close the kline if its time is over."""
        self._close_before(quote.ts_event)

    def _add(self, trade: Print) -> None:
        self._close_before(trade.ts_event)
        if self._kline is None:
            self._kline = Kline(*INTERVALS[self._interval].period(trade.ts_event), trade.price)
        if trade.ts_event < self._kline.start:
            return
        self._kline.add(trade)
        if trade.ts_event - self._printed_at >= self._every_ns:
            self._print(trade.ts_event, closed=False)

    def _close_before(self, ts_event: int) -> None:
        if self._kline is not None and ts_event >= self._kline.end:
            self._print(ts_event, closed=True)
            self._kline = None

    def _print(self, at: int, *, closed: bool) -> None:
        self._printed_at = at
        kline, interval, instrument = self._kline, self._interval, self.symbol.instrument
        if kline is not None:
            self.send(
                lambda one, unit_ns: printing.kline_event(one, interval, instrument, (at, closed), unit_ns),
                kline,
            )


class BadName(ValueError):
    """No stream is called so."""


class Streams:
    """All streams that have readers, as the listener of a venue."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._live: dict[str, Stream] = {}
        self._of_symbol: dict[str, list[Stream]] = {name: [] for name in venue.symbols}

    def readers(self, symbol: str) -> int:
        """Return how many subscriptions a symbol has."""
        return sum(stream.readers for stream in self._of_symbol[symbol])

    def followed(self, names: Sequence[str]) -> set[str]:
        """Return the symbols whose whole books are followed by streams of these names."""
        matches = [match for name in names if (match := _NAME.fullmatch(name))]
        return {
            match["symbol"].upper()
            for match in matches
            if "@depth" in match[0] and not match["levels"] and match["symbol"].upper() in self._venue.symbols
        }

    @staticmethod
    def check(name: str) -> None:
        """Raise `BadName` for what is no name of a stream."""
        if not (_NAME.fullmatch(name) or _ALL_MARKET.fullmatch(name)):
            raise BadName(f"unknown stream {name}")

    def join(self, name: str, reader: Reader, manner: Manner) -> None:
        """Send a reader what a stream prints. One of an unknown symbol prints nothing."""
        stream = self._live.get(name) or self._made(name)
        if stream is None:
            return
        if name not in self._live:
            self._live[name] = stream
            self._of_symbol[stream.symbol.name].append(stream)
        stream.join(reader, manner)

    def leave(self, name: str, reader: Reader, manner: Manner) -> None:
        """Send a reader nothing more of a stream that it joined in this manner."""
        stream = self._live.get(name)
        if stream is None:
            return
        stream.leave(reader, manner)
        if not stream.readers:
            del self._live[name]
            self._of_symbol[stream.symbol.name].remove(stream)

    def trade(self, symbol: Symbol, trade: TradeTick) -> None:
        """Print a single trade wherever it belongs."""
        for stream in self._of_symbol[symbol.name]:
            stream.trade(trade)

    def aggregate(self, symbol: Symbol, trade: TradeTick) -> None:
        """Print an aggregate wherever it belongs."""
        for stream in self._of_symbol[symbol.name]:
            stream.aggregate(trade)

    def quote(self, symbol: Symbol, quote: QuoteTick) -> None:
        """Print an update, and what it did to the book."""
        for stream in self._of_symbol[symbol.name]:
            stream.quote(quote)

    def end(self) -> None:
        """Print what still waits."""
        for stream in self._live.values():
            stream.end()

    def _made(self, name: str) -> Stream | None:
        match = _NAME.fullmatch(name)
        if match is None or match["unserved"] or name.partition("@")[0] != match["symbol"].lower():
            return None
        symbol = self._venue.symbols.get(match["symbol"].upper())
        if symbol is None:
            return None
        if match["plain"]:
            kind = {"trade": TradeStream, "aggTrade": AggregateStream, "bookTicker": BookTickerStream}
            return kind[match["plain"]](name, symbol)
        if match["interval"]:
            return KlineStream(name, symbol, match["interval"])
        every_ms = int(match["speed"] or 1_000)
        if match["levels"]:
            return PartialDepthStream(name, symbol, int(match["levels"]), every_ms * MILLISECOND_NS)
        return DepthStream(name, symbol) if every_ms == 100 else SlowDepthStream(name, symbol)


def merged(quotes: Sequence[QuoteTick]) -> QuoteTick:
    """Return one update that does what several do, at the time of the last."""
    first, last = quotes[0], quotes[-1]
    if first is last:
        return first
    bids = {price: size for quote in quotes for price, size in quote.bids}
    asks = {price: size for quote in quotes for price, size in quote.asks}
    return QuoteTick(
        instrument=last.instrument,
        ts_event=last.ts_event,
        ts_recv=last.ts_recv,
        first_update_id=first.first_update_id,
        last_update_id=last.last_update_id,
        bids=tuple(bids.items()),
        asks=tuple(asks.items()),
    )


def _as_it_is(text: str, _: int) -> str:
    """Print what has no time in it."""
    return text
