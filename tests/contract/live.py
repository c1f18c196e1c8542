"""What everyone promises who answers for a recording: one test for each sentence of the `Live` port.

A test file subclasses `LiveContract` and gives an `asked`: the port, and the recording behind it, which the
tests drive by hand.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Protocol

import pytest

from binance_proxy.adapters.memory.clock import ManualClock
from binance_proxy.adapters.memory.history import MemoryHistory
from binance_proxy.adapters.memory.publisher import MemoryPublisher
from binance_proxy.adapters.memory.registry import MemoryRegistry
from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.application.keeping import RecordSettings
from binance_proxy.application.live import FetchSettings, open_live
from binance_proxy.application.ports import (
    RECALLED,
    HistoryUnavailable,
    Live,
    SpoolDepth,
    StoredEvent,
    TrackedPair,
)
from binance_proxy.application.record import Recording
from binance_proxy.domain.errors import BookStale
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Instrument, Market, Stream
from binance_proxy.domain.order_book import OrderBook
from binance_proxy.domain.tick import BookSnapshot, Disconnect, MarketEvent, QuoteTick, Side, TradeTick

PATIENCE_S = 30.0
FOREVER_S = 60.0
NOW = 1_760_000_000_000_000_000
MS = 1_000_000
ETH = Instrument(venue="binance", market=Market.SPOT, symbol="ETH/USDT")
SOL = Instrument(venue="binance", market=Market.SPOT, symbol="SOL/USDT")
BOOK = f"{ETH.name}.orderbook"
TRADES = f"{ETH.name}.trades"


def trade(number: int, instrument: Instrument = ETH) -> TradeTick:
    return TradeTick(
        instrument=instrument,
        ts_event=NOW + number * MS,
        ts_recv=NOW + number * MS,
        trade_id=number,
        price=3_000 * 10**8 + number,
        size=10**8,
        aggressor=Side.BUY,
    )


def snapshot(update_id: int, levels: int = 5) -> BookSnapshot:
    return BookSnapshot(
        instrument=ETH,
        ts_event=NOW + update_id * MS,
        ts_recv=NOW + update_id * MS,
        last_update_id=update_id,
        bids=tuple((1_000 - level, 10 + level) for level in range(levels)),
        asks=tuple((1_001 + level, 20 + level) for level in range(levels)),
    )


def quote(update_id: int, size: int | None = None) -> QuoteTick:
    return QuoteTick(
        instrument=ETH,
        ts_event=NOW + update_id * MS,
        ts_recv=NOW + update_id * MS,
        first_update_id=update_id,
        last_update_id=update_id,
        bids=((1_000, 100 + update_id if size is None else size),),
        asks=(),
    )


def gap(start: int, number: int) -> Gap:
    return Gap(
        instrument=ETH,
        ts_event=NOW + number * MS,
        ts_recv=NOW + number * MS,
        stream=Stream.TRADES,
        first_id=start + 1,
        last_id=number - 1,
        start=NOW + start * MS,
        end=NOW + number * MS,
        state=GapState.OPEN,
    )


class HandFeed:
    """A feed that gives what it is handed."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[MarketEvent] = asyncio.Queue()
        self.given = 0

    async def instruments(self, wanted: Sequence[TrackedPair]) -> Sequence[Instrument]:
        symbols = {one.symbol for one in wanted}
        return [one for one in (ETH, SOL) if one.symbol in symbols]

    async def stream(self, instruments: Sequence[Instrument]) -> AsyncGenerator[MarketEvent]:
        while True:
            event = await self.events.get()
            yield event
            self.given += 1

    def resync(self, instrument: Instrument) -> None:
        pass

    def follow(self, instruments: Sequence[Instrument]) -> None:
        pass


class GatedStore(MemoryStore):
    """Takes nothing while its gate is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()

    async def append(self, events: Sequence[StoredEvent]) -> int:
        await self.gate.wait()
        return await super().append(events)


class HandSpool:
    """A spool that says what it is told to."""

    def __init__(self) -> None:
        self.now = SpoolDepth()

    def depth(self) -> SpoolDepth:
        return self.now

    async def sift(self, events: Sequence[StoredEvent]) -> None:
        pass


class SlowHistory(MemoryHistory):
    """Counts how often it is asked, and gives nothing more while its gate is closed."""

    def __init__(self, trades: Sequence[TradeTick], *, page: int = 10) -> None:
        super().__init__(trades, page=page)
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.fails_after: int | None = None

    async def ids(self, instrument: Instrument, start: int, end: int) -> tuple[int, int] | None:
        self.asked += 1
        await self.gate.wait()
        return await super().ids(instrument, start, end)

    async def trades(
        self, instrument: Instrument, first_id: int, last_id: int
    ) -> AsyncGenerator[Sequence[TradeTick]]:
        pages = 0
        async with aclosing(super().trades(instrument, first_id, last_id)) as given:
            async for page in given:
                if pages == self.fails_after:
                    raise HistoryUnavailable("the venue wants to be left alone")
                yield page
                pages += 1


class World:
    """A recording with everything around it."""

    def __init__(self, history: SlowHistory | None = None, settings: RecordSettings | None = None) -> None:
        registry = MemoryRegistry(
            [
                TrackedPair(symbol="ETH/USDT"),
                TrackedPair(symbol="SOL/USDT", streams=(Stream.TRADES,)),
            ]
        )
        self.feed = HandFeed()
        self.store = GatedStore()
        self.spool = HandSpool()
        self.history = history
        self.publisher = MemoryPublisher("e1", kept=5_000)
        self.recording = Recording(
            feed=self.feed,
            store=self.store,
            pairs=registry,
            registry=registry,
            publisher=self.publisher,
            clock=ManualClock(NOW, auto=False),
            settings=settings or RecordSettings(),
            publish_snapshot_s=10.0,
            spool=self.spool,
        )

    async def give(self, *events: MarketEvent) -> None:
        """Have events recorded; return once they are."""
        goal = self.feed.given + self.feed.events.qsize() + len(events)
        for event in events:
            self.feed.events.put_nowait(event)
        await until(lambda: self.feed.given >= goal)

    async def kept(self, kind: type = TradeTick) -> list[StoredEvent]:
        async with aclosing(self.store.scan(kind, ETH, 0, 2**63 - 1)) as events:
            return [event async for event in events]


async def until(condition: Callable[[], object]) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  nothing says when
            await asyncio.sleep(0.001)


@asynccontextmanager
async def recorded(world: World, settings: FetchSettings | None = None) -> AsyncGenerator[Live]:
    """Run the recording of a world, and have it answer."""
    stop = asyncio.Event()
    await world.recording.prepare()
    running = asyncio.create_task(world.recording.run(stop))
    try:
        async with open_live(world.recording, world.publisher, world.store, world.history, settings) as live:
            yield live
    finally:
        stop.set()
        world.store.gate.set()
        await asyncio.wait_for(running, PATIENCE_S)


class Asked(Protocol):
    """The port, and what is behind it."""

    live: Live
    world: World


class LiveContract:
    HISTORY = tuple(trade(number) for number in range(1, 101))

    @pytest.fixture
    async def asked(self) -> Asked:
        """Give a running recording of a `World` with a `SlowHistory` of `HISTORY`, and the port to it."""
        raise NotImplementedError

    async def test_returns_the_book_as_it_is(self, asked: Asked) -> None:
        await asked.world.give(snapshot(10), quote(11), quote(12))
        found = await asked.live.book(ETH)
        expected = OrderBook(snapshot(10))
        for update_id in (11, 12):
            expected.apply(quote(update_id))
        assert found.book == expected.snapshot()
        assert found.book.instrument == ETH

    @pytest.mark.parametrize("levels", [1, 3, 5, 100])
    async def test_returns_the_best_so_many_levels_of_each_side(self, asked: Asked, levels: int) -> None:
        await asked.world.give(snapshot(10), quote(11))
        found = (await asked.live.book(ETH, levels)).book
        whole = (await asked.live.book(ETH)).book
        assert (found.bids, found.asks) == (whole.bids[:levels], whole.asks[:levels])
        assert len(whole.bids) == 5

    async def test_every_message_up_to_the_sequence_is_in_the_book_and_none_behind_it(
        self, asked: Asked
    ) -> None:
        messages = asked.world.publisher.listen(BOOK)
        await asked.world.give(snapshot(10), quote(11))
        found = []
        for update_id in range(12, 200):
            asked.world.feed.events.put_nowait(quote(update_id))
            await asyncio.sleep(0)
            if update_id % 7 == 0:
                found.append(await asked.live.book(ETH, 1))
        await until(lambda: messages[-1][1].get("last_update_id") == 199)
        assert len(found) > 20
        by_sequence = {body["sequence"]: body for _, body in messages}
        for one in found:
            assert one.epoch == "e1"
            assert by_sequence[one.sequence]["last_update_id"] == one.book.last_update_id
            assert one.book.bids == ((1_000, 100 + one.book.last_update_id),)
        assert len({one.sequence for one in found}) > 3

    async def test_many_who_ask_at_once_get_the_same_book(self, asked: Asked) -> None:
        await asked.world.give(snapshot(10), quote(11))
        found = await asyncio.gather(*(asked.live.book(ETH, 1 + number % 2) for number in range(50)))
        assert all(one == found[number % 2] for number, one in enumerate(found))

    async def test_a_book_is_never_older_than_the_question(self, asked: Asked) -> None:
        await asked.world.give(snapshot(10), quote(11))
        running = []
        for update_id in range(12, 60):
            running.append(asyncio.create_task(asked.live.book(ETH)))
            await asyncio.sleep(0)
            await asked.world.give(quote(update_id))
            assert (await asked.live.book(ETH)).book.last_update_id == update_id
        await asyncio.gather(*running)

    async def test_a_book_out_of_step_is_refused(self, asked: Asked) -> None:
        with pytest.raises(BookStale, match=r"binance.spot.ethusdt is out of step: no snapshot has come yet"):
            await asked.live.book(ETH)
        await asked.world.give(snapshot(10), quote(11))
        await asked.live.book(ETH)
        await asked.world.give(quote(13))
        with pytest.raises(BookStale, match=r"binance.spot.ethusdt is out of step: .*13 does not follow 11"):
            await asked.live.book(ETH)
        await asked.world.give(snapshot(13), quote(14))
        assert (await asked.live.book(ETH)).book.last_update_id == 14
        await asked.world.give(Disconnect(instruments=(ETH,), ts_recv=NOW, reason="the cable broke"))
        with pytest.raises(BookStale, match="the cable broke"):
            await asked.live.book(ETH)

    async def test_says_if_the_instrument_is_not_recorded_or_its_book_is_not(self, asked: Asked) -> None:
        other = Instrument(venue="binance", market=Market.SPOT, symbol="BTC/USDT")
        with pytest.raises(BookStale, match=r"binance.spot.btcusdt is not recorded"):
            await asked.live.book(other)
        with pytest.raises(BookStale, match=r"order book of binance.spot.solusdt is not recorded"):
            await asked.live.book(SOL)

    async def test_returns_what_was_published_behind_a_sequence(self, asked: Asked) -> None:
        messages = asked.world.publisher.listen(TRADES)
        await asked.world.give(*(trade(number) for number in range(1, 51)))
        for after in (0, 1, 30, 49, 50):
            found = await asked.live.since(TRADES, "e1", after)
            assert (found.epoch, found.sequence) == ("e1", 50)
            assert found.messages == [body for _, body in messages][after:]

    async def test_returns_so_many_messages_at_most_and_the_rest_when_asked_again(self, asked: Asked) -> None:
        count = RECALLED + 300
        await asked.world.give(*(trade(number) for number in range(1, count + 1)))
        found = await asked.live.since(TRADES, "e1", 0)
        assert found.sequence == count
        assert [body["sequence"] for body in found.messages] == list(range(1, RECALLED + 1))
        found = await asked.live.since(TRADES, "e1", RECALLED)
        assert [body["sequence"] for body in found.messages] == list(range(RECALLED + 1, count + 1))

    async def test_returns_no_messages_of_another_run(self, asked: Asked) -> None:
        await asked.world.give(trade(1), trade(2))
        found = await asked.live.since(TRADES, "e0", 1)
        assert (found.epoch, found.sequence, found.messages) == ("e1", 2, None)

    async def test_returns_no_messages_if_some_are_kept_no_more(self, asked: Asked) -> None:
        await asked.world.give(*(trade(number) for number in range(1, 5_011)))
        assert (await asked.live.since(TRADES, "e1", 9)).messages is None
        assert len((await asked.live.since(TRADES, "e1", 10)).messages) == RECALLED

    @pytest.mark.parametrize("sequence", [3, 10**30, -1])
    async def test_returns_no_messages_behind_what_was_never_published(
        self, asked: Asked, sequence: int
    ) -> None:
        await asked.world.give(trade(1), trade(2))
        found = await asked.live.since(TRADES, "e1", sequence)
        assert (found.sequence, found.messages) == (2, None)

    async def test_returns_the_status_as_the_topic_tells_it(self, asked: Asked) -> None:
        await asked.world.give(snapshot(10), quote(11), trade(1))
        asked.world.recording.tell_also("serve", lambda: {"workers": 2})
        told = await asked.live.status()
        assert told["instruments"] == {ETH.name: "in step", SOL.name: "not tracked"}
        assert (told["trades"], told["quotes"], told["serve"]) == (1, 1, {"workers": 2})
        messages = asked.world.publisher.listen("bridge.status")
        asked.world.recording._tell_status()
        [(_, body)] = messages
        assert {key: body[key] for key in told} == told

    async def test_waits_until_everything_that_was_recorded_is_stored(self, asked: Asked) -> None:
        for number in range(1, 20):
            await asked.world.give(trade(number))
            assert (await asked.live.catch_up(ETH, limit_s=FOREVER_S)).stored
            assert [one.trade_id for one in await asked.world.kept()] == list(range(1, number + 1))

    async def test_does_not_wait_for_a_store_that_is_away(self, asked: Asked) -> None:
        asked.world.spool.now = SpoolDepth(waiting=3)
        waiting = asyncio.create_task(asked.live.catch_up(ETH, limit_s=FOREVER_S))
        await asyncio.sleep(0.1)
        assert not waiting.done()  # it is being emptied
        asked.world.spool.now = SpoolDepth(waiting=3, is_away=True)
        async with asyncio.timeout(PATIENCE_S):
            assert not (await waiting).stored
            asked.world.store.gate.clear()
            await asked.world.give(trade(1))
            found = await asked.live.catch_up(ETH, (NOW, NOW + MS), limit_s=FOREVER_S)
        assert (found.stored, found.fetched) == (False, 0)
        assert found.not_fetched == "the store is away; try again later"

    async def test_waits_for_a_store_that_is_slow(self, asked: Asked) -> None:
        asked.world.store.gate.clear()
        await asked.world.give(trade(1))
        waiting = asyncio.create_task(asked.live.catch_up(ETH, limit_s=FOREVER_S))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        asked.world.store.gate.set()
        assert (await waiting).stored
        assert len(await asked.world.kept()) == 1

    @pytest.mark.parametrize("waits", [(trade(10),), (trade(20), trade(10)), (trade(30), gap(10, 30))])
    async def test_only_what_happened_before_is_waited_for(
        self, asked: Asked, waits: tuple[MarketEvent, ...]
    ) -> None:
        asked.world.store.gate.clear()
        await asked.world.give(*(one for one in waits if not isinstance(one, Gap)), trade(9, SOL))
        for one in waits:
            if isinstance(one, Gap):
                asked.world.recording.keeping.buffer.put(one)
        oldest = min(NOW + 10 * MS, *(one.ts_event for one in waits))
        for before, stored in ((NOW, True), (oldest, True), (oldest + 1, False), (None, False)):
            found = await asked.live.catch_up(ETH, before=before, limit_s=0.05)
            assert found.stored is stored, before

    async def test_what_is_on_its_way_to_the_store_is_waited_for(self, asked: Asked) -> None:
        asked.world.store.gate.clear()
        await asked.world.give(trade(10))
        waiting = asyncio.create_task(asked.live.catch_up(ETH, before=NOW + 11 * MS, limit_s=FOREVER_S))
        await until(lambda: not len(asked.world.recording.keeping.buffer))
        assert (await asked.live.catch_up(ETH, before=NOW + 10 * MS, limit_s=0.0)).stored
        assert not waiting.done()
        asked.world.store.gate.set()
        assert (await waiting).stored
        assert len(await asked.world.kept()) == 1

    async def test_what_may_be_spooled_is_waited_for(self, asked: Asked) -> None:
        asked.world.spool.now = SpoolDepth(waiting=1, is_away=True)
        await asked.world.give(trade(10))
        assert not (await asked.live.catch_up(ETH, before=NOW, limit_s=0.05)).stored  # of an earlier run
        asked.world.spool.now = SpoolDepth()
        assert (await asked.live.catch_up(ETH, before=NOW + 11 * MS, limit_s=FOREVER_S)).stored
        asked.world.spool.now = SpoolDepth(waiting=1, is_away=True)
        await asked.world.give(trade(11))
        await until(lambda: not asked.world.recording.keeping.waiting)
        for before, stored in ((NOW + 11 * MS, True), (NOW + 12 * MS, False)):
            assert (await asked.live.catch_up(ETH, before=before, limit_s=0.05)).stored is stored

    async def test_says_what_was_recorded_last(self, asked: Asked) -> None:
        assert (await asked.live.catch_up(ETH, limit_s=FOREVER_S)).newest == 0
        for event in (trade(5), snapshot(10), quote(11), trade(6)):  # clocks may be set back
            await asked.world.give(event)
            newest = (await asked.live.catch_up(ETH, before=NOW, limit_s=FOREVER_S)).newest
            assert newest == (NOW + 5 * MS if isinstance(event, BookSnapshot) else event.ts_event)
        other = Instrument(venue="simulated", market=Market.SPOT, symbol="ETH/USDT")
        assert (await asked.live.catch_up(other, limit_s=FOREVER_S)).newest is None

    async def test_waits_no_longer_than_the_limit(self, asked: Asked) -> None:
        asked.world.store.gate.clear()
        await asked.world.give(trade(1))
        for fetch in (None, (NOW, NOW + 1_000 * MS)):
            found = await asked.live.catch_up(ETH, fetch, limit_s=0.05)
            assert (found.stored, found.fetched) == (False, 0)
            assert (found.not_fetched is None) is (fetch is None)

    async def test_fetches_the_trades_of_a_range_that_are_not_stored(self, asked: Asked) -> None:
        await asked.world.give(trade(50), trade(51))
        found = await asked.live.catch_up(ETH, (NOW + 40 * MS, NOW + 60 * MS), limit_s=FOREVER_S)
        assert (found.stored, found.fetched, found.not_fetched) == (True, 18, None)
        assert [one.trade_id for one in await asked.world.kept()] == list(range(40, 60))
        found = await asked.live.catch_up(ETH, (NOW + 40 * MS, NOW + 60 * MS), limit_s=FOREVER_S)
        assert (found.stored, found.fetched, found.not_fetched) == (True, 0, None)

    async def test_many_who_ask_for_the_same_are_answered_by_one_fetch(self, asked: Asked) -> None:
        history = asked.world.history
        history.gate.clear()
        wanted = (NOW, NOW + 1_000 * MS)
        asking = [asyncio.create_task(asked.live.catch_up(ETH, wanted, limit_s=FOREVER_S)) for _ in range(20)]
        await until(lambda: history.asked)
        asking += [asyncio.create_task(asked.live.catch_up(ETH, wanted, limit_s=FOREVER_S))]
        await asyncio.sleep(0.2)
        history.gate.set()
        answers = await asyncio.gather(*asking)
        assert history.asked == 1
        assert {(one.stored, one.fetched, one.not_fetched) for one in answers} == {(True, 100, None)}

    async def test_a_fetch_that_takes_too_long_goes_on_and_is_told(self, asked: Asked) -> None:
        asked.world.history.gate.clear()
        wanted = (NOW, NOW + 1_000 * MS)
        found = await asked.live.catch_up(ETH, wanted, limit_s=0.3)
        assert (found.stored, found.fetched) == (True, 0)
        assert "takes longer than 0.3 s" in (found.not_fetched or "")
        asked.world.history.gate.set()
        assert (await asked.live.catch_up(ETH, wanted, limit_s=FOREVER_S)).not_fetched is None
        assert len(await asked.world.kept()) == 100

    async def test_what_came_before_the_venue_went_away_stays_stored(self, asked: Asked) -> None:
        asked.world.history.fails_after = 3
        found = await asked.live.catch_up(ETH, (NOW, NOW + 1_000 * MS), limit_s=FOREVER_S)
        assert (found.stored, found.fetched) == (True, 30)
        assert found.not_fetched == "the venue wants to be left alone"
        assert len(await asked.world.kept()) == 30

    async def test_says_why_a_pair_cannot_be_fetched(self, asked: Asked) -> None:
        found = await asked.live.catch_up(SOL, (NOW, NOW + MS), limit_s=FOREVER_S)
        assert (found.stored, found.not_fetched) == (True, "there is nothing of SOL/USDT here")
        other = Instrument(venue="simulated", market=Market.SPOT, symbol="ETH/USDT")
        found = await asked.live.catch_up(other, (NOW, NOW + MS), limit_s=FOREVER_S)
        assert "not of the venue" in (found.not_fetched or "")
        assert asked.world.history.asked == 1

    async def test_one_who_gives_up_harms_nobody_else(self, asked: Asked) -> None:
        await asked.world.give(snapshot(10), quote(11))
        asked.world.store.gate.clear()
        await asked.world.give(trade(1))
        calls = [
            asked.live.book(ETH),
            asked.live.catch_up(ETH, limit_s=FOREVER_S),
            asked.live.status(),
            asked.live.since(TRADES, "e1", 0),
        ]
        giving_up = [asyncio.create_task(call) for call in calls]
        staying = asyncio.create_task(asked.live.book(ETH))
        await asyncio.sleep(0)
        for task in giving_up:
            task.cancel()
        for task in giving_up:
            with suppress(asyncio.CancelledError):
                await task
        assert (await staying).book.last_update_id == 11
        asked.world.store.gate.set()
        assert (await asked.live.catch_up(ETH, limit_s=FOREVER_S)).stored
