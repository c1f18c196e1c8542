"""Whatever is missing and whatever the venue has kept: afterwards stored is what the venue has, and gaps are
exactly what it has not. Also if the run was killed on the way."""

from collections.abc import Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from binance_proxy.adapters.memory.history import MemoryHistory
from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.application.backfill import Backfill, BackfillReport, Difference, fill
from binance_proxy.application.missing import AggregatedRecording, matches_of
from binance_proxy.application.ports import HistoryUnavailable, StoredEvent
from binance_proxy.domain.candle import Timeframe
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Stream
from binance_proxy.domain.tick import Side, TradeTick
from contract.market_store import ETH, MS, T0, gap, scan, trade


class Killed(Exception):
    pass


class MortalStore(MemoryStore):
    """Dies instead of the n-th append."""

    def __init__(self) -> None:
        super().__init__()
        self.lives: int | None = None

    async def append(self, events: Sequence[StoredEvent]) -> int:
        if self.lives is not None:
            if self.lives == 0:
                raise Killed
            self.lives -= 1
        return await super().append(events)


@dataclass
class World:
    truth: list[TradeTick]
    """Everything that happened, by id from 1."""
    stored: set[int]
    kept: set[int]
    """What the venue still has."""
    told: set[int]
    """Holes that the live recording has told of, by their first id."""
    aggregated: bool
    page: int
    start: int
    end: int
    lives: list[int]

    @property
    def history(self) -> MemoryHistory:
        singles = [one for one in self.truth if one.trade_id in self.kept]
        return MemoryHistory(aggregate(singles) if self.aggregated else singles, page=self.page)

    async def store(self) -> MortalStore:
        store = MortalStore()
        await store.append([one for one in self.truth if one.trade_id in self.stored])
        present = sorted(self.stored)
        for before, behind in pairwise(present):
            if behind > before + 1 and before + 1 in self.told:
                await store.append([live_gap(self.truth[before - 1], self.truth[behind - 1])])
        return store


def live_gap(before: TradeTick, behind: TradeTick) -> Gap:
    return Gap(
        instrument=ETH,
        ts_event=behind.ts_event,
        ts_recv=behind.ts_recv,
        stream=Stream.TRADES,
        first_id=before.trade_id + 1,
        last_id=behind.trade_id - 1,
        start=before.ts_event,
        end=behind.ts_event,
    )


def aggregate(trades: Sequence[TradeTick]) -> list[TradeTick]:
    """Join consecutive trades of one moment, price and aggressor, as Binance does."""
    joined: list[TradeTick] = []
    for one in trades:
        last = joined[-1] if joined else None
        if last is not None and matches_of(last)[1] == one.trade_id - 1 and alike(last, one):
            joined[-1] = replace(last, last_match_id=one.trade_id, size=last.size + one.size)
        else:
            joined.append(replace(one, first_match_id=one.trade_id, last_match_id=one.trade_id))
    return joined


def alike(one: TradeTick, other: TradeTick) -> bool:
    return (one.price, one.aggressor, one.ts_event) == (other.price, other.aggressor, other.ts_event)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    steps = draw(st.lists(st.sampled_from([0, 0, 0, 1, 5]), min_size=3, max_size=30))
    ts, truth = T0, []
    for id_, step in enumerate(steps, 1):
        ts += step * MS
        price = 100 if step == 0 and truth else 100 + draw(st.integers(0, 1))
        truth.append(trade(id_, ts_event=ts, price=price, size=draw(st.integers(1, 9)), aggressor=Side.BUY))
    ids = st.sets(st.integers(1, len(truth)))
    ends = sorted(draw(st.tuples(*[st.integers(-1, (ts - T0) // MS + 2)] * 2)))
    everything = draw(st.booleans())
    return World(
        truth,
        stored=draw(ids),
        kept=draw(st.just(set(range(1, len(truth) + 1))) | ids),
        told=draw(st.just(set(range(1, len(truth) + 1))) | ids),
        aggregated=draw(st.booleans()),
        page=draw(st.sampled_from([1, 2, 7, 100])),
        start=0 if everything else T0 + ends[0] * MS,
        end=2**62 if everything else T0 + ends[1] * MS,
        lives=draw(st.lists(st.integers(0, 6), max_size=3)),
    )


async def run(
    history: object, store: MemoryStore, start: int = 0, end: int = 2**62, **more: object
) -> BackfillReport:
    return await Backfill(history, store).run(ETH, start, end, lambda _: None, **more)


async def open_gaps(store: MemoryStore) -> list[Gap]:
    return [one for one in await scan(store, Gap) if one.state is not GapState.REPAIRED]


def covered(events: Sequence[TradeTick]) -> list[int]:
    return sorted(id_ for one in events for id_ in range(matches_of(one)[0], matches_of(one)[1] + 1))


def ids_of(gaps: Sequence[Gap]) -> list[int]:
    return sorted(id_ for one in gaps for id_ in range(one.first_id, one.last_id + 1))


@settings(max_examples=400)
@given(worlds())
async def test_afterwards_stored_is_what_the_venue_has_and_gaps_are_what_it_has_not(world: World) -> None:
    store = await world.store()
    told_before = ids_of(await open_gaps(store))
    if not world.kept:
        return
    asked = await world.history.ids(ETH, world.start, world.end)
    for lives in world.lives:
        store.lives = lives
        with suppress(Killed):
            await run(world.history, store, world.start, world.end)
    store.lives = None
    report = await run(world.history, store, world.start, world.end)

    stored = await scan(store, TradeTick)
    here = covered(stored)
    first, last = asked or (1, 0)
    asked_ids = set(range(first, last + 1))
    missing = asked_ids - set(here)
    # Nothing twice, and every size is the sum of what it stands for.
    assert len(here) == len(set(here))
    for one in stored:
        matches = world.truth[matches_of(one)[0] - 1 : matches_of(one)[1]]
        assert one.size == sum(match.size for match in matches)
        assert {one.ts_event} == {match.ts_event for match in matches}
        assert {one.price} == {match.price for match in matches}
    # All that the venue has is here; of an aggregated trade, as far as it can be told apart.
    lacking = missing & world.kept
    if not world.aggregated:
        assert not lacking
        assert all(one.first_match_id is None for one in stored)
    for group in aggregate([one for one in world.truth if one.trade_id in world.kept]):
        ids = set(range(matches_of(group)[0], matches_of(group)[1] + 1))
        if ids <= asked_ids and (not ids & world.stored or len(ids - world.stored) == 1):
            assert not ids & lacking
    # Gaps tell exactly what is missing, each id once; nothing is said of what was not asked for.
    gaps = await open_gaps(store)
    told = ids_of(gaps)
    assert [id_ for id_ in told if id_ in asked_ids] == sorted(missing)
    assert [id_ for id_ in told if id_ not in asked_ids] == [
        id_ for id_ in told_before if id_ not in asked_ids
    ]
    assert ids_of([one for one in gaps if one.state is GapState.LOST]) == sorted(missing)
    assert covered_ranges(report.still_missing) == sorted(missing)
    assert all(one.start <= one.end for one in gaps)
    # Once more changes nothing.
    again = await run(world.history, store, world.start, world.end)
    assert (again.new, again.repaired) == (0, 0)
    assert await scan(store, Gap) == sorted(
        await scan(store, Gap), key=lambda one: (one.ts_event, one.first_id)
    )
    assert await open_gaps(store) == gaps


def covered_ranges(ranges: Sequence[tuple[int, int]]) -> list[int]:
    return [id_ for first, last in ranges for id_ in range(first, last + 1)]


# By example


def some(*ids: int, **other: object) -> list[TradeTick]:
    return [trade(id_, **other) for id_ in ids]


async def test_says_what_it_does_while_it_does_it() -> None:
    store = MemoryStore()
    await store.append(some(1, 9))
    seen: list[tuple[int, int, int]] = []
    history = MemoryHistory(some(*range(1, 10)), page=3)
    report = await Backfill(history, store).run(
        ETH, 0, 2**62, lambda report: seen.append((report.missing, report.done, report.new))
    )
    assert seen[:4] == [(7, 0, 0), (7, 3, 3), (7, 6, 6), (7, 7, 7)]
    assert (report.ids, report.fetched, report.new, report.duplicates) == ((1, 9), 7, 7, 0)
    assert report.still_missing == []


async def test_a_known_gap_that_is_filled_is_repaired() -> None:
    store = MemoryStore()
    known = live_gap(trade(2), trade(6))
    await store.append([*some(1, 2, 6, 7), known])
    report = await run(MemoryHistory(some(*range(1, 8))), store)
    assert await scan(store, Gap) == [replace(known, state=GapState.REPAIRED)]
    assert report.repaired == 1


async def test_what_the_venue_has_not_is_lost_and_says_between_which_times() -> None:
    store = MemoryStore()
    await store.append(some(1, 2))
    await run(MemoryHistory(some(1, 5, 6)), store)
    (lost,) = await scan(store, Gap)
    assert (lost.first_id, lost.last_id, lost.state) == (3, 4, GapState.LOST)
    assert (lost.start, lost.end) == (trade(2).ts_event, trade(5).ts_event)
    assert (lost.ts_event, lost.ts_recv) == (trade(5).ts_event, trade(5).ts_recv)


async def test_a_lost_gap_may_still_be_filled() -> None:
    store = MemoryStore()
    await store.append([*some(1, 4), replace(live_gap(trade(1), trade(4)), state=GapState.LOST)])
    await run(MemoryHistory(some(1, 2, 3, 4)), store)
    assert [one.state for one in await scan(store, Gap)] == [GapState.REPAIRED]


async def test_gaps_of_the_book_are_left_alone() -> None:
    store = MemoryStore()
    book = gap(2, stream=Stream.ORDERBOOK)
    await store.append([*some(1, 9), book])
    await run(MemoryHistory(some(*range(1, 10))), store)
    assert await scan(store, Gap) == [book]


async def test_a_gap_that_reaches_beyond_the_range_stays_open_there() -> None:
    store = MemoryStore()
    known = live_gap(trade(1), trade(20))
    await store.append([*some(1, 20), known])
    history = MemoryHistory(some(1, 8, 9, 11, 12, 20))
    report = await run(history, store, trade(8).ts_event, trade(13).ts_event)
    assert report.ids == (8, 12)
    assert [(one.first_id, one.last_id, one.state) for one in await open_gaps(store)] == [
        (2, 7, GapState.OPEN),
        (10, 10, GapState.LOST),
        (13, 19, GapState.OPEN),
    ]


async def test_nothing_is_done_where_the_venue_has_nothing() -> None:
    store = MemoryStore()
    known = live_gap(trade(1), trade(4))
    await store.append([*some(1, 4), known])
    report = await run(MemoryHistory(some(90)), store, 0, trade(50).ts_event)
    assert (report.ids, report.missing) == (None, 0)
    assert await scan(store, Gap) == [known]


async def test_a_venue_that_goes_away_leaves_what_it_gave() -> None:
    class Leaving(MemoryHistory):
        async def trades(self, *asked: object) -> object:
            async with aclosing(super().trades(*asked)) as pages:
                yield await anext(pages)
            raise HistoryUnavailable("away")

    store = MemoryStore()
    known = live_gap(trade(1), trade(9))
    await store.append([*some(1, 9), known])
    with pytest.raises(HistoryUnavailable):
        await run(Leaving(some(*range(1, 10)), page=3), store)
    assert covered(await scan(store, TradeTick)) == [1, 2, 3, 4, 9]
    assert await scan(store, Gap) == [known]


async def test_what_somebody_else_stores_meanwhile_is_not_lost() -> None:
    class Overtaken(MemoryHistory):
        async def trades(self, *asked: object) -> object:
            await store.append(some(4, 5, 6))
            async for page in super().trades(*asked):
                yield page

    store = MemoryStore()
    await store.append(some(1, 9))
    report = await run(Overtaken(some(1, 3, 8, 9)), store)
    assert report.still_missing == [(2, 2), (7, 7)]
    assert ids_of(await open_gaps(store)) == [2, 7]


async def test_a_recording_of_aggregated_trades_is_refused() -> None:
    store = MemoryStore()
    await store.append([trade(3, first_match_id=7, last_match_id=9)])
    with pytest.raises(AggregatedRecording):
        await run(MemoryHistory(some(3)), store)


# Aggregated trades that stand in


AT = T0 + 50 * MS
SAME = {"ts_event": AT, "ts_recv": AT, "price": 500, "aggressor": Side.BUY}


async def filled(stored: Sequence[TradeTick], stand_in: TradeTick, first: int, last: int) -> list[TradeTick]:
    store = MemoryStore()
    await store.append(stored)
    async with aclosing(fill(MemoryHistory([stand_in]), store, ETH, first, last)) as pages:
        return [one async for page in pages for one in page]


def stand_in(first: int, last: int, size: int) -> TradeTick:
    return trade(first, first_match_id=first, last_match_id=last, size=size, **SAME)


async def test_a_stand_in_is_cut_to_the_hole() -> None:
    stored = [trade(10, size=2, **SAME), trade(14, size=3, **SAME)]
    assert await filled(stored, stand_in(10, 14, 100), 11, 13) == [stand_in(11, 13, 95)]


async def test_a_stand_in_within_the_hole_stays_as_it_is() -> None:
    assert await filled([], stand_in(11, 12, 100), 11, 13) == [stand_in(11, 12, 100)]


@pytest.mark.parametrize(
    "stored",
    [
        [],
        [trade(10, size=2, **SAME)],
        [trade(10, size=2, **SAME | {"price": 501}), trade(14, size=3, **SAME)],
        [trade(10, size=2, **SAME | {"aggressor": Side.SELL}), trade(14, size=3, **SAME)],
        [trade(10, size=97, **SAME), trade(14, size=3, **SAME)],
        [trade(10, size=99, **SAME), trade(14, size=3, **SAME)],
        [stand_in(9, 10, 2), trade(14, size=3, **SAME)],
        [trade(10, size=2, **SAME), trade(14, size=3, **SAME), trade(12, size=3, **SAME)],
    ],
    ids=[
        "none stored",
        "one stored",
        "price",
        "aggressor",
        "nothing left",
        "less than nothing",
        "beyond",
        "within",
    ],
)
async def test_a_stand_in_that_cannot_be_cut_exactly_is_left_out(stored: list[TradeTick]) -> None:
    assert await filled(stored, stand_in(10, 14, 100), 11, 13) == []


async def test_an_earlier_stand_in_is_taken_off_too() -> None:
    assert await filled([stand_in(10, 11, 5)], stand_in(10, 14, 100), 12, 14) == [stand_in(12, 14, 95)]


# Candles


def minute(number: int, **other: object) -> TradeTick:
    start = T0 // (60_000 * MS) * 60_000 * MS
    return trade(number, ts_event=start + number * 30_000 * MS, price=100 + number, **other)


async def test_candles_are_compared_where_the_venue_has_closed_ones() -> None:
    store = MemoryStore()
    everything = [minute(number) for number in range(12)]
    await store.append([replace(everything[2], size=1), *everything[6:]])
    history = MemoryHistory([one for one in everything if one.trade_id not in {4, 5}])
    begin = everything[0].ts_event
    report = await run(history, store, begin + 1, everything[11].ts_event, timeframe=Timeframe("1m"))
    # The first period is only partly inside, two trades of the third are nowhere, the last is not closed.
    assert report.candles_checked == 3
    (differs,) = report.candles_differ
    assert isinstance(differs, Difference)
    assert differs.start == everything[2].ts_event
    assert differs.ours.volume - 1 == differs.theirs.volume - everything[2].size


async def test_a_period_that_only_we_have_differs() -> None:
    store = MemoryStore()
    everything = [minute(number) for number in range(8)]
    await store.append(everything)
    report = await run(MemoryHistory([*everything[:2], *everything[4:]]), store, timeframe=Timeframe("1m"))
    assert [(one.start, one.theirs) for one in report.candles_differ] == [(everything[2].ts_event, None)]


async def test_no_candle_is_compared_in_a_range_without_a_whole_period() -> None:
    store = MemoryStore()
    everything = [minute(number) for number in range(8)]
    begin = everything[0].ts_event
    report = await run(
        MemoryHistory(everything), store, begin + MS, begin + 100_000 * MS, timeframe=Timeframe("1m")
    )
    assert (report.candles_checked, report.candles_differ) == (0, [])
