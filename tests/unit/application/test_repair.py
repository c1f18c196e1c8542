"""Whatever the line loses and whenever the recorder is killed: in the end the store has what the venue has,
and no gap is called repaired that is not."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from itertools import groupby

import pytest
from msgspec.structs import replace

from binance_proxy.adapters.memory.clock import ManualClock
from binance_proxy.adapters.memory.history import MemoryHistory
from binance_proxy.adapters.memory.publisher import MemoryPublisher
from binance_proxy.adapters.memory.registry import MemoryRegistry
from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.adapters.simulated.feed import SimulatedFeed
from binance_proxy.adapters.simulated.settings import Faults, Simulation
from binance_proxy.application import keeping
from binance_proxy.application.keeping import RecordSettings
from binance_proxy.application.ports import (
    HistoryRejected,
    HistoryUnavailable,
    MarketFeed,
    StoredEvent,
    StoreUnavailable,
    TrackedPair,
)
from binance_proxy.application.record import Recording
from binance_proxy.application.repair import RepairSettings
from binance_proxy.domain.candle import Candle, Timeframe
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Instrument, Stream
from binance_proxy.domain.scale import to_units
from binance_proxy.domain.tick import MarketEvent, TradeTick
from contract.market_store import ETH, FOREVER, MS, T0, folded, gap, quote, scan, snapshot, trade

OPEN, LOST, REPAIRED = GapState.OPEN, GapState.LOST, GapState.REPAIRED
PATIENCE_S = 30.0
Script = Sequence[MarketEvent | Callable[[], Awaitable[None]]]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "GLANCE_S", 0.0)


class Line:
    """A live feed: it gives what is in the script, and then it waits for more that never comes."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.instrument = next((one.instrument for one in script if isinstance(one, TradeTick)), ETH)

    async def instruments(self, wanted: object) -> Sequence[Instrument]:
        return [self.instrument]

    async def stream(self, instruments: Sequence[Instrument]) -> AsyncGenerator[MarketEvent]:
        for one in self.script:
            if callable(one):
                await one()
            else:
                yield one
        await asyncio.Event().wait()

    def resync(self, instrument: Instrument) -> None:
        pass


class Venue(MemoryHistory):
    """A past that remembers who asked, and can be away, refuse, or have been told what to do first."""

    def __init__(self, trades: Sequence[TradeTick], *, page: int = 1_000) -> None:
        super().__init__(trades, page=page)
        self.asked: list[tuple[int, int]] = []
        self.errors: list[Exception] = []
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    async def trades(
        self, instrument: Instrument, first_id: int, last_id: int
    ) -> AsyncGenerator[Sequence[TradeTick]]:
        self.asked.append((first_id, last_id))
        if self.errors:
            raise self.errors.pop(0)
        async with aclosing(super().trades(instrument, first_id, last_id)) as pages:
            async for page in pages:
                if self.meanwhile is not None:
                    await self.meanwhile()
                yield page


class Bench:
    """A recording of a line, with a venue that can be asked."""

    def __init__(
        self,
        script: Script | MarketFeed,
        history: object,
        store: MemoryStore | None = None,
        *,
        record_settings: dict[str, object] | None = None,
        **repair: object,
    ) -> None:
        self.store = store or MemoryStore()
        self.publisher = MemoryPublisher()
        self.messages = self.publisher.listen("")
        quick = {"batch_age_s": 0.0, "timeframes": ("1s", "1m")}
        self.recording = Recording(
            feed=Line(script) if isinstance(script, Sequence) else script,
            store=self.store,
            pairs=self.store.registry,
            registry=self.store.registry,
            publisher=self.publisher,
            clock=ManualClock(T0, auto=False),
            settings=RecordSettings(**(quick | (record_settings or {}))),
            publish_snapshot_s=1e9,
            history=history,
            repair=RepairSettings(**({"patience_s": 0.0} | repair)),
        )
        self.report = self.recording.report

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["Bench"]:
        await self.recording.prepare()
        stop = asyncio.Event()
        task = asyncio.ensure_future(self.recording.run(stop))
        try:
            yield self
            stop.set()
            await asyncio.wait_for(task, PATIENCE_S)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def said(self, kind: str) -> list[dict]:
        return [body for _, body in self.messages if body["type"] == kind]

    def told(self) -> list[tuple[int, int, str]]:
        return [(body["first_id"], body["last_id"], body["state"]) for body in self.said("gap")]

    async def gaps(self, instrument: Instrument = ETH) -> list[tuple[int, int, GapState]]:
        kept = await scan(self.store, Gap, instrument)
        return sorted((one.first_id, one.last_id, one.state) for one in kept)

    async def ids(self, instrument: Instrument = ETH) -> list[int]:
        return [one.trade_id for one in await scan(self.store, TradeTick, instrument)]

    def newest_candles(self, timeframe: str) -> dict[int, dict]:
        """Return of each closed period what was published last."""
        bodies = [body for body in self.said("candle") if body["timeframe"] == timeframe and body["closed"]]
        return {body["start"]: body for body in bodies}

    async def candles_agree(self, instrument: Instrument = ETH) -> bool:
        """Return whether the newest closed candle on the wire of each period is the store's."""
        for name in ("1s", "1m"):
            kept = await self.store.candles(instrument, Timeframe(name), *FOREVER)
            newest = self.newest_candles(name)
            if any(candle.start in newest and not same(newest[candle.start], candle) for candle in kept):
                return False
        return True


def same(body: dict, candle: Candle) -> bool:
    price, size = candle.instrument.price_precision, candle.instrument.size_precision
    prices = tuple(to_units(body[name], price) for name in ("open", "high", "low", "close"))
    return (*prices, to_units(body["volume"], size), body["trades"]) == (
        candle.open, candle.high, candle.low, candle.close, candle.volume, candle.trades,
    )  # fmt: skip


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = condition()
            if found is True or (not isinstance(found, bool) and await found):
                return
            await asyncio.sleep(0.001)


async def turns(count: int = 50) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def closed(bench: Bench) -> Callable[[], Awaitable[bool]]:
    async def none_open() -> bool:
        gaps = await bench.gaps()
        return bool(gaps) and all(state is not OPEN for *_, state in gaps)

    return none_open


def some(*ids: int, **other: object) -> list[TradeTick]:
    return [trade(id_, **other) for id_ in ids]


HOLE = some(1, 2, 6, 7)
"""3 to 5 are missing."""


class TestAGap:
    async def test_is_fetched_and_its_trades_are_stored_and_published_once_and_late(self) -> None:
        venue = Venue(some(*range(1, 8)), page=2)
        async with Bench(HOLE, venue).running() as bench:
            await until(closed(bench))
        assert venue.asked == [(3, 5)]
        assert await bench.ids() == [1, 2, 3, 4, 5, 6, 7]
        assert [body["trade_id"] for body in bench.said("trade")] == [1, 2, 6, 7, 3, 4, 5]
        assert bench.told() == [(3, 5, "open"), (3, 5, "repaired")]
        assert await bench.gaps() == [(3, 5, REPAIRED)]
        late = [body for body in bench.said("trade") if body["trade_id"] == 4]
        assert [body["ts_event"] for body in late] == [trade(4).ts_event], "with its own old time"
        assert (bench.report.gaps, bench.report.repaired, bench.report.fetched) == (1, 1, 3)
        assert bench.said("status")[-1]["fetched"] == 3

    async def test_is_stored_before_it_is_called_repaired(self) -> None:
        class Reluctant(MemoryStore):
            allowed = asyncio.Event()

            async def append(self, events: Sequence[StoredEvent]) -> int:
                if any(isinstance(one, TradeTick) and one.trade_id == 4 for one in events):
                    await self.allowed.wait()
                return await super().append(events)

        store = Reluctant()
        store.allowed = asyncio.Event()
        async with Bench(HOLE, Venue(some(*range(1, 8))), store).running() as bench:
            await until(lambda: bench.told() == [(3, 5, "open")])
            await turns(500)
            assert bench.told() == [(3, 5, "open")]
            assert [body["trade_id"] for body in bench.said("trade")] == [1, 2, 6, 7]
            store.allowed.set()
            await until(closed(bench))
        assert bench.told()[1:] == [(3, 5, "repaired")]

    async def test_that_late_ticks_fill_is_stored_as_repaired_only_behind_them(self) -> None:
        class Overtaking(MemoryStore):
            allowed: asyncio.Event

            async def append(self, events: Sequence[StoredEvent]) -> int:
                if any(isinstance(one, TradeTick) and one.trade_id == 4 for one in events):
                    await self.allowed.wait()
                return await super().append(events)

        store = Overtaking()
        store.allowed = asyncio.Event()
        script = [*HOLE, *some(4, 3, 5, 8)]
        by_one = {"batch": 1, "writers": 4}
        bench = Bench(script, Venue(HOLE), store, enabled=False, record_settings=by_one)
        async with bench.running():
            await until(lambda: bench.told()[1:] == [(3, 5, "repaired")])
            await turns(2_000)
            assert await bench.ids() == [1, 2, 3, 5, 6, 7, 8], "batches overtake each other"
            assert await bench.gaps() == [(3, 5, OPEN)]
            store.allowed.set()
            await until(closed(bench))
        assert await bench.gaps() == [(3, 5, REPAIRED)]

    async def test_in_a_closed_candle_has_it_corrected_and_published_again(self) -> None:
        truth = some(*range(900, 1_200, 10))  # a second and a minute end at 1000
        lost = {950, 960, 1_100}
        feed = [one for one in truth if one.trade_id not in lost]
        numbered = {one.trade_id: number for number, one in enumerate(truth, 1)}
        renumber = [replace(one, trade_id=numbered[one.trade_id]) for one in truth]
        script = [replace(one, trade_id=numbered[one.trade_id]) for one in feed]
        bench = Bench(script, Venue(renumber))
        async with bench.running():
            await until(closed(bench))
            await until(bench.candles_agree)
            first = Timeframe("1s").period(T0)[0]
            assert bench.newest_candles("1s")[first]["trades"] == 10
        versions = [
            body["trades"] for body in bench.said("candle") if body["closed"] and body["timeframe"] == "1m"
        ]
        assert versions == [8, 10]
        [opened] = [body for body in bench.said("candle")[-2:] if body["timeframe"] == "1m"]
        assert (opened["closed"], opened["trades"]) == (False, 20), (
            "the open candle has the fetched trade too"
        )

    async def test_of_which_the_venue_has_a_part_is_lost_exactly_where_it_has_not(self) -> None:
        venue = Venue(some(1, 2, 4, 5, 8, 10))
        async with Bench(some(1, 10), venue).running() as bench:
            await until(closed(bench))
        assert await bench.ids() == [1, 2, 4, 5, 8, 10]
        assert await bench.gaps() == [(2, 2, REPAIRED), (3, 3, LOST), (6, 7, LOST), (9, 9, LOST)]
        assert bench.told() == [
            (2, 9, "open"), (3, 3, "lost"), (6, 7, "lost"), (9, 9, "lost"), (2, 2, "repaired"),
        ]  # fmt: skip

    async def test_of_which_the_venue_has_nothing_is_lost_after_some_attempts(self) -> None:
        venue = Venue(some(1, 10))
        async with Bench(some(1, 10), venue, attempts=4).running() as bench:
            await until(closed(bench))
        assert venue.asked == [(2, 9)] * 4
        assert await bench.gaps() == [(2, 9, LOST)]

    async def test_waits_for_a_venue_that_is_away(self) -> None:
        venue = Venue(some(*range(1, 8)))
        venue.errors = [HistoryUnavailable("busy")] * 7
        async with Bench(HOLE, venue, attempts=1).running() as bench:
            await until(closed(bench))
        assert await bench.gaps() == [(3, 5, REPAIRED)]
        assert len(venue.asked) == 8

    async def test_waits_for_a_store_that_is_away(self) -> None:
        class Away(MemoryStore):
            fails = 5

            async def candles(self, *asked: object) -> Sequence[Candle]:
                if self.fails:
                    self.fails -= 1
                    raise StoreUnavailable("away")
                return await super().candles(*asked)

        store = Away()
        async with Bench(HOLE, Venue(some(*range(1, 8))), store).running() as bench:
            await until(lambda: store.fails == 0)
            await until(closed(bench))
        assert await bench.gaps() == [(3, 5, REPAIRED)]

    async def test_that_the_venue_refuses_stays_open_and_the_next_one_is_repaired(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        venue = Venue(some(*range(1, 12)))
        venue.errors = [HistoryRejected("the vault is closed")]
        with caplog.at_level(logging.ERROR):
            async with Bench(some(1, 4, 10, 11), venue).running() as bench:
                await until(lambda: (5, 9, "repaired") in bench.told())
                await until(lambda: bench.recording.waiting == 0)
        assert await bench.gaps() == [(2, 3, OPEN), (5, 9, REPAIRED)]
        [line] = caplog.records
        assert line.getMessage() == "binance.spot.ethusdt: a gap stays open: the vault is closed"
        assert line.exc_info is None

    async def test_that_is_longer_than_the_limit_has_its_newest_trades_repaired(self) -> None:
        venue = Venue(some(*range(1, 101)))
        async with Bench(some(1, 100), venue, limit=10).running() as bench:
            await until(closed(bench))
        assert venue.asked == [(90, 99)]
        assert await bench.ids() == [1, *range(90, 101)]
        assert await bench.gaps() == [(2, 89, LOST)]

    async def test_whose_tick_comes_late_by_itself_meanwhile_is_not_doubled(self) -> None:
        reached, arrived = asyncio.Event(), asyncio.Event()

        async def meanwhile() -> None:
            reached.set()
            await arrived.wait()

        async def wait_for_the_question() -> None:
            await reached.wait()

        async def let_it_answer() -> None:
            arrived.set()

        venue = Venue(some(*range(1, 8)))
        venue.meanwhile = meanwhile
        script = [*HOLE, wait_for_the_question, trade(4), let_it_answer]
        async with Bench(script, venue).running() as bench:
            await until(closed(bench))
        assert Counter(body["trade_id"] for body in bench.said("trade")) == Counter(range(1, 8))
        assert await bench.ids() == [1, 2, 3, 4, 5, 6, 7]
        assert bench.report.fetched == 2
        assert same(bench.said("candle")[-1], folded(some(*range(1, 8)), Timeframe("1m"))[0])

    async def test_whose_tick_comes_late_meanwhile_is_not_in_an_aggregated_trade_too(self) -> None:
        reached, arrived = asyncio.Event(), asyncio.Event()

        async def meanwhile() -> None:
            reached.set()
            await arrived.wait()

        async def wait_for_the_question() -> None:
            await reached.wait()

        async def let_it_answer() -> None:
            arrived.set()

        alike = {"ts_event": T0, "price": 500}
        joined = trade(3, first_match_id=3, last_match_id=5, size=30, **alike)
        venue = Venue([joined])
        venue.meanwhile = meanwhile
        late = trade(4, size=10, aggressor=joined.aggressor, **alike)
        script = [*HOLE, wait_for_the_question, late, let_it_answer]
        async with Bench(script, venue).running() as bench:
            await until(closed(bench))
        stored = [one for one in await scan(bench.store, TradeTick) if 3 <= one.trade_id <= 5]
        assert stored == [late], "it cannot be told apart what the others are"
        assert sum(body["trade_id"] in (3, 4, 5) for body in bench.said("trade")) == 1
        assert await bench.gaps() == [(3, 3, LOST), (5, 5, LOST)]

    async def test_is_left_alone_if_nobody_wants_it_repaired(self) -> None:
        venue = Venue(some(*range(1, 8)))
        async with Bench(HOLE, venue, enabled=False).running() as bench:
            await until(lambda: bench.report.stored >= 5)
            await turns(500)
        assert venue.asked == []
        assert await bench.gaps() == [(3, 5, OPEN)]

    async def test_of_the_book_is_not_asked_for(self) -> None:
        venue = Venue(some(*range(1, 8)))
        script = [trade(1), snapshot(1), quote(2), quote(4)]
        async with Bench(script, venue).running() as bench:
            await until(lambda: bench.report.stored >= 4)
            await turns(500)
        assert venue.asked == []
        assert await bench.gaps() == [(21, 30, OPEN)]


class TestTheNextRun:
    async def test_finds_what_was_missed_since_at_the_first_trade_and_update(self) -> None:
        store = MemoryStore()
        await store.append([*some(1, 2), quote(1), quote(2)])
        venue = Venue(some(*range(1, 9)))
        script = [trade(8), quote(5)]
        async with Bench(script, venue, store).running() as bench:
            await until(lambda: (3, 7, "repaired") in bench.told())
        assert bench.told()[:2] == [(3, 7, "open"), (21, 40, "open")]
        assert await bench.ids() == list(range(1, 9))
        streams = {body["first_id"]: body["stream"] for body in bench.said("gap")}
        assert streams == {3: Stream.TRADES, 21: Stream.ORDERBOOK}

    async def test_takes_up_the_gaps_that_were_left_open(self) -> None:
        store = MemoryStore()
        lost = gap(20, last_id=24, state=LOST, start=T0 + 19 * MS, end=T0 + 25 * MS)
        left = gap(3, last_id=5, start=T0 + 2 * MS, end=T0 + 6 * MS)
        await store.append([*HOLE, *some(*range(8, 20), *range(25, 31)), left, lost])
        venue = Venue(some(*range(1, 32)))
        async with Bench(some(31), venue, store).running() as bench:
            await until(lambda: bench.told() == [(3, 5, "repaired")])
            await until(lambda: bench.recording.waiting == 0)
        assert venue.asked == [(3, 5)]
        assert await bench.gaps() == [(3, 5, REPAIRED), (20, 24, LOST)]

    async def test_asks_of_such_a_gap_only_for_what_is_not_stored(self) -> None:
        store = MemoryStore()
        left = gap(3, last_id=9, start=T0 + 2 * MS, end=T0 + 10 * MS)
        await store.append([*some(1, 2, 3, 4, 7, 10), left])
        venue = Venue(some(*range(1, 12)))
        async with Bench(some(11), venue, store).running() as bench:
            await until(lambda: (3, 9, "repaired") in bench.told())
        assert venue.asked == [(5, 6), (8, 9)]
        assert [body["trade_id"] for body in bench.said("trade")] == [11, 5, 6, 8, 9]
        minute = [body for body in bench.said("candle") if body["timeframe"] == "1m"][-1]
        assert minute["trades"] == 11, "each trade once"

    async def test_finds_a_hole_that_a_killed_run_stored_nothing_of(self) -> None:
        store = MemoryStore()
        await store.append(some(1, 2, 6, 7))  # what lay between was in a batch that never arrived
        async with Bench(some(8), Venue(some(*range(1, 9))), store).running() as bench:
            await until(lambda: (3, 5, "repaired") in bench.told())
        assert await bench.ids() == list(range(1, 9))

    @pytest.mark.parametrize("cut", [1, 7, 12, 25, 39])
    async def test_publishes_the_first_candle_whole(self, cut: int) -> None:
        truth = [trade(id_, 400 + 40 * id_) for id_ in range(1, 61)]  # the period ends in the middle
        whole = Bench(truth, Venue(truth))
        async with whole.running():
            await until(lambda: whole.report.trades == 60)
        store = MemoryStore()
        async with Bench(truth[:cut], Venue(truth), store).running() as first:
            await until(lambda: first.report.trades == cut)
        async with Bench(truth[cut:], Venue(truth), store).running() as second:
            await until(lambda: second.report.trades == 60 - cut)
        for name in ("1s", "1m"):
            newest, expected = second.newest_candles(name), whole.newest_candles(name)
            for start, body in newest.items():
                assert {**body, "sequence": 0} == {**expected[start], "sequence": 0}
            opened, as_opened = (
                [body for body in one.said("candle") if body["timeframe"] == name][-1]
                for one in (second, whole)
            )
            assert {**opened, "sequence": 0} == {**as_opened, "sequence": 0}

    async def test_does_not_correct_a_candle_of_which_it_knows_only_a_part(self) -> None:
        """Of 3m and 5m the longer one reaches back into the middle of a shorter one."""
        minute = 60_000
        start = T0 - T0 % (15 * minute * MS)
        at = [(1, 9.5), (2, 10.5), (3, 11.5), (4, 13.5)]
        truth = [replace(trade(id_), ts_event=start + int(m * minute) * MS) for id_, m in at]
        store = MemoryStore()
        await store.append(truth)
        later = replace(trade(5), ts_event=start + 16 * minute * MS)
        settings = {"timeframes": ("3m", "5m")}
        async with Bench([later], Venue([*truth, later]), store, record_settings=settings).running() as bench:
            await until(lambda: bench.report.trades == 1)
        published = {
            (body["timeframe"], body["start"]): body["trades"]
            for body in bench.said("candle")
            if body["closed"]
        }
        assert published == {("3m", start + 12 * minute * MS): 1, ("5m", start + 10 * minute * MS): 3}


# Killed at any moment


class Unhurried(MemoryStore):
    """Keeps a batch after some turns, answers after some more, and batches overtake each other."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rng = random.Random(seed)

    async def append(self, events: Sequence[StoredEvent]) -> int:
        await turns(self.rng.randrange(12))
        new = await super().append(events)
        await turns(self.rng.randrange(5))
        return new


KILLED = [*range(1, 11), *range(15, 21), 13, *range(26, 30), 12, 14, 11, *range(31, 41)]
"""11 to 14 come late, 21 to 25 and 30 not at all."""


@pytest.mark.parametrize("seed", range(4))
async def test_whenever_it_is_killed_the_next_run_makes_the_store_what_the_venue_has(seed: int) -> None:
    truth = [trade(id_, 40 * id_) for id_ in range(1, 61)]
    small = {"batch": 3, "writers": 3}

    async def breathe() -> None:
        await turns(2)

    repaired_by_then = 0
    for moment in range(0, 400, 7):
        store = Unhurried(seed * 1_000 + moment)
        for ids in (KILLED, [*range(44, 48), 50]):
            script = [step for id_ in ids for step in (truth[id_ - 1], breathe)]
            bench = Bench(script, Venue(truth, page=2), store, record_settings=small)
            await bench.recording.prepare()
            running = asyncio.ensure_future(bench.recording.run(asyncio.Event()))
            await turns(moment)
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            here = set(await bench.ids())
            for first, last, state in await bench.gaps():
                if state is REPAIRED:
                    repaired_by_then += 1
                    assert set(range(first, last + 1)) <= here, "called repaired, and is not"
        async with Bench(
            truth[50:], Venue(truth, page=2), store, record_settings=small
        ).running() as last_run:
            whole = list(range(min(here, default=51), 61))

            async def done(last_run: Bench = last_run, whole: list[int] = whole) -> bool:
                gaps = await last_run.gaps()
                return await last_run.ids() == whole and all(state is REPAIRED for *_, state in gaps)

            await until(done)
            await until(last_run.candles_agree)
        for name in ("1s", "1m"):
            kept = await store.candles(ETH, Timeframe(name), *FOREVER)
            assert kept == folded([one for one in truth if one.trade_id >= whole[0]], Timeframe(name))
    assert repaired_by_then > 20


# Over a bad line, from beginning to end


class Endless:
    """A feed that does not end, as live ones do not."""

    def __init__(self, feed: SimulatedFeed) -> None:
        self.feed = feed
        self.instruments, self.resync, self.follow = feed.instruments, feed.resync, feed.follow
        self.ended = asyncio.Event()

    async def stream(self, instruments: Sequence[Instrument]) -> AsyncGenerator[MarketEvent]:
        async with aclosing(self.feed.stream(instruments)) as events:
            async for event in events:
                yield event
        self.ended.set()
        await asyncio.Event().wait()


def simulated(seed: int, events: int, faults: Faults) -> SimulatedFeed:
    start = 1_760_000_000_000_000_000
    simulation = Simulation(seed=seed, events=events, levels=5, speed="max", start=start, faults=faults)
    return SimulatedFeed(simulation, ManualClock(start))


@pytest.mark.parametrize("aggregated", [False, True])
@pytest.mark.parametrize("seed", range(6))
async def test_over_a_bad_line_everything_that_the_venue_has_is_there_once(
    seed: int, *, aggregated: bool
) -> None:
    pairs = (TrackedPair(symbol="ETH/USDT"),)
    good = simulated(seed, 6_000, Faults())
    async with aclosing(good.stream(await good.instruments(pairs))) as events:
        truth = [event async for event in events if isinstance(event, TradeTick)]
    faults = Faults(gap=0.02, duplicate=0.03, reorder=0.03, disconnect=0.004)
    feed = Endless(simulated(seed, 1_500, faults))
    store = MemoryStore(MemoryRegistry(pairs))
    bench = Bench(feed, Venue(joined(truth) if aggregated else truth, page=3), store)
    instrument = truth[0].instrument

    async with bench.running():
        await feed.ended.wait()

        async def done() -> bool:
            gaps = await scan(bench.store, Gap, instrument)
            return bench.recording.waiting == 0 and all(
                one.state is not OPEN for one in gaps if one.stream is Stream.TRADES
            )

        await until(done)
        await until(lambda: bench.candles_agree(instrument))
    assert bench.report.fetched > 0
    assert bench.report.duplicates > 0
    stored = await scan(bench.store, TradeTick, instrument)
    venue = [one for one in truth if stored[0].trade_id <= one.trade_id <= stored[-1].trade_id]
    if not aggregated:
        plain = [(one.trade_id, one.ts_event, one.price, one.size, one.aggressor) for one in stored]
        assert plain == [(one.trade_id, one.ts_event, one.price, one.size, one.aggressor) for one in venue]
        gaps = [one for one in await scan(bench.store, Gap, instrument) if one.stream is Stream.TRADES]
        assert gaps
        assert {one.state for one in gaps} == {REPAIRED}
    published = Counter(body["trade_id"] for body in bench.said("trade"))
    assert published == Counter(one.trade_id for one in stored)
    for name in ("1s", "1m"):
        timeframe = Timeframe(name)
        kept = await bench.store.candles(instrument, timeframe, *FOREVER)
        sums = [(c.start, c.open, c.high, c.low, c.close, c.volume, c.quote_volume, c.trades) for c in kept]
        assert sums == [
            (c.start, c.open, c.high, c.low, c.close, c.volume, c.quote_volume, c.trades)
            for c in folded(venue, timeframe)
        ]
        newest = bench.newest_candles(name)
        for candle in kept:
            if candle.closed:
                assert same(newest[candle.start], candle)


def joined(trades: Sequence[TradeTick]) -> list[TradeTick]:
    """Join what lies side by side and is alike, as venues do that give aggregated trades only."""
    found = []
    for _, alike in groupby(trades, key=lambda one: (one.instrument, one.ts_event, one.price, one.aggressor)):
        parts = list(alike)
        first, last = parts[0].trade_id, parts[-1].trade_id
        size = sum(one.size for one in parts)
        found.append(replace(parts[0], size=size, first_match_id=first, last_match_id=last))
    return found
