"""What the venue knows of each symbol, by the events of its feed."""

from collections.abc import Sequence
from typing import Protocol

from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import BookSnapshot, MarketEvent, QuoteTick, TradeTick
from binance_proxy.sandbox.book import Checksums, VenueBook
from binance_proxy.sandbox.klines import Kline, Klines
from binance_proxy.sandbox.printing import binance_symbol
from binance_proxy.sandbox.prints import Aggregation, Prints, printed
from binance_proxy.sandbox.settings import SandboxSettings


class Symbol:
    """One symbol: its book, its trades, and what is made of them."""

    def __init__(self, instrument: Instrument, settings: SandboxSettings) -> None:
        self.instrument = instrument
        self.name = binance_symbol(instrument)
        self.trades = Prints(settings.history)
        self.aggregates = Prints(settings.history)
        self.aggregation = Aggregation()
        self.book = VenueBook(Checksums(instrument) if settings.checksums else None)
        self._minutes = Klines()
        self.is_aggregated = False
        """True if the feed gives aggregated prints only; single trades are then unknown."""
        self.events = 0
        """Trades and updates that came."""
        self.last_update_id: int | None = None
        """Of the newest update that came, whether or not the book could take it."""

    def take_trade(self, trade: TradeTick) -> None:
        """Keep a trade, or an aggregated print of the feed's own."""
        self.events += 1
        told = printed(trade)
        self.is_aggregated = trade.first_match_id is not None
        kept = self.aggregates if self.is_aggregated else self.trades
        if kept.add(told):
            self._minutes.feed(told)

    def klines(self, interval: str, start: int | None, end: int | None, limit: int) -> list[Kline]:
        """Return klines, as `Klines.ask` does."""
        trades = self.aggregates if self.is_aggregated else self.trades
        return self._minutes.ask(interval, start, end, limit, trades)


class Listener(Protocol):
    """Whoever is told what happens, in order."""

    def trade(self, symbol: Symbol, trade: TradeTick) -> None:
        """Hear of a single trade."""
        ...

    def aggregate(self, symbol: Symbol, trade: TradeTick) -> None:
        """Hear of an aggregate, once it is complete."""
        ...

    def quote(self, symbol: Symbol, quote: QuoteTick) -> None:
        """Hear of an update, once the book has taken it."""
        ...

    def end(self) -> None:
        """Hear that the feed has no more."""
        ...


class Venue:
    """All symbols, fed by one feed; tells one listener."""

    def __init__(self, instruments: Sequence[Instrument], settings: SandboxSettings) -> None:
        self.settings = settings
        self.symbols = {symbol.name: symbol for symbol in (Symbol(one, settings) for one in instruments)}
        self.has_ended = False
        """True once the feed has no more."""
        self.listener: Listener | None = None
        self.bookless: set[Instrument] = set()
        """Instruments of which a snapshot is needed."""
        self._by_instrument = {symbol.instrument: symbol for symbol in self.symbols.values()}

    def take(self, event: MarketEvent) -> None:
        """Let something happen. What is no event of a listed instrument is passed over."""
        if isinstance(event, TradeTick):
            symbol = self._by_instrument.get(event.instrument)
            if symbol is not None:
                self._trade(symbol, event)
        elif isinstance(event, QuoteTick):
            symbol = self._by_instrument.get(event.instrument)
            if symbol is not None:
                symbol.events += 1
                symbol.last_update_id = event.last_update_id
                self._aggregates(symbol, symbol.aggregation.advance(event.ts_event))
                symbol.book.update(event)
                if symbol.book.needs_snapshot:
                    self.bookless.add(event.instrument)
                if self.listener is not None:
                    self.listener.quote(symbol, event)
        elif isinstance(event, BookSnapshot):
            self.open_with(event)

    def open_with(self, snapshot: BookSnapshot) -> None:
        """Have the book of a snapshot, if there is none."""
        symbol = self._by_instrument.get(snapshot.instrument)
        if symbol is not None:
            symbol.book.snapshot(snapshot)

    def end(self) -> None:
        """Complete what is open: nothing more will happen."""
        for symbol in self.symbols.values():
            self._aggregates(symbol, symbol.aggregation.close())
        self.has_ended = True
        if self.listener is not None:
            self.listener.end()

    def _trade(self, symbol: Symbol, trade: TradeTick) -> None:
        symbol.take_trade(trade)
        if trade.first_match_id is None and self.listener is not None:
            self.listener.trade(symbol, trade)
        self._aggregates(symbol, symbol.aggregation.feed(trade))

    def _aggregates(self, symbol: Symbol, trades: Sequence[TradeTick]) -> None:
        for trade in trades:
            symbol.aggregates.add(printed(trade))
            if self.listener is not None:
                self.listener.aggregate(symbol, trade)
