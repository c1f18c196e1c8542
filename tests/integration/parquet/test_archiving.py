"""An archive run between a real database and a folder: clocks, units, and two of everything."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from msgspec import structs

from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.adapters.parquet.store import ParquetStore, open_parquet
from binance_proxy.adapters.timescale.store import TimescaleStore, open_timescale
from binance_proxy.application.archive import ArchiveReport, Archiving
from binance_proxy.application.long_term import LongTermStore
from binance_proxy.application.ports import HeldDay, StoredTick, StoreRejected
from binance_proxy.domain.candle import Timeframe
from binance_proxy.domain.gap import Gap
from binance_proxy.domain.tick import QuoteTick, TradeTick
from contract.archive import held, keep
from contract.market_store import DAY, ETH, FOREVER, MS, SOL, T0, gap, quote, scan, trade

TODAY = T0 // DAY + 1
"""`T0` is the last second of the day before."""
TRADES = [trade(number) for number in range(1, 300)]
TODAYS = trade(2_000, ts_event=TODAY * DAY)
OTHER_ETH = structs.replace(ETH, price_precision=4)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[TimescaleStore]:
    async with open_timescale(database_url) as store:
        yield store


@pytest.fixture
def archive(tmp_path: Path) -> ParquetStore:
    return open_parquet(str(tmp_path / "archive"))


def files(folder: Path, like: str) -> list[Path]:
    return list(folder.rglob(like))


async def run(store: TimescaleStore | MemoryStore, archive: ParquetStore, before: int) -> ArchiveReport:
    return await Archiving(store, store.closed_days, archive, archive).run(before)


async def test_a_day_that_is_not_over_stays(database: TimescaleStore, archive: ParquetStore) -> None:
    await database.append([*TRADES, TODAYS])
    report = await run(database, archive, TODAY)
    assert [(one.day, one.rows) for one in report.archived] == [(TODAY - 1, 299)]
    assert await scan(archive, TradeTick) == TRADES
    assert [one.day for one in await database.closed_days.unarchived(TODAY + 1)] == [TODAY]


async def test_a_clock_that_steps_back_over_midnight_loses_and_doubles_nothing(
    database: TimescaleStore, archive: ParquetStore
) -> None:
    """By a clock that is a day ahead the day was over; then it goes on."""
    await database.append([*TRADES, TODAYS])
    await run(database, archive, TODAY + 1)
    late = trade(2_001, ts_event=TODAY * DAY + MS)
    await database.append([late])
    assert (await run(database, archive, TODAY)).days == 0
    both = LongTermStore(database, archive, archive)
    assert await scan(both, TradeTick) == [*TRADES, TODAYS, late]
    assert [(one.day, one.rows) for one in (await run(database, archive, TODAY + 1)).archived] == [(TODAY, 2)]
    assert await scan(archive, TradeTick) == [*TRADES, TODAYS, late]


async def test_an_archive_of_a_database_with_other_precisions_takes_and_gives_nothing(
    database: TimescaleStore, archive: ParquetStore
) -> None:
    """The day there is another one than that to archive: the units are those of the whole instrument."""
    theirs = trade(1, instrument=OTHER_ETH, ts_event=T0 - 5 * DAY)
    await keep(archive, theirs)
    sols = [structs.replace(one, instrument=SOL) for one in TRADES]
    await database.append([*TRADES, *sols, gap(1)])
    report = await run(database, archive, TODAY)
    [refused] = report.refused
    assert refused.held == HeldDay(kind=TradeTick, instrument=ETH, day=TODAY - 1, rows=299)
    assert "archived with other precisions" in refused.why
    assert "archive.url" in report.gaps_refused[ETH.name]
    assert await scan(archive, TradeTick, SOL) == sols
    assert [one.instrument for one in await database.closed_days.unarchived(TODAY)] == [ETH]
    both = LongTermStore(database, archive, archive)
    with pytest.raises(StoreRejected, match="belongs to another database"):
        await scan(both, TradeTick)
    with pytest.raises(StoreRejected, match="belongs to another database"):
        await both.candles(ETH, Timeframe("1h"), *FOREVER)
    assert await scan(both, TradeTick, SOL) == sols
    assert await scan(open_parquet(archive.where), TradeTick, OTHER_ETH) == [theirs]


async def test_a_damaged_day_keeps_no_other_day_from_the_archive(
    database: TimescaleStore, archive: ParquetStore, tmp_path: Path
) -> None:
    await keep(archive, trade(1, ts_event=T0 - 5 * DAY))
    [file] = files(tmp_path, "ticks.parquet")
    file.write_bytes(b"PAR1")
    await database.append(TRADES)
    report = await run(database, archive, TODAY)
    assert (report.refused, [one.rows for one in report.archived]) == ([], [299])


async def test_a_second_bridge_that_archives_the_same_database_is_refused(
    database: TimescaleStore, archive: ParquetStore, database_url: str
) -> None:
    await database.append(TRADES)
    async with open_timescale(database_url) as other, other.closed_days.alone():
        with pytest.raises(StoreRejected, match="Another archive run is under way"):
            await run(database, archive, TODAY)
    assert await archive.days() == []
    assert (await run(database, archive, TODAY)).refused == []


async def test_of_two_bridges_at_once_one_archives_the_day(
    database: TimescaleStore, archive: ParquetStore, database_url: str
) -> None:
    await database.append(TRADES)
    async with open_timescale(database_url) as other:
        ended = await asyncio.gather(
            *(run(store, open_parquet(archive.where), TODAY) for store in (database, other)),
            return_exceptions=True,
        )
    assert all(isinstance(one, ArchiveReport | StoreRejected) for one in ended)
    assert sum(len(one.archived) for one in ended if isinstance(one, ArchiveReport)) == 1
    assert await scan(archive, TradeTick) == TRADES


async def test_two_databases_that_archive_a_day_into_one_folder_are_both_there(
    database: TimescaleStore, archive: ParquetStore, empty_database_url: str
) -> None:
    """Each has some trades, and some that the other has too."""
    async with open_timescale(empty_database_url) as other:
        await database.append([*TRADES[:200], quote(1), gap(1)])
        await other.append([*TRADES[100:], quote(2), gap(50)])
        reports = await asyncio.gather(
            *(run(store, open_parquet(archive.where), TODAY) for store in (database, other))
        )
        assert [report.refused for report in reports] == [[], []]
        assert await scan(archive, TradeTick) == TRADES
        assert await scan(archive, QuoteTick) == [quote(1), quote(2)]
        assert await scan(archive, Gap) == [gap(1), gap(50)]
        for store in (database, other):
            assert list(await store.closed_days.unarchived(TODAY)) == []
            assert await scan(LongTermStore(store, archive, archive), TradeTick) == TRADES


async def test_a_run_that_is_stopped_leaves_nothing_half_written(
    archive: ParquetStore, tmp_path: Path
) -> None:
    await keep(archive, *TRADES[:100])
    begun = asyncio.Event()

    async def endless() -> AsyncGenerator[StoredTick]:
        for number in range(1_000, 10_000_000):
            yield trade(number, 1)
            if number == 200_000:
                begun.set()

    async with aclosing(endless()) as ticks:
        keeping = asyncio.create_task(archive.keep(held(TRADES), ticks))
        await begun.wait()
        keeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await keeping
    assert files(tmp_path, "*.writing") == []
    assert await scan(archive, TradeTick) == TRADES[:100]
    assert (await keep(archive, *TRADES)).rows == 299
