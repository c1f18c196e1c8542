"""A recording loses nothing, doubles nothing and shows no wrong book, whatever the line and the store do."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from itertools import pairwise
from typing import Literal

import pytest

from binance_proxy.adapters.memory.clock import ManualClock
from binance_proxy.adapters.memory.publisher import MemoryPublisher
from binance_proxy.adapters.memory.registry import MemoryRegistry
from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.adapters.simulated.feed import SimulatedFeed
from binance_proxy.adapters.simulated.settings import Faults, Simulation
from binance_proxy.application.keeping import RecordSettings
from binance_proxy.application.ports import (
    EventsRejected,
    FeedRejected,
    MarketFeed,
    StoredEvent,
    StoreRejected,
    TrackedPair,
)
from binance_proxy.application.record import Recording
from binance_proxy.domain.book_sync import BookSync
from binance_proxy.domain.candle import Timeframe
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Instrument, Market, Stream
from binance_proxy.domain.order_book import OrderBook
from binance_proxy.domain.scale import to_units
from binance_proxy.domain.sequence import covered_ids
from binance_proxy.domain.tick import BadFrame, BookSnapshot, MarketEvent, QuoteTick, TradeTick

NOW = 1_760_000_000_000_000_000
SECOND_NS = 1_000_000_000
PAIRS = (TrackedPair(symbol="ETH/USDT"), TrackedPair(symbol="SOL/USDT", market=Market.USDM))
PATIENCE_S = 30.0
FOREVER = (0, 2**63 - 1)
QUICK = {"batch": 200, "batch_age_s": 0.0, "timeframes": ("1s", "1m"), "snapshot_interval_s": 20.0}


def simulation(
    events: int | None, seed: int = 1, faults: Faults | None = None, speed: Literal["1x", "max"] = "max"
) -> Simulation:
    return Simulation(seed=seed, events=events, levels=15, speed=speed, start=NOW, faults=faults or Faults())


class Watched:
    """A feed that remembers what it gave."""

    def __init__(self, feed: MarketFeed) -> None:
        self.feed = feed
        self.given: list[MarketEvent] = []
        self.instruments, self.resync, self.follow = feed.instruments, feed.resync, feed.follow

    async def stream(self, instruments: Sequence[Instrument]) -> AsyncGenerator[MarketEvent]:
        async with aclosing(self.feed.stream(instruments)) as events:
            async for event in events:
                self.given.append(event)
                yield event

    def distinct(self, kind: type) -> dict[object, MarketEvent]:
        """Return the first of each trade or update that was given."""
        known: dict[object, MarketEvent] = {}
        for event in self.given:
            if type(event) is kind:
                number = event.trade_id if kind is TradeTick else event.last_update_id
                known.setdefault((event.instrument.name, number), event)
        return known


class Bench:
    """A recording between a feed, a store and a publisher of our own."""

    def __init__(
        self,
        feed: MarketFeed,
        store: MemoryStore | None = None,
        clock: ManualClock | None = None,
        registry: MemoryRegistry | None = None,
        **settings: object,
    ) -> None:
        registry = registry or MemoryRegistry(PAIRS)
        self.feed = Watched(feed)
        self.store = store or MemoryStore()
        self.clock = clock or ManualClock(NOW, auto=False)
        self.publisher = MemoryPublisher()
        self.messages = self.publisher.listen("")
        self.recording = Recording(
            feed=self.feed,
            store=self.store,
            pairs=registry,
            registry=registry,
            publisher=self.publisher,
            clock=self.clock,
            settings=RecordSettings(**(QUICK | settings)),
            publish_snapshot_s=10.0,
        )
        self.report = self.recording.report
        self.stop = asyncio.Event()
        self.truth: dict[str, dict[int, tuple]] = {}

    async def run(self) -> None:
        await self.recording.prepare()
        await asyncio.wait_for(self.recording.run(self.stop), PATIENCE_S)

    async def start(self) -> asyncio.Task:
        await self.recording.prepare()
        return asyncio.ensure_future(self.recording.run(self.stop))

    async def kept(self, kind: type) -> list[StoredEvent]:
        found = []
        for instrument in self.recording.instruments:
            async with aclosing(self.store.scan(kind, instrument, *FOREVER)) as events:
                found += [event async for event in events]
        return found

    def said(self, ending: str) -> list[dict]:
        return [body for topic, body in self.messages if topic.endswith(ending)]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  nothing says when
            await asyncio.sleep(0.001)


async def settle() -> None:
    """Let every other task run until nothing moves any more."""
    for _ in range(100):
        await asyncio.sleep(0)


# A reader who has nothing but the wire.


def event_of(body: dict, instrument: Instrument) -> QuoteTick | BookSnapshot:
    known = {
        "instrument": instrument, "ts_event": body["ts_event"], "ts_recv": body["ts_recv"],
        "last_update_id": body["last_update_id"],
    } | {
        side: tuple(
            (to_units(price, instrument.price_precision), to_units(size, instrument.size_precision))
            for price, size in body[side]
        )
        for side in ("bids", "asks")
    }  # fmt: skip
    if body["type"] == "snapshot":
        return BookSnapshot(**known)
    return QuoteTick(
        first_update_id=body["first_update_id"], previous_update_id=body.get("previous_update_id"), **known
    )


async def true_depths(seed: int, count: int) -> dict[str, dict[int, tuple]]:
    """Return the whole book behind every update, as the simulated markets really had it."""
    feed = SimulatedFeed(simulation(count, seed), ManualClock(NOW))
    books: dict[str, OrderBook] = {}
    depths: dict[str, dict[int, tuple]] = {}
    async with aclosing(feed.stream(await feed.instruments(PAIRS))) as events:
        async for event in events:
            if isinstance(event, BookSnapshot):
                books[event.instrument.name] = OrderBook(event)
            elif isinstance(event, QuoteTick) and event.instrument.name in books:
                books[event.instrument.name].apply(event)
            else:
                continue
            book = books[event.instrument.name]
            depths.setdefault(event.instrument.name, {})[book.last_update_id] = book.depth()
    return depths


ALL = Faults(gap=0.01, duplicate=0.02, reorder=0.02, disconnect=0.002)


RECORDED: dict[int, "Bench"] = {}


@pytest.fixture(params=range(8))
async def history(request: pytest.FixtureRequest) -> Bench:
    """A recording of two markets over a bad line, from its beginning to its end."""
    seed: int = request.param
    if seed not in RECORDED:
        bench = Bench(SimulatedFeed(simulation(2_500, seed, ALL), ManualClock(NOW)))
        await bench.run()
        bench.truth = await true_depths(seed, 8_000)
        RECORDED[seed] = bench
    fired = RECORDED[seed].feed.feed.fired
    assert len(fired) == 4
    assert all(fired.values())
    return RECORDED[seed]


class TestHistories:
    async def test_every_trade_is_published_once_and_stored_once(self, history: Bench) -> None:
        given = history.feed.distinct(TradeTick)
        published = Counter((body["symbol"], body["trade_id"]) for body in history.said(".trades"))
        stored = Counter((one.instrument.symbol, one.trade_id) for one in await history.kept(TradeTick))
        wanted = Counter((one.instrument.symbol, one.trade_id) for one in given.values())
        assert published == stored == wanted
        assert history.report.trades == len(given)

    async def test_every_update_is_stored_once(self, history: Bench) -> None:
        given = history.feed.distinct(QuoteTick)
        stored = Counter((one.instrument.name, one.last_update_id) for one in await history.kept(QuoteTick))
        assert stored == Counter(given.keys())
        assert history.report.quotes == len(given)
        ticks = [one for one in history.feed.given if isinstance(one, TradeTick | QuoteTick)]
        assert history.report.duplicates == len(ticks) - history.report.trades - history.report.quotes

    async def test_a_reader_of_the_wire_has_the_true_book_after_every_message(self, history: Bench) -> None:
        truth = history.truth
        compared = 0
        for instrument in history.recording.instruments:
            reader = BookSync(trusting=True)
            bodies = history.said(f"{instrument.name}.orderbook")
            for before, body in pairwise([{"type": "quote"}, *bodies]):
                if body["type"] == "stale":
                    assert before["type"] != "stale" or body is bodies[-1], "once, and at the end of the run"
                    reader.lose_step()
                    continue
                event = event_of(body, instrument)
                if isinstance(event, BookSnapshot):
                    assert reader.snapshot(event) in ((event,), ())
                else:
                    assert reader.update(event) == (event,), "what is published can be applied"
                assert reader.book is not None
                assert reader.book.depth() == truth[instrument.name][reader.book.last_update_id]
                compared += 1
        assert compared > history.report.applied

    async def test_the_reader_is_never_behind_the_recorders_book(self, history: Bench) -> None:
        for track in history.recording._tracks.values():
            newest = history.said(f"{track.instrument.name}.orderbook")[-1]
            if track._sync.book is not None:
                assert event_of(newest, track.instrument) == track._sync.book.snapshot()

    async def test_every_hole_is_told_and_is_what_the_store_lacks(self, history: Bench) -> None:
        told = [body for body in history.said(".gaps") if body["state"] == "open"]
        assert len(told) == history.report.gaps > 5
        gaps = await history.kept(Gap)
        # A hole of which updates came late, and others never, ends as several gaps.
        assert len(gaps) >= history.report.gaps
        for instrument in history.recording.instruments:
            for stream, kind in ((Stream.TRADES, TradeTick), (Stream.ORDERBOOK, QuoteTick)):
                ticks = [one for one in await history.kept(kind) if one.instrument == instrument]
                ranges = [
                    (one.trade_id, one.trade_id) if isinstance(one, TradeTick) else covered_ids(one)
                    for one in ticks
                ]
                here = {number for first, last in ranges for number in range(first, last + 1)}
                missing = set(range(min(here), max(here) + 1)) - here
                own = [gap for gap in gaps if (gap.instrument, gap.stream) == (instrument, stream)]
                not_repaired = set()
                for gap in own:
                    ids = set(range(gap.first_id, gap.last_id + 1))
                    if gap.state is GapState.REPAIRED:
                        assert ids <= here
                    elif gap.state is GapState.LOST:
                        assert not ids & here
                        not_repaired |= ids
                    else:
                        assert ids & missing
                        not_repaired |= ids
                assert missing <= not_repaired
        whole = {(body["symbol"], body["stream"], body["first_id"], body["last_id"]) for body in told}
        assert history.report.repaired == sum(
            (gap.instrument.symbol, gap.stream, gap.first_id, gap.last_id) in whole
            for gap in gaps
            if gap.state is GapState.REPAIRED
        )
        assert history.report.repaired > 0

    async def test_what_was_told_last_of_a_gap_is_what_the_store_says(self, history: Bench) -> None:
        last = {
            (body["symbol"], body["stream"], body["first_id"]): body["state"]
            for body in history.said(".gaps")
        }
        gaps = await history.kept(Gap)
        assert {(gap.instrument.symbol, gap.stream, gap.first_id): gap.state for gap in gaps} == last

    async def test_each_topic_is_numbered_without_holes(self, history: Bench) -> None:
        numbers: dict[str, list[int]] = {}
        for topic, body in history.messages:
            numbers.setdefault(topic, []).append(body["sequence"])
        assert all(sequence == list(range(1, len(sequence) + 1)) for sequence in numbers.values())

    async def test_closed_candles_are_published_once_except_corrections_and_end_as_the_stores(
        self, history: Bench
    ) -> None:
        for instrument in history.recording.instruments:
            for name in ("1s", "1m"):
                bodies = [
                    body for body in history.said(f"{instrument.name}.candles.{name}") if body["closed"]
                ]
                versions: dict[int, list[dict]] = {}
                for body in bodies:
                    versions.setdefault(body["start"], []).append(body)
                for candles in versions.values():
                    for one, other in pairwise(candles):
                        more = other["trades"] - one["trades"]
                        assert more == 1 or (more == 0 and other["complete"] and not one["complete"])
                kept = await history.store.candles(instrument, Timeframe(name), *FOREVER)
                closed = {candle.start: candle for candle in kept if candle.closed}
                assert versions.keys() >= closed.keys()
                for start, candle in closed.items():
                    newest = versions[start][-1]
                    assert to_units(newest["volume"], 8) == candle.volume
                    assert to_units(newest["close"], 8) == candle.close
                    assert (newest["trades"], newest["ts_event"]) == (candle.trades, candle.ts_event)
                    assert candle.complete or not newest["complete"]

    async def test_nothing_is_left_over(self, history: Bench) -> None:
        assert history.report.unstored == history.recording.waiting == 0
        rows = sum([len(await history.kept(kind)) for kind in (TradeTick, QuoteTick, BookSnapshot, Gap)])
        assert history.report.new == rows


# A store that is slow, stuck, or refuses.


class StuckStore(MemoryStore):
    """A store that answers only once it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.released = asyncio.Event()
        self.calls = 0

    async def append(self, events: Sequence[StoredEvent]) -> int:
        self.calls += 1
        await self.released.wait()
        return await super().append(events)


class RefusingStore(MemoryStore):
    """A store that refuses from a certain batch on."""

    def __init__(self, refuse_from: int, error: type[Exception] = StoreRejected) -> None:
        super().__init__()
        self.refuse_from = refuse_from
        self.error = error
        self.calls = 0

    async def append(self, events: Sequence[StoredEvent]) -> int:
        self.calls += 1
        await asyncio.sleep(0)
        if self.calls >= self.refuse_from:
            raise self.error("no more")
        return await super().append(events)


async def test_a_stuck_store_does_not_slow_publishing() -> None:
    store = StuckStore()
    bench = Bench(SimulatedFeed(simulation(3_000), ManualClock(NOW)), store, flush_timeout_s=0.05)
    running = await bench.start()
    await until(lambda: len(bench.feed.given) == 3_000)
    await asyncio.wait_for(running, PATIENCE_S)
    assert len(bench.said(".trades")) == len(bench.feed.distinct(TradeTick)) == bench.report.trades
    assert len([body for body in bench.said(".orderbook") if body["type"] == "quote"]) == bench.report.applied
    accepted = bench.report.trades + bench.report.quotes + bench.report.snapshots
    assert (bench.report.stored, bench.report.unstored) == (0, accepted)


async def test_once_the_buffer_is_full_the_feed_waits_and_nothing_is_dropped() -> None:
    store = StuckStore()
    bench = Bench(SimulatedFeed(simulation(3_000), ManualClock(NOW)), store, buffer=1_000)
    running = await bench.start()
    await until(lambda: bench.recording._buffer.is_full)
    read = len(bench.feed.given)
    await asyncio.sleep(0.05)
    assert len(bench.feed.given) == read < 2_000
    assert len(bench.said(".trades")) == len(bench.feed.distinct(TradeTick))
    store.released.set()
    await asyncio.wait_for(running, PATIENCE_S)
    assert len(bench.feed.given) == 3_000
    assert len(await bench.kept(TradeTick)) == len(bench.feed.distinct(TradeTick)) == bench.report.trades
    assert len(await bench.kept(QuoteTick)) == len(bench.feed.distinct(QuoteTick)) == bench.report.quotes
    assert bench.report.unstored == 0


async def test_a_slow_store_gets_everything_in_the_end() -> None:
    class SlowStore(MemoryStore):
        async def append(self, events: Sequence[StoredEvent]) -> int:
            await asyncio.sleep(0.001)
            return await super().append(events)

    bench = Bench(SimulatedFeed(simulation(2_000), ManualClock(NOW)), SlowStore(), buffer=500, batch=100)
    await bench.run()
    assert len(await bench.kept(TradeTick)) == len(bench.feed.distinct(TradeTick))
    assert len(await bench.kept(QuoteTick)) == len(bench.feed.distinct(QuoteTick))


async def test_so_many_batches_are_on_their_way_at_once_as_there_are_writers() -> None:
    store = StuckStore()
    bench = Bench(SimulatedFeed(simulation(1_000), ManualClock(NOW)), store, writers=3)
    running = await bench.start()
    await until(lambda: len(bench.feed.given) == 1_000)
    await settle()
    assert store.calls == 3
    store.released.set()
    await asyncio.wait_for(running, PATIENCE_S)


@pytest.mark.parametrize("after", [0, 1, 500, 1_500])
async def test_a_stop_stores_everything_that_was_accepted(after: int) -> None:
    store = StuckStore()
    bench = Bench(SimulatedFeed(simulation(None), ManualClock(NOW)), store, buffer=10**9)
    running = await bench.start()
    await until(lambda: len(bench.feed.given) >= after)
    bench.stop.set()
    await settle()
    accepted = len(bench.feed.given)
    store.released.set()
    await asyncio.wait_for(running, PATIENCE_S)
    assert len(bench.feed.given) == accepted, "nothing is read any more"
    assert (
        len(await bench.kept(TradeTick)) == len(bench.feed.distinct(TradeTick)) == len(bench.said(".trades"))
    )
    assert len(await bench.kept(QuoteTick)) == len(bench.feed.distinct(QuoteTick))
    assert bench.report.unstored == 0


@pytest.mark.parametrize("writers", [1, 2, 4])
@pytest.mark.parametrize("refuse_from", [1, 2, 7])
@pytest.mark.parametrize("error", [StoreRejected, EventsRejected])
async def test_a_store_that_refuses_ends_the_recording_and_the_report_says_what_is_not_stored(
    refuse_from: int, writers: int, error: type[Exception]
) -> None:
    bench = Bench(
        SimulatedFeed(simulation(5_000), ManualClock(NOW)), RefusingStore(refuse_from, error), writers=writers
    )
    with pytest.raises(error, match="no more"):
        await bench.run()
    assert len(bench.feed.given) < 5_000, "it stops soon"
    kept = sum([len(await bench.kept(kind)) for kind in (TradeTick, QuoteTick, BookSnapshot, Gap)])
    accepted = bench.report.trades + bench.report.quotes + bench.report.snapshots
    assert bench.report.stored == kept
    assert bench.report.unstored == accepted - kept > 0


async def test_a_recording_that_is_cancelled_says_what_is_not_stored() -> None:
    bench = Bench(SimulatedFeed(simulation(1_000), ManualClock(NOW)), StuckStore())
    running = await bench.start()
    await until(lambda: len(bench.feed.given) == 1_000)
    await settle()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert bench.report.unstored == bench.report.trades + bench.report.quotes + bench.report.snapshots


async def test_a_feed_that_breaks_ends_the_recording_and_what_came_before_is_stored() -> None:
    class Breaking(SimulatedFeed):
        async def stream(self, instruments: Sequence[Instrument]) -> AsyncGenerator[MarketEvent]:
            async with aclosing(super().stream(instruments)) as events:
                async for event in events:
                    yield event
            raise FeedRejected("the file is gone")

    bench = Bench(Breaking(simulation(700), ManualClock(NOW)))
    with pytest.raises(FeedRejected, match="the file is gone"):
        await bench.run()
    assert len(await bench.kept(TradeTick)) == len(bench.feed.distinct(TradeTick)) > 0
    assert bench.report.unstored == 0


async def test_no_task_is_left_behind() -> None:
    before = asyncio.all_tasks()
    for refuse_from in (1, 10**9):
        bench = Bench(SimulatedFeed(simulation(300), ManualClock(NOW)), RefusingStore(refuse_from))
        with suppress(StoreRejected):
            await bench.run()
    assert asyncio.all_tasks() == before


# Those who come late, and those who want to know how things are.


async def live() -> tuple[Bench, asyncio.Task]:
    """Start a recording of markets that move with the clock; the books are in step."""
    clock = ManualClock(NOW, auto=False)
    bench = Bench(SimulatedFeed(simulation(None, speed="1x"), clock), clock=clock)
    running = await bench.start()
    for _ in range(10):
        await pass_time(bench)
    assert all(track.in_step for track in bench.recording._tracks.values())
    return bench, running


async def pass_time(bench: Bench) -> None:
    """Let a fifth of a second pass, and everybody do what there is to do."""
    goal = bench.clock.now() + SECOND_NS // 5
    while (due := bench.clock.sleeping_until) is not None and due <= goal:
        bench.clock.set(max(due, bench.clock.now()))
        await settle()
    bench.clock.set(goal)
    await settle()


async def end(bench: Bench, running: asyncio.Task) -> None:
    bench.stop.set()
    await asyncio.wait_for(running, PATIENCE_S)


async def test_a_newcomer_gets_the_book_at_once() -> None:
    bench, running = await live()
    instrument = bench.recording.instruments[0]
    mailbox = bench.publisher.listen(f"{instrument.name}.orderbook")
    await pass_time(bench)
    await pass_time(bench)
    reader = BookSync(trusting=True)
    types = [body["type"] for _, body in mailbox]
    assert types.count("snapshot") == 1, "once, not at every turn"
    for _, body in mailbox[types.index("snapshot") :]:
        event = event_of(body, instrument)
        if isinstance(event, BookSnapshot):
            reader.snapshot(event)
        else:
            assert reader.update(event) == (event,)
    assert reader.book is not None
    book = bench.recording._tracks[instrument]._sync.book
    assert book is not None
    assert reader.book.snapshot() == book.snapshot()
    await end(bench, running)


async def test_newcomers_one_after_the_other_get_one_book_a_second_together() -> None:
    bench, running = await live()
    topic = f"{bench.recording.instruments[0].name}.orderbook"
    first = bench.publisher.listen(topic)
    await pass_time(bench)
    await pass_time(bench)
    assert [body["type"] for _, body in first].count("snapshot") == 1, "the first one at once"
    for _ in range(25):
        last = bench.publisher.listen(topic)
        await pass_time(bench)
    for _ in range(6):
        await pass_time(bench)
    assert 1 + 5 <= [body["type"] for _, body in first].count("snapshot") <= 1 + 7
    assert [body["type"] for _, body in last].count("snapshot") >= 1, "the last one too"
    await end(bench, running)


async def test_a_newcomer_to_something_else_gets_no_book() -> None:
    bench, running = await live()
    before = len(bench.messages)
    bench.publisher.listen("bridge.status", "simulated.spot.ethusdt.trades", "binance.")
    await pass_time(bench)
    types = [body["type"] for topic, body in bench.messages[before:] if topic.endswith(".orderbook")]
    assert "snapshot" not in types
    await end(bench, running)


async def test_the_state_is_told_once_a_second_and_at_the_end() -> None:
    bench, running = await live()
    before = len(bench.said("bridge.status"))
    for _ in range(20):
        await pass_time(bench)
    regular = bench.said("bridge.status")[before:]
    times = [body["ts_recv"] for body in regular]
    assert [later - earlier for earlier, later in pairwise(times)] == [SECOND_NS] * 3
    await end(bench, running)
    last = bench.said("bridge.status")[-1]
    assert last["stored"] == bench.report.stored > 0
    assert last["waiting"] == 0
    assert last["instruments"] == {
        "simulated.spot.ethusdt": "in step", "simulated.usdm.solusdt": "in step",
    }  # fmt: skip


async def test_a_lost_connection_shows_every_book_as_stale_until_its_snapshot_comes() -> None:
    bench = Bench(SimulatedFeed(simulation(3_000, faults=Faults(disconnect=0.005)), ManualClock(NOW)))
    await bench.run()
    states = [tuple(body["instruments"].values()) for body in bench.said("bridge.status")]
    assert bench.report.disconnects > 2
    assert states.count(("stale", "stale")) >= bench.report.disconnects
    assert ("in step", "in step") in states


async def test_units_are_those_that_the_registry_fixed_first() -> None:
    registry = MemoryRegistry(PAIRS)
    feed = SimulatedFeed(simulation(10), ManualClock(NOW))
    first, second = await feed.instruments(PAIRS)
    await registry.register(first)
    bench = Bench(feed, registry=registry)
    assert list(await bench.recording.prepare()) == [first, second]


async def test_bad_frames_are_counted_by_kind_and_harm_nobody() -> None:
    class Garbled(SimulatedFeed):
        async def stream(self, instruments: Sequence[Instrument]) -> AsyncGenerator[MarketEvent]:
            number = 0
            async with aclosing(super().stream(instruments)) as events:
                async for event in events:
                    number += 1
                    if number % 10 == 0:
                        kind = "broken JSON" if number % 20 else "unknown symbol"
                        yield BadFrame(kind=kind, where="here", detail="this", ts_recv=event.ts_recv)
                    yield event

    bench = Bench(Garbled(simulation(1_000), ManualClock(NOW)))
    await bench.run()
    assert bench.report.bad == {"broken JSON": 50, "unknown symbol": 50}
    assert bench.said("bridge.status")[-1]["bad_frames"] == {"broken JSON": 50, "unknown symbol": 50}
    assert len(await bench.kept(TradeTick)) == len(bench.feed.distinct(TradeTick))
    assert bench.report.gaps == 0
