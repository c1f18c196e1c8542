"""Asks one exchange object of ccxt for the news of several pairs, again and again, whatever happens."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

from binance_proxy.adapters.ccxt.books import WatchedBook
from binance_proxy.adapters.ccxt.exchange import translated
from binance_proxy.adapters.ccxt.inbox import Inbox
from binance_proxy.adapters.ccxt.patience import patient
from binance_proxy.adapters.ccxt.settings import Ccxt
from binance_proxy.adapters.ccxt.trades import trade_of
from binance_proxy.application.ports import FeedRejected, FeedUnavailable, FrameRejected
from binance_proxy.domain.instrument import Instrument, Stream
from binance_proxy.domain.tick import BadFrame, Disconnect, MarketEvent

log = logging.getLogger(__name__)

TRADES_LIMIT = 20_000
"""So many trades of a pair ccxt keeps between two looks; of more it forgets the oldest."""

Watched: TypeAlias = tuple[Instrument, Stream]
_Look: TypeAlias = Callable[[WatchedBook], Awaitable[Sequence[MarketEvent]]]


class Watch:
    """Puts into an inbox what ccxt's ``watch_trades`` and ``watch_order_book`` return."""

    def __init__(
        self,
        exchange: Any,  # noqa: ANN401  ccxt has no types
        settings: Ccxt,
        inbox: Inbox,
        *,
        now: Callable[[], int],
        failing: set[Watched],
        unheard: set[Watched],
        longest_pause_s: float,
    ) -> None:
        """Take what is asked and who is told.

        ``failing`` is kept up to date with what does not answer, and ``unheard`` with what never did of what
        the stream began with.
        """
        exchange.options["tradesLimit"] = TRADES_LIMIT
        self._attempts = _look_after_clients(exchange)
        self._exchange = exchange
        self._settings = settings
        self._inbox = inbox
        self._now = now
        self._failing = failing
        self._unheard = unheard
        self._longest_pause_s = longest_pause_s
        self._group: asyncio.TaskGroup | None = None
        self._watching: dict[WatchedBook, asyncio.Task[None]] = {}
        self._refused: asyncio.Future[FeedRejected] = asyncio.get_running_loop().create_future()

    async def run(self, books: Mapping[Instrument, WatchedBook]) -> None:
        """Watch the trades and the book of each instrument until cancelled.

        One that the exchange refuses is watched no more; the others are, and what is followed later.

        Raises:
            FeedRejected: The exchange refuses all that the stream began with, and has never given any of it.
        """
        try:
            async with asyncio.TaskGroup() as self._group:
                self.follow(books)
                raise await self._refused
        except ExceptionGroup as group_error:
            raise _first(group_error) from group_error
        finally:
            self._group = None
            for attempt in self._attempts:
                attempt.cancel()

    def follow(self, books: Mapping[Instrument, WatchedBook]) -> None:
        """Watch these from now on, and no others. Does nothing before `run` and after it."""
        if self._group is None:
            return
        for book in set(self._watching) - set(books.values()):
            self._watching.pop(book).cancel()
        for book in books.values():
            if book not in self._watching:
                self._watching[book] = self._group.create_task(self._watch(book))

    async def _watch(self, book: WatchedBook) -> None:
        """Watch one instrument until it is refused."""
        self._forget_trades(book)  # of a time in which it was not watched
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._repeat(book, Stream.TRADES, self._trades))
                group.create_task(self._repeat(book, Stream.ORDERBOOK, self._book))
        except* FeedRejected as refused:
            error = _first(refused)
            assert isinstance(error, FeedRejected)  # noqa: S101  nothing else is caught
            self._refuse(book, error)
            others = (task for one, task in self._watching.items() if one is not book)
            if all(task.done() for task in others) and self._never_began() and not self._refused.done():
                self._refused.set_result(error)

    def _never_began(self) -> bool:
        """Say whether what is watched is what the stream began with, and none of it was ever given."""
        return all(not self._unheard.isdisjoint(_watched(book)) for book in self._watching)

    async def _repeat(self, book: WatchedBook, stream: Stream, look: _Look) -> None:
        watched = book.instrument, stream
        look_again = patient(look, self._longest_pause_s, lambda error: self._lose(book, watched, error))
        while True:
            await self._inbox.room()
            found = await look_again(book)
            self._failing.discard(watched)
            self._unheard.discard(watched)
            book.is_refused = book.is_refused and not self._failing.isdisjoint(_watched(book))
            self._inbox.put(found)

    def _lose(self, book: WatchedBook, watched: Watched, error: FeedUnavailable) -> None:
        """Tell of a lost connection, once for as long as it stays lost."""
        if watched not in self._failing:
            self._failing.add(watched)
            book.lose_step()
            self._inbox.put([self._disconnect(book.instrument, str(error))])

    def _refuse(self, book: WatchedBook, error: FeedRejected) -> None:
        """Tell of an instrument of which nothing comes any more; once for as long as it stays so."""
        if not book.is_refused:
            log.error("%s is recorded no further: %s", book.instrument.name, error)
        if not (book.is_refused and self._failing >= _watched(book)):
            book.lose_step()
            self._inbox.put([self._disconnect(book.instrument, str(error))])
        book.is_refused = True
        self._failing |= _watched(book)

    async def _trades(self, book: WatchedBook) -> Sequence[MarketEvent]:
        symbol = book.instrument.symbol
        found = await self._answer(self._exchange.watch_trades(symbol))
        ts_recv = self._now()
        self._forget_trades(book)  # all of them were returned; they would be copied at every look
        events: list[MarketEvent] = []
        if len(found) >= TRADES_LIMIT:
            book.lose_step()
            events.append(self._disconnect(book.instrument, f"{TRADES_LIMIT} trades at once overflowed ccxt"))
        for raw in found:
            try:
                events.append(trade_of(raw, book.instrument, ts_recv))
            except FrameRejected as error:
                events.append(self._bad(error, Stream.TRADES, ts_recv))
        return events

    def _forget_trades(self, book: WatchedBook) -> None:
        cache = (self._exchange.trades or {}).get(book.instrument.symbol)
        if cache is not None:
            cache.clear()

    async def _book(self, book: WatchedBook) -> Sequence[MarketEvent]:
        state = await self._answer(self._exchange.watch_order_book(book.instrument.symbol))
        ts_recv = self._now()
        try:
            return book.feed(state, ts_recv)
        except FrameRejected as error:
            events: list[MarketEvent] = [self._bad(error, Stream.ORDERBOOK, ts_recv)]
            if book.is_in_step:  # from now on it is not, and whoever has it must not go on as if it were
                book.lose_step()
                events.append(self._disconnect(book.instrument, f"a book that cannot be used: {error}"))
            return events

    async def _answer(self, question: Awaitable[Any]) -> Any:  # noqa: ANN401  ccxt has no types
        """Return ccxt's answer, or raise what its error means."""
        try:
            return await question
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # ccxt cancels whoever waits on a connection that it gives up because of somebody else's pair.
            raise FeedUnavailable(f"ccxt gave up a connection to {self._settings.exchange}") from None
        except Exception as error:
            raise translated(error, self._settings) from error

    def _disconnect(self, instrument: Instrument, reason: str) -> Disconnect:
        return Disconnect(instruments=(instrument,), ts_recv=self._now(), reason=reason)

    def _bad(self, error: FrameRejected, stream: Stream, ts_recv: int) -> BadFrame:
        where = f"{stream} of {self._settings.exchange} by way of ccxt"
        return BadFrame(kind=error.kind, where=where, detail=error.detail, ts_recv=ts_recv)


def _watched(book: WatchedBook) -> set[Watched]:
    return {(book.instrument, Stream.TRADES), (book.instrument, Stream.ORDERBOOK)}


def _first(group: ExceptionGroup[Exception]) -> Exception:
    """Return the first error that a group holds, however deep."""
    error: Exception = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _look_after_clients(exchange: Any) -> set[asyncio.Task[None]]:  # noqa: ANN401  ccxt has no types
    """Mend what ccxt's clients leave undone; return their attempts to connect, as they come and go.

    A frame that a client cannot read ends its connection with an error. Otherwise ccxt would read that
    connection no more, and tell nobody: the error is lost in a callback. And an attempt to connect, which
    ccxt forgets once it is begun, can be cancelled.
    """
    make, attempts = exchange.client, set[asyncio.Task[None]]()

    def client(url: str) -> Any:  # noqa: ANN401
        made = make(url)
        if "handle_message" in vars(made):
            return made
        handle, dial = made.handle_message, made.open

        def handle_message(message: object) -> None:
            try:
                handle(message)
            except Exception as error:  # noqa: BLE001  of a broken frame ccxt makes errors of any kind
                made.on_error(error)

        async def attempt(session: object, pause_s: float = 0) -> None:
            if task := asyncio.current_task():
                attempts.add(task)
                task.add_done_callback(attempts.discard)
            await dial(session, pause_s)

        made.handle_message, made.open = handle_message, attempt
        return made

    exchange.client = client
    return attempts
