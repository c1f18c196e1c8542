"""What was dropped is remembered as ranges, and told as gaps once things are kept again."""

import asyncio
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from binance_proxy.adapters.memory.clock import ManualClock
from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.adapters.simulated.feed import SimulatedFeed
from binance_proxy.application.dropped import MOST_RANGES, Dropped
from binance_proxy.application.ports import SpoolDepth, StoredEvent, StoreFull
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Stream
from binance_proxy.domain.sequence import Arrival, Hole, IdSequence, covered_ids
from binance_proxy.domain.tick import QuoteTick, TradeTick
from contract.market_store import ETH, gap, quote, snapshot, trade
from unit.application.test_record import NOW, PATIENCE_S, Bench, simulation, until

SIM = structs.replace(ETH, venue="simulated")
KRAKEN = structs.replace(ETH, venue="kraken")


def ranges(dropped: Dropped) -> dict[tuple[str, Stream], list[tuple[int, int]]]:
    return {
        (instrument.venue, stream): [(one.first_id, one.last_id) for one in found]
        for (instrument, stream), found in dropped.ranges.items()
    }


def test_ticks_that_follow_each_other_are_one_range():
    dropped = Dropped()
    for number in (5, 6, 7, 10, 11):
        assert dropped.take(trade(number))
    for number in (2, 3):
        assert dropped.take(quote(number))
    assert dropped.take(snapshot(1))
    assert ranges(dropped) == {
        ("binance", Stream.TRADES): [(5, 7), (10, 11)],
        ("binance", Stream.ORDERBOOK): [(11, 30)],
    }
    assert dropped.events == 8
    first = dropped.ranges[ETH, Stream.TRADES][0]
    assert (first.start, first.end) == (trade(5).ts_event, trade(7).ts_event)


def test_where_ids_do_not_rise_by_one_there_is_one_range():
    dropped = Dropped()
    for number in (50, 10, 90):
        dropped.take(trade(number, instrument=KRAKEN))
    assert ranges(dropped) == {("kraken", Stream.TRADES): [(10, 90)]}


def test_gaps_are_kept_unless_what_filled_them_was_dropped():
    dropped = Dropped()
    assert not dropped.take(gap(1))
    assert not dropped.take(gap(1, state=GapState.LOST))
    assert not dropped.take(gap(1, state=GapState.REPAIRED))
    dropped.take(trade(3))
    assert dropped.take(gap(1, state=GapState.REPAIRED)), "1 to 5"
    assert not dropped.take(gap(4, state=GapState.REPAIRED))
    assert not dropped.take(gap(1, state=GapState.REPAIRED, stream=Stream.ORDERBOOK))


def test_of_too_many_ranges_the_last_covers_the_rest():
    dropped = Dropped()
    for number in range(0, 4 * MOST_RANGES, 2):
        dropped.take(trade(number))
    found = ranges(dropped)["binance", Stream.TRADES]
    assert len(found) == MOST_RANGES
    assert found[-1] == (2 * MOST_RANGES - 2, 4 * MOST_RANGES - 2)


def test_it_is_told_once():
    dropped = Dropped()
    assert not dropped
    dropped.take(trade(1))
    assert dropped
    assert len(list(dropped.clear())) == 1
    assert not dropped
    assert dropped.events == 1


@given(st.sets(st.integers(1, 40)), st.integers(1, 40), st.integers(0, 10), st.permutations(range(1, 41)))
def test_ids_that_were_lost_are_missing_until_they_come_again(came, first, more, order):
    """However ids were lost, a hole closes exactly when the last of its ids is there."""
    ids = IdSequence()
    ids.feed(0, 0)
    holes: set[Hole] = set()
    for number in sorted({*came, 41}):
        if ids.feed(number, number) is Arrival.SKIPPED and ids.opened:
            holes.add(ids.opened)
    missing = set(range(1, 41)) - came
    last = min(first + more, 40)
    opened = ids.lose(first, last)
    missing |= set(range(first, last + 1))
    holes |= set(opened)
    assert {one for low, high in ids.missing for one in range(low, high + 1)} == missing
    assert set(range(first, last + 1)) <= {
        one for hole in holes for one in range(hole.first_id, hole.last_id + 1)
    }
    closed: set[Hole] = set()
    for number in order:
        if number not in missing:
            continue
        missing.discard(number)
        assert ids.feed(number, number) is Arrival.LATE
        closed |= set(ids.closed)
        whole = {hole for hole in holes if not missing & set(range(hole.first_id, hole.last_id + 1))}
        assert closed == whole
    assert ids.missing == []


# A recording whose store and spool are full.


class FullStore(MemoryStore):
    """A store that has no room, as long as it is told so."""

    def __init__(self) -> None:
        super().__init__()
        self.full = True
        self.tries = 0

    async def append(self, events: Sequence[StoredEvent]) -> int:
        self.tries += 1
        await asyncio.sleep(0)
        if self.full:
            raise StoreFull("The disk is full: free some space.")
        return await super().append(events)


async def test_a_full_store_stops_recording_and_not_publishing_and_the_hole_is_told(monkeypatch, caplog):
    monkeypatch.setattr("binance_proxy.application.keeping.LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr("binance_proxy.application.keeping.SHORTEST_PAUSE_S", 0.01)
    store = FullStore()
    clock = ManualClock(NOW)
    feed = SimulatedFeed(simulation(6_000), clock)
    held = asyncio.Event()
    bench = Bench(feed, store, buffer=2_000, batch=100, writers=2)

    given = feed.stream

    async def stream(instruments):
        number = 0
        async for event in given(instruments):
            number += 1
            if number == 4_000:
                await held.wait()
            yield event

    feed.stream = stream
    running = await bench.start()
    await until(lambda: len(bench.feed.given) >= 3_999)
    status = bench.recording.status()
    assert status["recording"] == "stopped"
    assert status["dropped"] > 0
    assert status["waiting"] >= 100
    assert status["feed_held"] is False
    assert len(bench.said(".trades")) == len(bench.feed.distinct(TradeTick)) == bench.report.trades
    stops = [record for record in caplog.records if "RECORDING IS STOPPED" in record.getMessage()]
    assert len(stops) == 1, "once, not at every try"
    assert any(body["recording"] == "stopped" for body in bench.said("bridge.status"))
    store.full = False
    await until(lambda: bench.recording.status()["recording"] == "storing")
    held.set()
    await asyncio.wait_for(running, PATIENCE_S)
    report = bench.report
    assert report.dropped > 0
    assert (report.unstored, report.untold) == (0, 0)
    gaps = await bench.kept(Gap)
    for kind, stream_, state in (
        (TradeTick, Stream.TRADES, GapState.OPEN),
        (QuoteTick, Stream.ORDERBOOK, GapState.LOST),
    ):
        for instrument in bench.recording.instruments:
            there = _ids([one for one in await bench.kept(kind) if one.instrument == instrument])
            came = _ids(
                [one for one in bench.feed.given if type(one) is kind and one.instrument == instrument]
            )
            told = {
                number
                for one in gaps
                if (one.instrument, one.stream, one.state) == (instrument, stream_, state)
                for number in range(one.first_id, one.last_id + 1)
            }
            assert came - there == told != set()
    assert len(await bench.kept(TradeTick)) < report.trades


def _ids(ticks):
    return {
        number
        for one in ticks
        for first, last in [(one.trade_id, one.trade_id) if isinstance(one, TradeTick) else covered_ids(one)]
        for number in range(first, last + 1)
    }


async def test_what_could_not_be_told_is_said_at_the_end():
    bench = Bench(SimulatedFeed(simulation(3_000), ManualClock(NOW)), FullStore(), buffer=500,
                  flush_timeout_s=0.2)  # fmt: skip
    await bench.run()
    report = bench.report
    assert report.dropped > 0
    assert report.untold >= 4, "trades and updates of two instruments"
    assert report.unstored > 0
    assert report.dropped + report.unstored == report.trades + report.quotes + report.snapshots
    assert report.stored == 0


async def test_events_that_are_refused_go_to_the_spool_where_there_is_one_and_the_run_goes_on():
    class Choosy(MemoryStore):
        """Refuses every batch with an odd trade, and keeps what it is asked to sift."""

        def __init__(self) -> None:
            super().__init__()
            self.sifted: list[StoredEvent] = []

        async def append(self, events: Sequence[StoredEvent]) -> int:
            bad = [one for one in events if isinstance(one, TradeTick) and one.trade_id % 50 == 0]
            return await super().append([structs.replace(one, ts_event=1) for one in bad] or events)

        async def sift(self, events: Sequence[StoredEvent]) -> None:
            self.sifted += events

        def depth(self) -> SpoolDepth:
            return SpoolDepth(spooled=len(self.sifted))

    store = Choosy()
    bench = Bench(SimulatedFeed(simulation(2_000), ManualClock(NOW)), store)
    bench.recording.keeping._spool = store
    await bench.run()
    accepted = bench.report.trades + bench.report.quotes + bench.report.snapshots
    assert store.sifted
    assert bench.report.stored + len(store.sifted) == accepted
    assert bench.report.unstored == 0


async def test_the_age_of_the_oldest_tick_that_is_not_stored_is_shown():
    store = FullStore()
    clock = ManualClock(NOW, auto=False)
    bench = Bench(SimulatedFeed(simulation(500), ManualClock(NOW)), store, clock=clock, flush_timeout_s=0.1)
    running = await bench.start()
    await until(lambda: store.tries and bench.recording.waiting)
    assert bench.recording.status()["oldest_unstored_s"] == 0
    clock.set(NOW + 7_500_000_000)
    assert bench.recording.status()["oldest_unstored_s"] == 7.5
    store.full = False
    await asyncio.wait_for(running, PATIENCE_S)
    if not bench.report.unstored:
        assert bench.recording.status()["oldest_unstored_s"] == 0
