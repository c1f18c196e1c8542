"""Any exchange of ccxt's as a market feed, by the calls that are the same for all of them.

They keep less than a venue's own frames do: ``docs/reference/ccxt-feed.md`` says what is lost.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from binance_proxy.adapters.ccxt.books import WatchedBook
from binance_proxy.adapters.ccxt.exchange import open_exchange, translated
from binance_proxy.adapters.ccxt.inbox import Inbox
from binance_proxy.adapters.ccxt.markets import MADE_UP, instrument_of
from binance_proxy.adapters.ccxt.patience import patient
from binance_proxy.adapters.ccxt.settings import Ccxt
from binance_proxy.adapters.ccxt.watch import Watch, Watched
from binance_proxy.application.ports import Clock, FeedRejected, FeedUnavailable, TrackedPair
from binance_proxy.domain.instrument import Instrument, Market, Stream
from binance_proxy.domain.tick import BadFrame, Disconnect, MarketEvent

INBOX = 1_000
"""Batches that may wait to be read; each is what one look has found."""

log = logging.getLogger(__name__)


class UnifiedFeed:
    """A live feed of one exchange: trades and books of spot pairs. One stream is read at a time."""

    def __init__(
        self, settings: Ccxt, clock: Clock, *, silence_s: float = 30.0, longest_pause_s: float = 30.0
    ) -> None:
        """Take the exchange; nothing is opened before `instruments` or `stream`.

        After ``silence_s`` without anything at all every connection is given up and made anew. Attempts are
        at most ``longest_pause_s`` apart, each pause drawn at random.
        """
        self._settings = settings
        self._clock = clock
        self._silence_s = silence_s
        self._longest_pause_s = longest_pause_s
        self._markets: Sequence[Mapping[str, Any]] = ()
        self._books: dict[Instrument, WatchedBook] = {}
        self._is_read = False
        self._wanted = asyncio.Event()  # there is something to be watched
        self._watching: Watch | None = None
        self._failing: set[Watched] = set()
        self._unheard: set[Watched] = set()
        self._warned: set[tuple[str, Market]] = set()
        self._ts_recv = 0

    async def instruments(self, wanted: Sequence[TrackedPair]) -> Sequence[Instrument]:
        """Describe the wanted pairs that are enabled and that the exchange has; warn once of each other one.

        Raises:
            FeedRejected: The exchange does not stream trades and books, or refuses. The message says what to
                change.
            FeedUnavailable: The exchange is away for now.
        """
        asked = dict.fromkeys((pair.symbol, pair.market) for pair in wanted if pair.enabled)
        if not asked:
            return ()
        async with open_exchange(self._settings) as exchange:
            await self._load(exchange)
            described = (
                instrument_of(market, self._settings.exchange, exchange.precisionMode)
                for market in self._markets
            )
            listed = {(one.symbol, one.market): one for one in described if one is not None}
        for symbol, market in asked:
            if (symbol, market) not in listed and (symbol, market) not in self._warned:
                self._warned.add((symbol, market))
                log.warning(
                    "%s has no %s on %s that is traded: left out", self._settings.exchange, symbol, market
                )
        return tuple(listed[pair] for pair in asked if pair in listed)

    async def stream(self, instruments: Sequence[Instrument]) -> AsyncGenerator[MarketEvent]:
        """Yield trades, a snapshot of each book, and its updates, as ccxt hands them over.

        Raises:
            FeedRejected: The exchange refuses all of the pairs from the start, or does not stream at all. Any
                other refusal of a pair is a `Disconnect`, and nothing more comes of it.
        """
        self._refuse_others(instruments)
        self._books = {instrument: WatchedBook(instrument) for instrument in instruments}
        self._failing.clear()
        self._unheard = {(instrument, stream) for instrument in instruments for stream in Stream}
        self._is_read = True
        try:
            while True:
                await self._until_somebody_is_watched()
                inbox = Inbox(INBOX)
                async with open_exchange(self._settings) as exchange:
                    watching = asyncio.create_task(self._watch(exchange, inbox))
                    try:
                        while (batch := await self._next(inbox)) is not None:
                            for event in batch:
                                if self._is_watched(event):
                                    yield event
                    finally:
                        watching.cancel()
                        await asyncio.wait({watching})
                        self._watching = None
                if lost := self._lose_all():
                    yield lost
        finally:
            self._is_read = False

    def resync(self, instrument: Instrument) -> None:
        """Let a snapshot come with the next change of the book. Does nothing if it is not being streamed."""
        book = self._books.get(instrument)
        if book is not None:
            book.ask()

    def follow(self, instruments: Sequence[Instrument]) -> None:
        """Give these from now on, and no others; the connection stays. Returns at once.

        What is watched no more may go on to come from the exchange until the next connection; it is dropped.
        Does nothing if no stream is being read.

        Raises:
            FeedRejected: An instrument belongs to another venue.
        """
        if not self._is_read:
            return
        self._refuse_others(instruments)
        if set(instruments) != set(self._books):
            self._unheard.clear()  # it has more to do than what it began with, or may soon have
        for gone in set(self._books) - set(instruments):
            del self._books[gone]
            self._failing -= {(gone, stream) for stream in Stream}
        for instrument in instruments:
            self._books.setdefault(instrument, WatchedBook(instrument))
        if self._watching is not None:
            self._watching.follow(self._books)
        self._wanted.set()

    def _refuse_others(self, instruments: Sequence[Instrument]) -> None:
        for instrument in instruments:
            if instrument.venue not in {self._settings.exchange, MADE_UP}:
                raise FeedRejected(
                    f"{instrument.name} is not of {self._settings.exchange}: use the feed's own instruments"
                )

    def _is_watched(self, event: MarketEvent) -> bool:
        """Say whether an event that has waited is still wanted."""
        if isinstance(event, BadFrame):
            return True
        about = event.instruments if isinstance(event, Disconnect) else (event.instrument,)
        return not self._books.keys().isdisjoint(about)

    async def _until_somebody_is_watched(self) -> None:
        while not self._books:
            self._wanted.clear()
            await self._wanted.wait()

    async def _watch(self, exchange: Any, inbox: Inbox) -> None:  # noqa: ANN401  ccxt has no types
        """Fill the inbox until cancelled; what ends it is for the reader to meet."""
        try:
            if not self._markets:
                await self._load_patiently(exchange)
            exchange.set_markets(list(self._markets))
            watch = Watch(
                exchange,
                self._settings,
                inbox,
                now=self._now,
                failing=self._failing,
                unheard=self._unheard,
                longest_pause_s=self._longest_pause_s,
            )
            self._watching = watch
            await watch.run(self._books)
        except Exception as error:  # noqa: BLE001  whatever it is, nobody else would hear of it
            inbox.fail(error)

    async def _next(self, inbox: Inbox) -> Sequence[MarketEvent] | None:
        """Return the next events, `None` if there were none for too long."""
        try:
            async with asyncio.timeout(self._silence_s):
                return await inbox.take()
        except TimeoutError:
            return None

    def _lose_all(self) -> Disconnect | None:
        """Give up all books; tell of those pairs of which it was not told yet."""
        silent = [one for one in self._books if not any(one == failing for failing, _ in self._failing)]
        for book in self._books.values():
            book.lose_step()
        if not silent:
            return None
        reason = f"nothing came from {self._settings.exchange} for {self._silence_s:g} s"
        return Disconnect(instruments=tuple(silent), ts_recv=self._now(), reason=reason)

    async def _load(self, exchange: Any) -> None:  # noqa: ANN401  ccxt has no types
        """Ask for the markets.

        Raises:
            FeedRejected: It cannot stream, or refuses.
            FeedUnavailable: It is away.
        """
        if not (exchange.has.get("watchTrades") and exchange.has.get("watchOrderBook")):
            raise FeedRejected(
                f"ccxt cannot stream both trades and books of {self._settings.exchange}: set another"
                " feed.ccxt.exchange"
            )
        try:
            self._markets = await exchange.fetch_markets()
        except Exception as error:
            raise translated(error, self._settings) from error
        if not self._markets:
            raise FeedUnavailable(f"{self._settings.exchange} lists no markets at the moment")

    async def _load_patiently(self, exchange: Any) -> None:  # noqa: ANN401  ccxt has no types
        await patient(self._load, self._longest_pause_s)(exchange)

    def _now(self) -> int:
        """Return the time of receipt, which never runs backwards within a feed."""
        self._ts_recv = max(self._ts_recv, self._clock.now())
        return self._ts_recv
