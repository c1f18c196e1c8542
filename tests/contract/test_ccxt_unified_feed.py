"""The unified feed of ccxt keeps the promises of its port, over real sockets, at a sandbox.

The exchange is Binance US, which speaks Binance's protocol, with its addresses set to the sandbox.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing

import pytest
from msgspec.structs import replace

from binance_proxy.adapters.ccxt.feed import UnifiedFeed
from binance_proxy.adapters.ccxt.settings import Ccxt
from binance_proxy.adapters.simulated.feed import SimulatedFeed
from binance_proxy.adapters.simulated.settings import Simulation
from binance_proxy.adapters.system.clock import SystemClock
from binance_proxy.application.ports import FeedRejected, MarketFeed, TrackedPair
from binance_proxy.domain.book_sync import BookSync
from binance_proxy.domain.instrument import Instrument, Market
from binance_proxy.domain.tick import BadFrame, BookSnapshot, Disconnect, MarketEvent, QuoteTick, TradeTick
from binance_proxy.sandbox.serve import Sandbox, serve
from binance_proxy.sandbox.settings import Faults, SandboxSettings
from contract.market_feed import MarketFeedContract, read

PAIRS = "ETH/USDT", "SOL/USDT"
PATIENCE_S = 60


class Sandboxes:
    """Starts sandboxes that last as long as the test."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack

    async def start(self, **settings: object) -> Sandbox:
        clock = SystemClock()
        simulated = SimulatedFeed(Simulation(rate=200.0, levels=50), clock)
        instruments = await simulated.instruments([TrackedPair(symbol=symbol) for symbol in PAIRS])
        return await self._stack.enter_async_context(
            serve(simulated, instruments, SandboxSettings(port=0, hold=False, **settings))
        )

    async def feed(self, **settings: object) -> UnifiedFeed:
        sandbox = await self.start(**settings)
        return UnifiedFeed(at(sandbox), SystemClock(), longest_pause_s=0.2)


def at(sandbox: Sandbox) -> Ccxt:
    return Ccxt(exchange="binanceus", rest_url=sandbox.rest_url, stream_url=sandbox.stream_url)


@pytest.fixture
async def sandboxes() -> AsyncIterator[Sandboxes]:
    async with AsyncExitStack() as stack:
        yield Sandboxes(stack)


class TestUnifiedFeed(MarketFeedContract):
    @pytest.fixture
    async def feed(self, sandboxes: Sandboxes) -> MarketFeed:
        return await sandboxes.feed()

    @pytest.fixture
    def wanted(self) -> Sequence[TrackedPair]:
        return [TrackedPair(symbol=symbol) for symbol in PAIRS]

    @pytest.fixture
    async def unreadable(self, sandboxes: Sandboxes) -> MarketFeed:
        return await sandboxes.feed(faults=Faults(place=1.0))

    @pytest.fixture
    async def interrupted(self, sandboxes: Sandboxes) -> MarketFeed:
        return await sandboxes.feed(faults=Faults(cut_s=0.1))


async def described(feed: UnifiedFeed) -> Sequence[Instrument]:
    return await feed.instruments([TrackedPair(symbol=symbol) for symbol in PAIRS])


async def test_made_up_data_keep_the_name_of_what_made_them_up(sandboxes: Sandboxes) -> None:
    feed = await sandboxes.feed()
    assert [instrument.name for instrument in await described(feed)] == [
        "simulated.spot.ethusdt",
        "simulated.spot.solusdt",
    ]


async def test_pairs_that_are_left_out_are_warned_of_once_each(
    sandboxes: Sandboxes, caplog: pytest.LogCaptureFixture
) -> None:
    feed = await sandboxes.feed()
    wanted = [
        TrackedPair(symbol="NO/SUCH"),
        TrackedPair(symbol="ETH/USDT", market=Market.USDM),
        TrackedPair(symbol="SOL/USDT", enabled=False),
    ]
    assert list(await feed.instruments(wanted)) == []
    assert list(await feed.instruments(wanted)) == []
    assert [record.args[1] for record in caplog.records if record.name.endswith("ccxt.feed")] == [
        "NO/SUCH",
        "ETH/USDT",
    ]


async def test_the_trades_are_those_of_the_venue_and_none_is_missing(sandboxes: Sandboxes) -> None:
    feed = await sandboxes.feed()
    instruments = await described(feed)
    trades = [event for event in await read(feed, instruments, 800) if isinstance(event, TradeTick)]
    for instrument in instruments:
        ids = [trade.trade_id for trade in trades if trade.instrument == instrument]
        assert len(ids) > 20
        assert ids == list(range(ids[0], ids[0] + len(ids)))


async def test_books_get_into_step_and_stay_there(sandboxes: Sandboxes) -> None:
    feed = await sandboxes.feed()
    books: dict[Instrument, BookSync] = {}
    passed = 0
    async with aclosing(feed.stream(await described(feed))) as stream:
        for _ in range(1_000):
            event = await anext(stream)
            if isinstance(event, QuoteTick):
                passed += len(books[event.instrument].update(event))
            elif isinstance(event, BookSnapshot):
                books.setdefault(event.instrument, BookSync()).snapshot(event)
            assert not isinstance(event, BadFrame | Disconnect)
    assert passed > 10
    for book in books.values():
        assert book.book is not None
        bids, asks = book.book.depth(1)
        assert bids[0][0] < asks[0][0]


async def test_after_a_lost_connection_a_snapshot_comes_that_does_not_follow(sandboxes: Sandboxes) -> None:
    feed = await sandboxes.feed(faults=Faults(cut_s=0.2))
    instruments = await described(feed)
    last: dict[Instrument, int] = {}
    fresh: set[Instrument] = set(instruments)
    events: list[MarketEvent] = []
    jumps = 0
    async with aclosing(feed.stream(instruments)) as stream, asyncio.timeout(PATIENCE_S):
        async for event in stream:
            events.append(event)
            if isinstance(event, Disconnect):
                fresh |= set(event.instruments)
            elif isinstance(event, BookSnapshot):
                if event.instrument in fresh and event.instrument in last:
                    jumps += 1
                    assert event.last_update_id > last[event.instrument] + 1
                fresh.discard(event.instrument)
                last[event.instrument] = event.last_update_id
            elif isinstance(event, QuoteTick):
                assert event.instrument not in fresh
                assert event.first_update_id == event.last_update_id == last[event.instrument] + 1
                last[event.instrument] = event.last_update_id
            if jumps == 3:
                break
    assert sum(isinstance(event, Disconnect) for event in events) >= 3


async def test_a_broken_frame_ends_the_connection_and_is_told_of(
    sandboxes: Sandboxes, caplog: pytest.LogCaptureFixture
) -> None:
    feed = await sandboxes.feed(faults=Faults(corrupt=0.02))
    events = await read(feed, await described(feed), 400)
    assert any(isinstance(event, Disconnect) for event in events)
    assert [record for record in caplog.records if record.name == "asyncio"] == []


async def test_silence_ends_the_connection_and_is_told_of(sandboxes: Sandboxes) -> None:
    sandbox = await sandboxes.start(faults=Faults(freeze_s=0.05))
    feed = UnifiedFeed(at(sandbox), SystemClock(), silence_s=0.5, longest_pause_s=0.2)
    instruments = await described(feed)
    async with aclosing(feed.stream(instruments)) as stream, asyncio.timeout(PATIENCE_S):
        async for event in stream:
            if isinstance(event, Disconnect) and "nothing came" in event.reason:
                assert set(event.instruments) <= set(instruments)
                break
        assert await anext(stream)


@pytest.mark.parametrize("refuse_s", [0.0, 0.001], ids=["while connected", "while refused"])
async def test_closing_the_generator_ends_all_tasks_and_sockets(
    sandboxes: Sandboxes, refuse_s: float
) -> None:
    sandbox = await sandboxes.start(faults=Faults(refuse_s=refuse_s))
    feed = UnifiedFeed(at(sandbox), SystemClock(), longest_pause_s=0.2)
    instruments = await described(feed)
    before = asyncio.all_tasks()
    async with aclosing(feed.stream(instruments)) as stream:
        await anext(stream)
        if refuse_s:
            await asyncio.sleep(0.5)  # a few attempts
        assert ours(asyncio.all_tasks() - before)
    async with asyncio.timeout(5):  # ccxt itself would pause for longer between two attempts
        while ours(asyncio.all_tasks() - before):  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0.01)


def ours(tasks: set[asyncio.Task[object]]) -> set[asyncio.Task[object]]:
    return {task for task in tasks if "ccxt" in repr(task)}


async def test_one_pair_that_is_refused_does_not_end_the_others(sandboxes: Sandboxes) -> None:
    feed = await sandboxes.feed()
    instruments = await described(feed)
    gone = replace(instruments[0], symbol="NO/SUCH")
    events = await read(feed, [*instruments, gone], 300)
    assert [event.instruments for event in events if isinstance(event, Disconnect)] == [(gone,)]
    assert {event.instrument for event in events if isinstance(event, TradeTick)} == set(instruments)
    with pytest.raises(FeedRejected, match="NO/SUCH"):
        await read(feed, [gone], 2)


@pytest.mark.parametrize("begins_with", [(), PAIRS[:1]], ids=["nothing", "a pair"])
async def test_a_pair_that_is_followed_and_refused_does_not_end_the_stream(
    sandboxes: Sandboxes, begins_with: Sequence[str]
) -> None:
    feed = await sandboxes.feed()
    instruments = await described(feed)
    begun = [one for one in instruments if one.symbol in begins_with]
    gone = replace(instruments[0], symbol="NO/SUCH")
    async with asyncio.timeout(PATIENCE_S), aclosing(feed.stream(begun)) as stream:
        coming = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        if begun:
            await coming
            coming = asyncio.ensure_future(anext(stream))
        feed.follow([gone])
        while not isinstance(event := await coming, Disconnect):
            coming = asyncio.ensure_future(anext(stream))
        assert event.instruments == (gone,)
        feed.follow([gone, *instruments])
        seen = set[Instrument]()
        while seen != set(instruments):
            event = await anext(stream)
            seen |= {event.instrument} if isinstance(event, TradeTick) else set()
