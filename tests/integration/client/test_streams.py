"""The client's streams and books against a real publisher, over a network that cuts and swallows."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from decimal import Decimal
from typing import Any

import pytest

from binance_proxy.adapters.memory.registry import MemoryRegistry
from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.adapters.simulated.feed import SimulatedFeed
from binance_proxy.adapters.simulated.settings import Faults, Simulation
from binance_proxy.adapters.system.clock import SystemClock
from binance_proxy.application.keeping import RecordSettings
from binance_proxy.application.ports import TrackedPair
from binance_proxy.application.record import Recording
from binance_proxy.client import BookStale, Bridge, BridgeAway, Candle, Gap, Missed, Trade, UnknownPair
from contract.publisher import ETH, gap, quote, snapshot, trade
from served import Front, Venue, Wires, publishing, serving
from zeromq_wire import free_addresses

DEADLINE_S = 60.0
QUICK = {"silence_s": 2.0, "timeout_s": 30.0}
ETH_BOOK = "simulated.spot.ethusdt.orderbook"


async def until(condition: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    """Wait for something to become true, however slow the machine is."""
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110  nothing says when
            await asyncio.sleep(0.01)


class Place:
    """Where a bridge is: it can be started and stopped there, and is reached through a network."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.stack = stack
        self.json, self.msgpack, self.front_at = free_addresses(3)
        self.front: Front
        self.publish: Wires
        self.requests: Wires

    async def open(self) -> "Place":
        self.front = await self.stack.enter_async_context(serving(self.front_at))
        self.publish = await self.stack.enter_async_context(Wires(self.msgpack).run())
        self.requests = await self.stack.enter_async_context(Wires(self.front_at).run())
        return self

    @asynccontextmanager
    async def run(self, epoch: str, **more: Any) -> AsyncIterator[Venue]:
        async with publishing(self.json, self.msgpack, epoch=epoch, **more) as venue:
            self.front.venue = venue
            yield venue

    def bridge(self, **more: Any) -> Bridge:
        given = {"publish": self.publish.address, "requests": self.requests.address, "control": ""}
        return Bridge(**(given | QUICK | more))


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        yield await Place(stack).open()


@asynccontextmanager
async def recording(venue: Venue, **simulated: Any) -> AsyncIterator[None]:
    """Record a simulated market onto a venue."""
    registry = MemoryRegistry((TrackedPair(symbol="ETH/USDT"),))
    clock = SystemClock()
    recorded = Recording(
        feed=SimulatedFeed(Simulation(**{"rate": 300, "levels": 40, **simulated}), clock),
        store=MemoryStore(registry),
        pairs=registry,
        registry=registry,
        publisher=venue,
        clock=clock,
        settings=RecordSettings(timeframes=("1m",), candle_interval_s=0.1),
        publish_snapshot_s=3.0,
    )
    await recorded.prepare()
    stop = asyncio.Event()
    running = asyncio.create_task(recorded.run(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(running, DEADLINE_S)


async def collect(stream: Any, into: list[Any]) -> None:
    async with aclosing(stream):
        async for event in stream:
            into.append(event)  # noqa: PERF401  one after the other, for those who look on


class BookWatch:
    """Compares a book with the truth at every update id that it reports."""

    def __init__(self, bridge: Bridge, venue: Callable[[], Venue], topic: str, symbol: str) -> None:
        self.bridge, self.venue, self.topic, self.symbol = bridge, venue, topic, symbol
        self.compared = self.out_of_step = 0
        self.last_id = 0

    async def run(self) -> None:
        async with aclosing(self.bridge.books(self.symbol)) as books:
            async for book in books:
                if not book.in_step:
                    self.out_of_step += 1
                    continue
                view = book.view()
                assert (view.bids, view.asks) == self.venue().truth[self.topic, view.last_update_id]
                self.compared += 1
                self.last_id = view.last_update_id


@pytest.mark.parametrize(
    ("faults", "dropped"),
    [(Faults(), 0.0), (Faults(gap=0.002), 0.0), (Faults(), 0.02)],
    ids=["cut", "cut, with holes at the venue", "cut, with messages dropped"],
)
async def test_a_link_cut_ten_times_costs_no_trade_and_shows_no_wrong_book(
    place: Place, faults: Faults, dropped: float
) -> None:
    chance = random.Random(7)
    async with place.run("e1") as venue, recording(venue, faults=faults), place.bridge() as bridge:
        venue.dropped = dropped
        came: list[Trade | Missed] = []
        watch = BookWatch(bridge, lambda: venue, ETH_BOOK, "ETH/USDT")
        tasks = [
            asyncio.create_task(collect(bridge.trades("ETH/USDT"), came)),
            asyncio.create_task(watch.run()),
        ]
        await until(lambda: watch.compared > 20 and len(came) > 20)
        for number in range(10):
            (place.requests if number % 3 == 2 else place.publish).cut()
            if number % 2:
                await asyncio.sleep(chance.uniform(0, 0.1))
                place.publish.cut()
            before = watch.compared, len(came)
            await until(lambda b=before: (watch.compared, len(came)) > (b[0] + 3, b[1] + 3))
            await asyncio.sleep(chance.uniform(0, 0.3))
        newest = max(venue.trades)
        await until(lambda: any(isinstance(one, Trade) and one.trade_id >= newest for one in came))
        for task in tasks:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in done), done
    assert place.publish.cuts + place.requests.cuts >= 10
    assert not dropped or venue.drops > 10
    assert watch.out_of_step >= 5
    ids = [one.trade_id for one in came if isinstance(one, Trade)]
    assert not [one for one in came if isinstance(one, Missed)]
    assert max(Counter(ids).values()) == 1
    published = [body["trade_id"] for body in venue.published["simulated.spot.ethusdt.trades"]]
    first = published.index(ids[0])
    assert ids == published[first : first + len(ids)]


async def speak(venue: Callable[[], Venue | None], stop: asyncio.Event) -> None:
    """Say how the bridge is, often, and give newcomers the book."""
    while not stop.is_set():
        now = venue()
        if now is not None:
            now.publish_status({"instruments": {ETH.name: "in step"}})
            if any(prefix == f"{ETH.name}.orderbook" for prefix in now.newcomers()):
                book = now.books.get(f"{ETH.name}.orderbook")
                if book is not None:
                    now.publish(book.snapshot())
        await asyncio.sleep(0.05)


@pytest.fixture
async def speaking(place: Place) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(speak(lambda: place.front.venue, stop))
    yield
    stop.set()
    await task


def live(bridge: Bridge) -> Callable[[], bool]:
    """Return a question: does every follower have its place?"""
    return lambda: bool(bridge._wire.followers()) and all(one.epoch for one in bridge._wire.followers())


async def test_over_a_restart_trades_go_on_by_id_and_the_book_starts_over(
    place: Place, speaking: None
) -> None:
    came: list[Trade | Missed] = []
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsyncExitStack())
        venue = await first.enter_async_context(place.run("e1"))
        venue.publish(snapshot())
        bridge = await stack.enter_async_context(place.bridge())
        collecting = asyncio.create_task(collect(bridge.trades("ETH/USDT"), came))
        book = await bridge.book("ETH/USDT")
        await until(live(bridge))
        for number in range(1, 6):
            venue.publish(trade(number, ts_event=number))
        await until(lambda: len(came) == 5)
        place.publish.swallows = True
        for number in range(6, 9):
            venue.publish(trade(number, ts_event=number))  # nobody hears of these
        await until(lambda: place.publish.swallowed > 0)
        place.publish.cut()
        place.front.venue = None
        await first.aclose()
        await until(lambda: not book.in_step)
        place.publish.swallows = False
        again = await stack.enter_async_context(place.run("e2", past=venue))
        again.publish(snapshot(last_update_id=50, bids=((305_012_000_000, 7),)))
        again.publish(trade(9, ts_event=9))
        await until(lambda: book.in_step)
        assert book.last_update_id == 50
        again.publish(trade(10, ts_event=10))
        await until(lambda: len(came) >= 10)
        assert [one.trade_id for one in came] == list(range(1, 11))
        collecting.cancel()


async def test_a_dead_link_shows_no_book_and_an_old_one_comes_back_only_when_it_is_right(
    place: Place, speaking: None
) -> None:
    async with place.run("e1") as venue, place.bridge(silence_s=1.0) as bridge:
        venue.publish(snapshot())
        book = await bridge.book("ETH/USDT")
        assert book.in_step
        place.publish.swallows = True
        await until(lambda: not book.in_step)
        with pytest.raises(BookStale, match="nothing heard for"):
            book.bids()
        venue.publish(quote(10, bids=((305_012_000_000, 5),)))
        place.publish.swallows = False
        await until(lambda: book.in_step and book.last_update_id == 12)
        assert book.best_bid == (Decimal("3050.12"), Decimal("0.00000005"))


async def test_a_link_that_is_dead_and_looks_alive_is_replaced(place: Place, speaking: None) -> None:
    came: list[Trade | Missed] = []
    async with place.run("e1") as venue, place.bridge(silence_s=1.0) as bridge:
        venue.publish(snapshot())
        collecting = asyncio.create_task(collect(bridge.trades("ETH/USDT"), came))
        book = await bridge.book("ETH/USDT")
        await until(live(bridge))
        place.publish.forget()
        place.requests.forget()
        venue.publish(trade(1))
        venue.publish(quote(10))
        await until(lambda: book.in_step and book.last_update_id == 12 and bool(came))
        assert [one.trade_id for one in came] == [1]
        collecting.cancel()


async def test_a_last_message_that_was_lost_comes_although_nothing_follows_it(
    place: Place, speaking: None
) -> None:
    came: list[Trade | Missed] = []
    async with place.run("e1") as venue, place.bridge() as bridge:
        venue.publish(snapshot())
        collecting = asyncio.create_task(collect(bridge.trades("ETH/USDT"), came))
        book = await bridge.book("ETH/USDT")
        await until(live(bridge))
        venue.publish(trade(1))
        await until(lambda: len(came) == 1)
        venue.dropped = 1.0
        venue.publish(trade(2))
        venue.publish(quote(10))
        await until(lambda: len(came) == 2 and book.in_step and book.last_update_id == 12)
        assert [one.trade_id for one in came] == [1, 2]
        asked = len(place.front.asked)
        await asyncio.sleep(4.0)
        assert len(place.front.asked) <= asked + 2  # it asks now and then
        collecting.cancel()


async def test_a_book_that_nobody_reads_any_more_is_left(place: Place, speaking: None) -> None:
    async with place.run("e1") as venue, place.bridge() as bridge:
        venue.publish(snapshot())
        async with aclosing(bridge.books("ETH/USDT")) as one, aclosing(bridge.books("ETH/USDT")) as other:
            book = await asyncio.wait_for(anext(one), DEADLINE_S)
            assert await asyncio.wait_for(anext(other), DEADLINE_S) is book
            await one.aclose()
            assert len(bridge._wire.followers()) == 1
        assert not bridge._wire.followers()
        assert not book.in_step
        kept = await bridge.book("ETH/USDT")
        async with aclosing(bridge.books("ETH/USDT")) as books:
            await asyncio.wait_for(anext(books), DEADLINE_S)
        assert kept.in_step


async def test_each_state_of_a_book_is_given_once(place: Place, speaking: None) -> None:
    ids: list[int] = []
    async with place.run("e1") as venue, place.bridge() as bridge:
        venue.publish(snapshot())

        async def read() -> None:
            async with aclosing(bridge.books("ETH/USDT")) as books:
                async for book in books:
                    if book.in_step:
                        ids.append(book.last_update_id)  # noqa: PERF401  for those who look on

        reading = asyncio.create_task(read())
        await until(lambda: bool(ids))
        for _ in range(3):  # for others who came
            venue.publish(venue.books[f"{ETH.name}.orderbook"].snapshot())
            await asyncio.sleep(0.1)
        venue.publish(quote(10))
        await until(lambda: 12 in ids)
        assert ids == [ids[0], 12]
        reading.cancel()


async def test_a_program_that_blocked_its_loop_is_told_that_the_book_may_be_old(
    place: Place, speaking: None
) -> None:
    import time  # noqa: PLC0415

    async with place.run("e1") as venue, place.bridge(silence_s=0.5) as bridge:
        venue.publish(snapshot())
        book = await bridge.book("ETH/USDT")
        assert book.in_step
        time.sleep(0.8)  # noqa: ASYNC251  this is the fault
        with pytest.raises(BookStale, match="nothing heard"):
            book.bids()
        await until(lambda: book.in_step)


async def test_without_a_request_side_books_come_by_snapshots_and_missed_trades_are_told(
    place: Place, speaking: None
) -> None:
    came: list[Trade | Missed] = []
    async with place.run("e1") as venue, place.bridge(requests="") as bridge:
        venue.publish(snapshot())
        collecting = asyncio.create_task(collect(bridge.trades("ETH/USDT"), came))
        book = await bridge.book("ETH/USDT")
        venue.publish(trade(1))
        await until(lambda: len(came) == 1)
        hidden = venue.publisher
        topic = hidden._topics[f"{ETH.name}.trades"]
        topic.sequence += 3  # as if three messages had been dropped on the way
        hidden._topics[f"{ETH.name}.orderbook"].sequence += 2
        venue.publish(trade(5))
        venue.publish(quote(10))
        await until(lambda: len(came) == 3)
        assert came[1] == Missed(
            topic=f"{ETH.name}.trades", reason="there is no request side to ask", messages=3, ids=((2, 4),)
        )
        assert came[2].trade_id == 5
        await until(lambda: book.in_step and book.last_update_id == 12)
        with pytest.raises(BridgeAway, match="without its request side"):
            await bridge.pairs_list()
        collecting.cancel()


async def test_a_slow_reader_gets_every_trade_and_holds_no_more_than_its_queue(
    place: Place, speaking: None
) -> None:
    async with place.run("e1") as venue, place.bridge(queue=50) as bridge:
        async with aclosing(bridge.trades("ETH/USDT")) as trades:
            first = asyncio.create_task(anext(trades))
            await until(live(bridge))
            most = 0
            for number in range(1, 3_001):
                venue.publish(trade(number, ts_event=number))
                if number % 100 == 0:
                    await asyncio.sleep(0.005)
                    most = max(most, bridge._wire.followers()[0].waiting)
            ids = [(await first).trade_id]
            while len(ids) < 3_000:
                event = await asyncio.wait_for(anext(trades), DEADLINE_S)
                ids.append(event.trade_id)
                most = max(most, bridge._wire.followers()[0].waiting)
        assert ids == list(range(1, 3_001))
        assert 40 <= most <= 50 + 1_000
        assert any(method == "topics.since" for method, _ in place.front.asked)


async def test_beyond_the_ring_what_was_missed_is_fetched_by_time_and_id(
    place: Place, speaking: None
) -> None:
    came: list[Trade | Missed] = []
    async with place.run("e1", ring=10) as venue, place.bridge() as bridge:
        collecting = asyncio.create_task(collect(bridge.trades("ETH/USDT"), came))
        await until(live(bridge))
        venue.publish(trade(1, ts_event=1))
        await until(lambda: len(came) == 1)
        place.publish.cut()
        for number in range(2, 500):
            venue.publish(trade(number, ts_event=number))
        await until(lambda: len(came) >= 499)
        assert [one.trade_id for one in came] == list(range(1, 500))
        assert any(method == "trades.list" for method, _ in place.front.asked)
        collecting.cancel()


async def test_what_cannot_be_had_any_more_is_named(place: Place, speaking: None) -> None:
    came: list[Trade | Missed] = []
    async with place.run("e1", ring=1) as venue, place.bridge() as bridge:
        collecting = asyncio.create_task(collect(bridge.trades("ETH/USDT"), came))
        await until(live(bridge))
        venue.publish(trade(1, ts_event=1))
        await until(lambda: len(came) == 1)
        place.publish.cut()
        for number in range(2, 20):
            venue.publish(trade(number, ts_event=number))
        for number in range(5, 12):
            del venue.trades[number]  # the store does not have them either
        await until(lambda: any(isinstance(one, Missed) for one in came))
        missed = next(one for one in came if isinstance(one, Missed))
        assert missed.ids == ((5, 11),)
        assert [one.trade_id for one in came if isinstance(one, Trade)] == [1, 2, 3, 4, *range(12, 20)]
        collecting.cancel()


@pytest.mark.parametrize("cloudevents", [False, True])
async def test_the_json_endpoint_will_do_too(place: Place, speaking: None, cloudevents: bool) -> None:
    async with (
        place.run("e1", cloudevents=cloudevents) as venue,
        place.bridge(publish=place.json) as bridge,
        aclosing(bridge.trades("ethusdt")) as trades,
    ):
        venue.publish(snapshot())
        coming = asyncio.create_task(anext(trades))
        await until(live(bridge))
        venue.publish(trade(1))
        assert (await coming).price == Decimal("3050.12")
        assert (await bridge.book("ETH/USDT")).best_ask == (Decimal("3050.13"), Decimal(10**9))


async def test_candles_and_gaps_are_streams_too(place: Place) -> None:
    async with place.run("e1") as venue, recording(venue), place.bridge() as bridge:
        async with aclosing(bridge.candles("ETH/USDT", "1m")) as candles:
            candle = await asyncio.wait_for(anext(candles), DEADLINE_S)
            assert isinstance(candle, Candle)
            assert candle.low <= candle.vwap <= candle.high
        async with aclosing(bridge.gaps()) as gaps:
            coming = asyncio.create_task(anext(gaps))
            await until(live(bridge))
            venue.publish(gap(instrument=next(iter(venue.books.values())).instrument))
            found = await asyncio.wait_for(coming, DEADLINE_S)
            assert isinstance(found, Gap)
            assert found.symbol == "ETH/USDT"


async def test_a_pair_that_is_not_recorded_is_refused_and_those_that_are_are_named(
    place: Place, speaking: None
) -> None:
    async with place.run("e1"), place.bridge(timeout_s=1.0) as bridge:
        with pytest.raises(UnknownPair, match=r"does not record BTC/USDT; it records binance\.spot\.ethusdt"):
            await bridge.book("BTC/USDT")
        with pytest.raises(UnknownPair):
            await anext(bridge.trades("ETH/USDT", market="usdm"))


async def test_a_pair_that_is_recorded_twice_must_be_named_with_its_place(place: Place) -> None:
    async with place.run("e1") as venue:
        both = {"binance.spot.ethusdt": "in step", "binance.usdm.ethusdt": "in step"}

        async def talk() -> None:
            while True:
                venue.publish_status({"instruments": both})
                await asyncio.sleep(0.05)

        talking = asyncio.create_task(talk())
        async with place.bridge() as bridge:
            with pytest.raises(UnknownPair, match="several places"):
                await bridge.book("ETH/USDT")
            assert await bridge._name_of("ETH/USDT", None, "usdm") == "binance.usdm.ethusdt"
        talking.cancel()
        with suppress(asyncio.CancelledError):
            await talking


@pytest.mark.parametrize("address", ["nonsense", "tcp://", "x://y:1"])
async def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(BridgeAway, match="is not an address"):
        async with Bridge(publish=address, requests="", control=""):
            pytest.fail("it was opened")


async def test_where_no_bridge_is_it_says_so() -> None:
    [free] = free_addresses(1)
    with pytest.raises(BridgeAway, match="no bridge is heard on"):
        async with Bridge(publish=free, requests="", control="", timeout_s=0.3):
            pytest.fail("it was opened")


async def test_what_waits_ends_with_the_connection(place: Place, speaking: None) -> None:
    async with place.run("e1") as venue:
        venue.publish(snapshot())
        async with place.bridge() as bridge:
            waiting = asyncio.create_task(collect(bridge.trades("ETH/USDT"), []))
            book = await bridge.book("ETH/USDT")
            await until(live(bridge))
        await asyncio.wait_for(waiting, DEADLINE_S)
        assert not book.in_step
        with pytest.raises(BridgeAway, match="not open"):
            bridge.status  # noqa: B018
