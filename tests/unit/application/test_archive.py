"""The use case that moves days which are over into an archive."""

from collections.abc import AsyncGenerator, Callable, Sequence

import pytest
from msgspec import structs

from binance_proxy.adapters.memory.archive import MemoryArchive
from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.application.archive import ArchiveReport, Archiving
from binance_proxy.application.ports import (
    ArchivedDay,
    HeldDay,
    StoredEvent,
    StoredTick,
    StoreFull,
    StoreRejected,
    StoreUnavailable,
)
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, TradeTick
from contract.market_store import DAY, ETH, MS, SOL, T0, gap, quote, scan, snapshot, trade

FIRST = T0 // DAY
"""The day of `T0`, which is over a second later."""
NEXT = FIRST + 2
"""The first day that is not over."""
TICKS: list[StoredEvent] = [
    structs.replace(make(number), instrument=one, ts_event=day * DAY + number * MS)
    for day in (FIRST, FIRST + 1)
    for make in (trade, quote, snapshot)
    for one in (ETH, SOL)
    for number in range(1, 4)
]


def archiving(store: MemoryStore, archive: MemoryArchive) -> Archiving:
    return Archiving(store, store.closed_days, archive, archive)


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore()
    await store.append(TICKS)
    return store


class Failing(MemoryArchive):
    """An archive that raises an error instead of keeping some days."""

    def __init__(self, error: Exception, which: Callable[[HeldDay], bool]) -> None:
        super().__init__()
        self.error: Exception | None = error
        self._which = which

    async def keep(self, held: HeldDay, ticks: AsyncGenerator[StoredTick]) -> ArchivedDay:
        if self.error is not None and self._which(held):
            raise self.error
        return await super().keep(held, ticks)


async def test_every_day_that_is_over_is_archived(store: MemoryStore) -> None:
    await store.append([trade(9, ts_event=NEXT * DAY)])
    archive = MemoryArchive()
    report = await archiving(store, archive).run(NEXT)
    assert (report.days, report.rows, report.rows_done, report.refused) == (12, 36, 36, [])
    assert {(one.day, one.kind, one.instrument) for one in report.archived} == {
        (day, kind, one)
        for day in (FIRST, FIRST + 1)
        for kind in (TradeTick, QuoteTick, BookSnapshot)
        for one in (ETH, SOL)
    }
    for kind in (TradeTick, QuoteTick, BookSnapshot):
        for one in (ETH, SOL):
            kept = await scan(store, kind, one)
            assert await scan(archive, kind, one) == [tick for tick in kept if tick.ts_event < NEXT * DAY]
    assert [held.day for held in await store.closed_days.unarchived(NEXT + 1)] == [NEXT]


async def test_a_second_run_finds_nothing(store: MemoryStore) -> None:
    archive = MemoryArchive()
    await archiving(store, archive).run(NEXT)
    report = await archiving(store, archive).run(NEXT)
    assert (report.days, report.archived) == (0, [])


async def test_a_clock_that_stepped_back_over_midnight_archives_fewer_days_and_undoes_none(
    store: MemoryStore,
) -> None:
    archive = MemoryArchive()
    await archiving(store, archive).run(NEXT)
    await store.append([trade(50, ts_event=(FIRST + 1) * DAY + 5_000 * MS)])
    assert (await archiving(store, archive).run(FIRST + 1)).archived == []
    assert len(await archive.days()) == 12
    assert [one.rows for one in (await archiving(store, archive).run(NEXT)).archived] == [4]


async def test_a_day_that_was_over_by_a_wrong_clock_is_archived_again_once_it_is(store: MemoryStore) -> None:
    archive = MemoryArchive()
    await store.append([trade(9, ts_event=NEXT * DAY)])
    await archiving(store, archive).run(NEXT + 1)
    await store.append([trade(10, ts_event=NEXT * DAY + MS)])
    assert [one.rows for one in await store.closed_days.unarchived(NEXT + 1)] == [2]
    [day] = (await archiving(store, archive).run(NEXT + 1)).archived
    assert (day.day, day.rows) == (NEXT, 2)


async def test_a_day_that_is_refused_is_told_and_stays_and_the_others_go_on(store: MemoryStore) -> None:
    archive = Failing(StoreRejected("it is damaged"), lambda held: held.kind is QuoteTick)
    report = await archiving(store, archive).run(NEXT)
    assert {(one.held.kind, one.why) for one in report.refused} == {(QuoteTick, "it is damaged")}
    assert (len(report.refused), len(report.archived)) == (4, 8)
    left = await store.closed_days.unarchived(NEXT)
    assert list(left) == [one.held for one in report.refused]
    archive.error = None
    assert len((await archiving(store, archive).run(NEXT)).archived) == 4
    assert list(await store.closed_days.unarchived(NEXT)) == []


@pytest.mark.parametrize("error", [StoreUnavailable("away"), StoreFull("full")])
async def test_an_archive_that_is_away_or_full_ends_the_run_and_what_was_archived_stays(
    store: MemoryStore, error: Exception
) -> None:
    archive = Failing(error, lambda held: held.day > FIRST)
    with pytest.raises(type(error)):
        await archiving(store, archive).run(NEXT)
    assert {one.day for one in await store.closed_days.unarchived(NEXT)} == {FIRST + 1}
    archive.error = None
    report = await archiving(store, archive).run(NEXT)
    assert (report.days, len(report.archived)) == (6, 6)


async def test_a_day_of_which_less_is_read_than_was_counted_is_not_told(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = store.closed_days.unarchived

    async def too_many(before: int, there: Sequence[ArchivedDay] | None = None) -> list[HeldDay]:
        return [structs.replace(one, rows=one.rows + 1) for one in await counted(before, there)]

    monkeypatch.setattr(store.closed_days, "unarchived", too_many)
    report = await archiving(store, MemoryArchive()).run(NEXT)
    assert report.archived == []
    assert {one.why.partition(":")[0] for one in report.refused} == {
        "4 ticks were counted, 3 read and 3 archived"
    }
    assert len(await counted(NEXT)) == 12


async def test_ticks_that_come_while_a_day_is_archived_make_it_unarchived_again(store: MemoryStore) -> None:
    """Those that are read are archived with it, and those that are not are archived by the next run."""
    early = trade(50, ts_event=FIRST * DAY + 50 * MS)
    late = trade(51, ts_event=FIRST * DAY + 51 * MS)

    class Slow(MemoryArchive):
        async def keep(self, held: HeldDay, ticks: AsyncGenerator[StoredTick]) -> ArchivedDay:
            is_first = held.kind is TradeTick and held.day == FIRST and held.instrument == ETH
            is_first = is_first and not self._kept
            if is_first:
                await store.append([early])
            day = await super().keep(held, ticks)
            if is_first:
                await store.append([late])
            return day

    archive = Slow()
    report = await archiving(store, archive).run(NEXT)
    assert (report.archived[0].rows, report.refused) == (4, [])
    assert [(one.kind, one.rows) for one in await store.closed_days.unarchived(NEXT)] == [(TradeTick, 5)]
    [day] = (await archiving(store, archive).run(NEXT)).archived
    assert day.rows == 5


async def test_only_the_days_that_are_wanted_are_archived_and_their_gaps(store: MemoryStore) -> None:
    await store.append([gap(1), gap(2, instrument=SOL)])
    archive = MemoryArchive()
    report = await archiving(store, archive).run(NEXT, only=lambda held: held.instrument.name == ETH.name)
    assert (report.days, {one.instrument for one in report.archived}) == (6, {ETH})
    assert await scan(archive, Gap) == [gap(1)]
    assert await scan(archive, Gap, SOL) == []


async def test_gaps_are_copied_with_the_state_they_have_reached(store: MemoryStore) -> None:
    archive = MemoryArchive()
    await store.append([gap(1), gap(9)])
    await archiving(store, archive).run(FIRST + 1)
    assert await scan(archive, Gap) == [gap(1), gap(9)]
    await store.append([gap(1, state=GapState.REPAIRED)])
    await archiving(store, archive).run(NEXT)
    assert await scan(archive, Gap) == [gap(1, state=GapState.REPAIRED), gap(9)]
    assert await scan(store, Gap) == await scan(archive, Gap)


async def test_gaps_are_copied_before_the_last_day_so_that_no_stopped_run_leaves_them_out(
    store: MemoryStore,
) -> None:
    """Once all days are told, no later run would look at the instrument."""
    await store.append([gap(1)])
    archive = Failing(StoreUnavailable("away"), lambda _: True)
    with pytest.raises(StoreUnavailable):
        await archiving(store, archive).run(NEXT)
    assert await scan(archive, Gap) == [gap(1)]


async def test_gaps_that_are_refused_are_told_and_the_days_go_on(store: MemoryStore) -> None:
    class NoGaps(MemoryArchive):
        async def append(self, events: Sequence[StoredEvent]) -> int:
            if isinstance(events[0], Gap):
                raise StoreRejected("the file of gaps is damaged")
            return await super().append(events)

    await store.append([gap(1)])
    report = await archiving(store, NoGaps()).run(NEXT)
    assert report.gaps_refused == {ETH.name: "the file of gaps is damaged"}
    assert (len(report.archived), report.refused) == (12, [])


async def test_an_archive_of_other_units_takes_neither_days_nor_gaps(store: MemoryStore) -> None:
    archive = MemoryArchive()
    await archive.append([trade(1, instrument=structs.replace(ETH, price_precision=4))])
    await store.append([gap(1)])
    report = await archiving(store, archive).run(NEXT)
    assert {one.held.instrument for one in report.refused} == {ETH}
    assert list(report.gaps_refused) == [ETH.name]
    assert {one.instrument for one in report.archived} == {SOL}
    assert {one.instrument for one in await store.closed_days.unarchived(NEXT)} == {ETH}


async def test_progress_tells_of_every_day_and_of_the_end(store: MemoryStore) -> None:
    told: list[tuple[object, int, int]] = []

    def on_progress(report: ArchiveReport) -> None:
        told.append(
            (report.now and (report.now.day, report.now.kind), report.rows_done, len(report.archived))
        )

    await archiving(store, MemoryArchive()).run(NEXT, on_progress)
    assert [one[1:] for one in told] == [(3 * done, done) for done in range(13)]
    assert told[0][0] == (FIRST, TradeTick)
    assert told[-1][0] is None


async def test_a_long_day_tells_how_far_it_is() -> None:
    store = MemoryStore()
    await store.append([trade(number, ts_event=FIRST * DAY + number * MS) for number in range(50_001)])
    done: list[int] = []
    await archiving(store, MemoryArchive()).run(NEXT, lambda report: done.append(report.rows_done))
    assert done == [0, 50_000, 50_001]


async def test_a_second_run_meanwhile_is_refused(store: MemoryStore) -> None:
    archive = MemoryArchive()
    async with store.closed_days.alone():
        with pytest.raises(StoreRejected, match="Another archive run is under way"):
            await archiving(store, archive).run(NEXT)
    assert await archive.days() == []
