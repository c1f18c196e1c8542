"""The simulated feed keeps the promises of its port, at full speed and paced, on good lines and bad."""

from collections.abc import Sequence
from contextlib import aclosing

import pytest

from binance_proxy.adapters.memory.clock import ManualClock
from binance_proxy.adapters.simulated.faults import Fault
from binance_proxy.adapters.simulated.feed import SimulatedFeed
from binance_proxy.adapters.simulated.settings import Faults, Simulation
from binance_proxy.application.ports import FeedRejected, MarketFeed, TrackedPair
from binance_proxy.domain.errors import BookStale
from binance_proxy.domain.instrument import Instrument, Market
from binance_proxy.domain.order_book import OrderBook
from binance_proxy.domain.tick import BookSnapshot, Disconnect, MarketEvent, QuoteTick, TradeTick
from contract.market_feed import MarketFeedContract, read

NOW = 1_760_000_000_000_000_000


class TestSimulatedFeed(MarketFeedContract):
    faults = Faults()

    def make(self, events: int | None = None, faults: Faults | None = None) -> SimulatedFeed:
        return SimulatedFeed(Simulation(events=events, faults=faults or self.faults), ManualClock(NOW))

    @pytest.fixture
    def feed(self) -> MarketFeed:
        return self.make()

    @pytest.fixture
    def wanted(self) -> Sequence[TrackedPair]:
        return [
            TrackedPair(symbol="ETH/USDT"),
            TrackedPair(symbol="SOL/USDT", market=Market.USDM),
            TrackedPair(symbol="ABC/USDT"),
        ]

    @pytest.fixture
    def ending(self) -> MarketFeed:
        return self.make(events=self.enough)

    @pytest.fixture
    def interrupted(self) -> MarketFeed:
        return self.make(faults=Faults(disconnect=0.02))


class TestSimulatedFeedOnABadLine(TestSimulatedFeed):
    faults = Faults(gap=0.05, duplicate=0.05, reorder=0.05, disconnect=0.01)
    loses = True


async def test_a_pair_that_is_not_enabled_is_not_wanted() -> None:
    feed = SimulatedFeed(Simulation(), ManualClock(NOW))
    assert list(await feed.instruments([TrackedPair(symbol="ETH/USDT", enabled=False)])) == []


async def test_what_is_made_up_is_never_given_for_another_venue() -> None:
    feed = SimulatedFeed(Simulation(), ManualClock(NOW))
    with pytest.raises(FeedRejected, match=r"binance\.spot\.ethusdt"):
        await read(feed, [Instrument(venue="binance", market=Market.SPOT, symbol="ETH/USDT")], 1)


@pytest.mark.parametrize("events", [0, 1, 100])
async def test_the_number_of_events_counts_over_all_streams(events: int) -> None:
    feed = SimulatedFeed(Simulation(events=events, speed="max"), ManualClock(NOW))
    instruments = await feed.instruments([TrackedPair(symbol="ETH/USDT")])
    first = await read(feed, instruments, min(60, events))
    assert len(first) + len(await read(feed, instruments, 1_000)) == events


async def test_the_same_settings_give_the_same_events_at_any_time_and_speed() -> None:
    async def history(now: int, speed: str) -> list[object]:
        settings = Simulation(start=NOW, speed=speed, events=2_000, faults=Faults(gap=0.01, reorder=0.01))  # type: ignore[arg-type]
        feed = SimulatedFeed(settings, ManualClock(now))
        pairs = [TrackedPair(symbol="ETH/USDT"), TrackedPair(symbol="SOL/USDT")]
        return list(await read(feed, await feed.instruments(pairs), 2_000))

    assert await history(NOW, "1x") == await history(NOW - 10**18, "max") == await history(1, "1x")


@pytest.mark.parametrize("start", [None, NOW - 10**18], ids=["now", "another day"])
async def test_real_time_paces_against_the_clock(start: int | None) -> None:
    clock = ManualClock(NOW)
    feed = SimulatedFeed(Simulation(rate=20.0, start=start), clock)
    instruments = await feed.instruments([TrackedPair(symbol="ETH/USDT")])
    events = await read(feed, instruments, 2_000)
    assert clock.now() - NOW == events[-1].ts_recv - (start or NOW)
    assert 80 < (clock.now() - NOW) / 1e9 < 120  # 2000 events at 20 a second


async def test_full_speed_does_not_wait_for_the_clock() -> None:
    clock = ManualClock(NOW, auto=False)
    feed = SimulatedFeed(Simulation(speed="max"), clock)
    assert len(await read(feed, await feed.instruments([TrackedPair(symbol="ETH/USDT")]), 2_000)) == 2_000


async def test_a_later_stream_goes_on_with_the_same_markets() -> None:
    clock = ManualClock(NOW)
    feed = SimulatedFeed(Simulation(), clock)
    eth = await feed.instruments([TrackedPair(symbol="ETH/USDT")])
    before = [event for event in await read(feed, eth, 500) if isinstance(event, TradeTick)]
    clock.advance(60_000_000_000)
    both = await feed.instruments([TrackedPair(symbol="SOL/USDT"), TrackedPair(symbol="ETH/USDT")])
    events = await read(feed, both, 500)
    after = [event for event in events if isinstance(event, TradeTick) and event.instrument in eth]
    assert after[0].trade_id - before[-1].trade_id < 25
    assert after[0].ts_event > before[-1].ts_event + 59_000_000_000
    assert {event.instrument for event in events if isinstance(event, BookSnapshot)} == set(both)


async def test_after_an_outage_comes_a_snapshot_of_everything() -> None:
    feed = SimulatedFeed(Simulation(faults=Faults(disconnect=0.01), speed="max"), ManualClock(NOW))
    instruments = await feed.instruments([TrackedPair(symbol="ETH/USDT"), TrackedPair(symbol="SOL/USDT")])
    events: list[MarketEvent] = []
    async with aclosing(feed.stream(instruments)) as stream:
        while len(events) < 5_000:
            events.append(await anext(stream))
            if isinstance(events[-1], Disconnect):
                feed.resync(instruments[0])  # in vain, as long as the line is down
    outages = [at for at, event in enumerate(events[:-2]) if isinstance(event, Disconnect)]
    assert len(outages) > 10
    for at in outages:
        back = events[at + 1 : at + 3]
        assert [event.instrument for event in back if isinstance(event, BookSnapshot)] == list(instruments)


async def test_a_reader_that_asks_for_a_snapshot_whenever_it_is_lost_has_the_true_book() -> None:
    faults = Faults(gap=0.005, duplicate=0.01, reorder=0.005, disconnect=0.001)
    feed = SimulatedFeed(Simulation(faults=faults, speed="max", events=20_000), ManualClock(NOW))
    instruments = await feed.instruments([TrackedPair(symbol="ETH/USDT"), TrackedPair(symbol="SOL/USDT")])
    books: dict[Instrument, OrderBook] = {}
    lost = compared = 0
    async with aclosing(feed.stream(instruments)) as stream:
        async for event in stream:
            if isinstance(event, BookSnapshot):
                books[event.instrument] = OrderBook(event)
            elif isinstance(event, QuoteTick) and event.instrument in books:
                book = books[event.instrument]
                try:
                    book.apply(event)
                except BookStale:
                    lost += 1
                    del books[event.instrument]
                    feed.resync(event.instrument)
                    continue
                market = feed._markets[event.instrument]
                if book.last_update_id == market.last_update_id:
                    compared += 1
                    assert book.depth() == (market.bids.levels(), market.asks.levels())
    assert lost > 20
    assert compared > 8_000
    assert all(feed.fired[fault] > 5 for fault in Fault)
