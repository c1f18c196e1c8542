"""How ccxt is asked, and what becomes of its errors; ccxt itself is played by a script."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from binance_proxy.adapters.ccxt import watch
from binance_proxy.adapters.ccxt.books import WatchedBook
from binance_proxy.adapters.ccxt.inbox import Inbox
from binance_proxy.adapters.ccxt.settings import Ccxt
from binance_proxy.adapters.ccxt.watch import Watch, Watched
from binance_proxy.application.ports import FeedRejected
from binance_proxy.domain.instrument import Instrument, Market, Stream
from binance_proxy.domain.tick import BadFrame, BookSnapshot, Disconnect, MarketEvent, QuoteTick, TradeTick

ETH, SOL = (Instrument(venue="kraken", market=Market.SPOT, symbol=f"{base}/USDT") for base in ("ETH", "SOL"))
NOW = 1_760_000_000_000_000_000


class NetworkError(Exception):
    pass


class BadSymbol(Exception):
    pass


def began(*instruments: Instrument) -> set[Watched]:
    return {(instrument, stream) for instrument in instruments or (ETH,) for stream in Stream}


def trade(number: int, **changed: Any) -> dict[str, Any]:
    known = {"id": str(number), "timestamp": 1_760_000_000_000, "side": "buy", "price": 3.5, "amount": 1.0}
    return known | changed


def book(size: float) -> dict[str, Any]:
    return {"bids": [[3.0, size]], "asks": [[4.0, 1.0]], "timestamp": 1_760_000_000_000}


class ScriptedExchange:
    """Gives what it was told to, one thing a look, and then nothing more."""

    def __init__(self, trades: list[Any], books: list[Any]) -> None:
        self.options: dict[str, Any] = {}
        self.trades: dict[str, Any] = {}
        self._trades, self._books = deque(trades), deque(books)

    def client(self, _url: str) -> Any:
        raise AssertionError("a script needs no connection")

    async def watch_trades(self, _symbol: str) -> Any:
        return await self._next(self._trades)

    async def watch_order_book(self, _symbol: str) -> Any:
        return await self._next(self._books)

    async def _next(self, script: deque[Any]) -> Any:
        if not script:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        step = script.popleft()
        if step == "cancelled":
            given_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            given_up.cancel()
            await given_up
        if isinstance(step, Exception):
            raise step
        return step


async def watched(
    trades: list[Any], books: list[Any], enough: Callable[[list[MarketEvent]], bool]
) -> tuple[list[MarketEvent], ScriptedExchange]:
    exchange, inbox, events = ScriptedExchange(trades, books), Inbox(100), []
    asking = Watch(
        exchange,
        Ccxt(exchange="kraken"),
        inbox,
        now=lambda: NOW,
        failing=set(),
        unheard=began(),
        longest_pause_s=0.001,
    )
    task = asyncio.create_task(asking.run({ETH: WatchedBook(ETH)}))
    task.add_done_callback(lambda done: done.cancelled() or inbox.fail(done.exception()))
    try:
        async with asyncio.timeout(60):
            while not enough(events):
                events.extend(await inbox.take())
    finally:
        task.cancel()
        await asyncio.wait({task})
    return events, exchange


def kinds(events: list[MarketEvent], *wanted: type) -> list[MarketEvent]:
    return [event for event in events if isinstance(event, wanted)]


async def test_all_trades_of_a_look_and_every_change_of_the_book_come() -> None:
    events, exchange = await watched(
        [[trade(1), trade(2)], [trade(3)]], [book(1.0), book(2.0)], lambda events: len(events) == 5
    )
    assert [event.trade_id for event in kinds(events, TradeTick)] == [1, 2, 3]
    assert [type(event) for event in kinds(events, BookSnapshot, QuoteTick)] == [BookSnapshot, QuoteTick]
    assert exchange.options["tradesLimit"] == watch.TRADES_LIMIT


@pytest.mark.parametrize(
    "failure", [NetworkError("the line is down"), KeyError("p"), TimeoutError(), "cancelled"], ids=str
)
async def test_a_failure_is_one_disconnect_and_then_a_snapshot_that_does_not_follow(failure: Any) -> None:
    events, _ = await watched(
        [],
        [book(1.0), book(2.0), failure, failure, failure, book(3.0), book(4.0)],
        lambda events: len(events) == 5,
    )
    first, second, lost, again, after = events
    assert isinstance(lost, Disconnect)
    assert lost.instruments == (ETH,)
    assert "kraken" in lost.reason
    assert isinstance(first, BookSnapshot)
    assert isinstance(second, QuoteTick)
    assert isinstance(again, BookSnapshot)
    assert isinstance(after, QuoteTick)
    assert again.last_update_id > second.last_update_id + 1
    assert after.first_update_id == again.last_update_id + 1


async def test_after_lost_trades_the_book_is_whole_again_too() -> None:
    events, _ = await watched(
        [NetworkError("gone"), [trade(1)]], [], lambda events: bool(kinds(events, TradeTick))
    )
    assert [type(event) for event in events] == [Disconnect, TradeTick]


async def test_a_book_that_goes_on_while_trades_fail_begins_anew_once() -> None:
    failures: list[Any] = [NetworkError("gone")] * 20
    events, _ = await watched(
        [*failures, [trade(1)]],
        [book(float(size)) for size in range(1, 200)],
        lambda events: bool(kinds(events, TradeTick)) and len(events) > 100,
    )
    assert len(kinds(events, Disconnect)) == 1
    assert 1 <= len(kinds(events, BookSnapshot)) <= 2  # a book may have come before the first failure


async def test_trades_that_overflowed_ccxt_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "TRADES_LIMIT", 3)
    events, exchange = await watched(
        [[trade(1), trade(2)], [trade(5), trade(6), trade(7)]], [], lambda events: len(events) >= 6
    )
    assert [type(event) for event in events] == [TradeTick] * 2 + [Disconnect] + [TradeTick] * 3
    assert exchange.options["tradesLimit"] == 3


async def test_what_ccxt_keeps_is_thrown_away_once_it_was_read() -> None:
    exchange_trades = [trade(1)]

    class Cleared(ScriptedExchange):
        async def watch_trades(self, symbol: str) -> Any:
            found = await super().watch_trades(symbol)
            self.trades[symbol] = exchange_trades
            return list(found)

    exchange, inbox = Cleared([[trade(1)]], []), Inbox(10)
    asking = Watch(
        exchange, Ccxt(), inbox, now=lambda: NOW, failing=set(), unheard=began(), longest_pause_s=0.001
    )
    task = asyncio.create_task(asking.run({ETH: WatchedBook(ETH)}))
    await inbox.take()
    task.cancel()
    await asyncio.wait({task})
    assert exchange_trades == []


async def test_what_cannot_be_used_is_a_bad_frame_and_the_rest_comes() -> None:
    events, _ = await watched(
        [[trade(1), trade(2, price=0.1 + 0.2), trade(3)]],
        [book(0.1 + 0.2), book(1.0)],
        lambda events: len(events) == 5,
    )
    assert [event.trade_id for event in kinds(events, TradeTick)] == [1, 3]
    bad = kinds(events, BadFrame)
    assert len(bad) == 2
    assert {event.kind for event in bad} == {"impossible number"}
    assert kinds(events, BookSnapshot)


async def test_a_book_that_cannot_be_used_is_not_passed_off_as_right() -> None:
    bad = book(0.1 + 0.2)
    events, _ = await watched(
        [], [book(1.0), bad, bad, book(2.0), book(3.0)], lambda events: len(events) >= 6
    )
    assert [type(event) for event in events] == [
        BookSnapshot,
        BadFrame,
        Disconnect,
        BadFrame,
        BookSnapshot,
        QuoteTick,
    ]


async def test_a_watch_ends_once_all_is_refused() -> None:
    with pytest.raises(FeedRejected, match="no such pair"):
        await watched([BadSymbol("no such pair")], [book(1.0)], lambda _: False)


async def test_a_pair_that_is_refused_while_nothing_else_is_watched_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It may have been followed later, or recorded before; others may be followed after it."""
    exchange, inbox, events = OneRefused(["trades", "book"], after=0), Inbox(100), list[MarketEvent]()
    asking = Watch(
        exchange, Ccxt(), inbox, now=lambda: NOW, failing=set(), unheard=set(), longest_pause_s=0.001
    )
    books = {ETH: WatchedBook(ETH)}
    task = asyncio.create_task(asking.run(books))
    try:
        async with asyncio.timeout(60):
            events.extend(await inbox.take())
            books[SOL] = WatchedBook(SOL)
            asking.follow(books)
            while not kinds(events, TradeTick):
                events.extend(await inbox.take())
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait({task})
    assert [event.instruments for event in kinds(events, Disconnect)] == [(ETH,)]
    assert "kraken.spot.ethusdt is recorded no further: " in caplog.text


async def test_what_was_heard_and_is_refused_later_ends_nothing() -> None:
    exchange, inbox, failing, unheard = OneRefused(["trades"]), Inbox(100), set[Watched](), began(ETH)
    asking = Watch(
        exchange, Ccxt(), inbox, now=lambda: NOW, failing=failing, unheard=unheard, longest_pause_s=0.001
    )
    task = asyncio.create_task(asking.run({ETH: WatchedBook(ETH)}))
    events = list[MarketEvent]()
    async with asyncio.timeout(60):
        while not kinds(events, Disconnect):
            events.extend(await inbox.take())
    await asyncio.wait({task}, timeout=0.05)
    assert not task.done()
    task.cancel()
    await asyncio.wait({task})


class OneRefused(ScriptedExchange):
    """Refuses some of ETH after so many looks."""

    def __init__(self, refused: Sequence[str], after: int = 10) -> None:
        super().__init__([], [])
        self.after = after
        self.refused = refused
        self.looks: Counter[tuple[str, str]] = Counter()

    async def watch_trades(self, symbol: str) -> Any:
        return [trade(await self._look("trades", symbol))]

    async def watch_order_book(self, symbol: str) -> Any:
        return book(float(await self._look("book", symbol)))

    async def _look(self, what: str, symbol: str) -> int:
        await asyncio.sleep(0.001)
        self.looks[what, symbol] += 1
        if symbol == "ETH/USDT" and what in self.refused and self.looks.total() > self.after:
            raise BadSymbol("delisted")
        return self.looks[what, symbol]


@pytest.mark.parametrize("refused", [("trades", "book"), ("trades",), ("book",)], ids=str)
async def test_one_pair_that_is_refused_is_told_of_once_and_the_others_go_on(
    refused: Sequence[str], caplog: pytest.LogCaptureFixture
) -> None:
    exchange, events = OneRefused(refused), list[MarketEvent]()
    books, failing = {one: WatchedBook(one) for one in (ETH, SOL)}, set()
    for _ in range(2):  # as after silence, when all is watched anew
        inbox = Inbox(100)
        asking = Watch(
            exchange,
            Ccxt(),
            inbox,
            now=lambda: NOW,
            failing=failing,
            unheard=began(ETH, SOL),
            longest_pause_s=0.001,
        )
        task = asyncio.create_task(asking.run(books))
        enough = len(events) + 100
        async with asyncio.timeout(60):
            while len(events) < enough:
                events.extend(await inbox.take())
        assert not task.done()
        task.cancel()
        await asyncio.wait({task})
    lost = kinds(events, Disconnect)
    assert {event.instruments for event in lost} == {(ETH,)}
    assert len(lost) <= 3 - len(refused)  # what is not refused comes for a moment when all is watched anew
    last = max(number for number, event in enumerate(events) if isinstance(event, Disconnect))
    assert {event.instrument for event in events[last + 1 :]} == {SOL}
    (said,) = caplog.records
    assert "kraken.spot.ethusdt is recorded no further" in said.getMessage()
    assert {stream for one, stream in failing if one == ETH} == {Stream.TRADES, Stream.ORDERBOOK}


async def test_a_mistake_of_our_own_is_met_by_the_reader() -> None:
    class Mistaken(WatchedBook):
        def feed(self, raw: Any, ts_recv: int) -> Any:
            raise ZeroDivisionError("a mistake")

    exchange = ScriptedExchange([], [book(1.0)])
    asking = Watch(
        exchange, Ccxt(), Inbox(5), now=lambda: NOW, failing=set(), unheard=began(), longest_pause_s=0.001
    )
    with pytest.raises(ZeroDivisionError):
        await asking.run({ETH: Mistaken(ETH)})


async def test_nobody_asks_while_the_inbox_is_full() -> None:
    exchange, inbox = ScriptedExchange([[trade(number)] for number in range(50)], []), Inbox(5)
    asking = Watch(
        exchange, Ccxt(), inbox, now=lambda: NOW, failing=set(), unheard=began(), longest_pause_s=0.001
    )
    task = asyncio.create_task(asking.run({ETH: WatchedBook(ETH)}))
    for _ in range(1_000):
        await asyncio.sleep(0)
    assert len(inbox) == 5
    numbers = []
    while len(numbers) < 50:
        numbers += [event.trade_id for event in await inbox.take() if isinstance(event, TradeTick)]
    assert numbers == list(range(50))
    task.cancel()
    await asyncio.wait({task})


async def test_an_error_is_met_behind_all_that_came_before() -> None:
    inbox = Inbox(5)
    event = Disconnect(instruments=(ETH,), ts_recv=NOW, reason="x")
    inbox.put([event])
    inbox.put([])
    inbox.fail(FeedRejected("first"))
    inbox.fail(FeedRejected("second"))
    assert list(await inbox.take()) == [event]
    with pytest.raises(FeedRejected, match="first"):
        await inbox.take()
