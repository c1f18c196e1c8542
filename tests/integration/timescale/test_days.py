"""Days that are archived, and retention, which drops no others."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import asyncpg
import pytest
from msgspec import structs

from binance_proxy.adapters.timescale.days import is_archived, is_guarded
from binance_proxy.adapters.timescale.partitions import Part
from binance_proxy.adapters.timescale.retention import Retention
from binance_proxy.adapters.timescale.rollups import locked
from binance_proxy.adapters.timescale.store import open_timescale
from binance_proxy.application.ports import HeldDay, StoreRejected, StoreUnavailable
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, TradeTick
from contract.market_store import DAY, ETH, MS, SOL, quote, scan, snapshot, trade
from integration_kept import Kept, open_kept
from servers import both

pytestmark = both

DAY_NS = 86_400 * 10**9
KEEP = 5
OLD = 9
"""How many days ago the oldest ticks are of; four days are older than what is kept."""
KINDS = {"trades": TradeTick, "quotes": QuoteTick, "book_snapshots": BookSnapshot}
TRADES_DROPPED = "SELECT count(*) FROM dropped_days WHERE relation = 'trades'"
HAS_SHARE_LOCK = "SELECT EXISTS (SELECT FROM pg_locks WHERE mode = 'ShareLock' AND pid = pg_backend_pid())"
WAIT = "are older than 5 days, and stay until they are archived: run `bridge archive run`"
DEADLINE_S = 120


@pytest.fixture
async def kept(database_url: str) -> AsyncIterator[Kept]:
    async with open_kept(database_url) as kept:
        yield kept


@pytest.fixture
async def today(kept: Kept) -> int:
    """The server's day, counted from 1970."""
    return await kept.sql.fetchval("SELECT extract(epoch FROM now())::bigint / 86400")


@pytest.fixture
def retention(kept: Kept) -> Retention:
    return Retention(kept.rollups, hypertables=kept.hypertables)


@pytest.fixture
async def trades(kept: Kept, today: int) -> list[TradeTick]:
    """Four trades a day of the last days, the newest of yesterday, with their candles summed up."""
    trades = [trade(number, ts_event=(today - OLD) * DAY_NS + number * DAY_NS // 4) for number in range(36)]
    await kept.store.append(trades)
    await kept.refresh()
    return trades


async def drop(kept: Kept, retention: Retention, table: str = "trades") -> list[str]:
    async with locked(kept.session) as connection:
        assert connection is not None
        return await retention.drop(connection, table, KEEP)


async def archive(kept: Kept, days: Sequence[HeldDay] | None = None) -> list[HeldDay]:
    """Say that days are archived, all if none are named, and return them."""
    async with kept.store.closed_days.alone():
        found = list(await kept.store.closed_days.unarchived(100_000) if days is None else days)
        for one in found:
            await kept.store.closed_days.archived(one, "sum")
    return found


async def unarchived(kept: Kept) -> list[HeldDay]:
    return list(await kept.store.closed_days.unarchived(100_000))


def waits(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the log says of days that wait."""
    return [record.getMessage() for record in caplog.records if "bridge archive run" in record.getMessage()]


async def test_trades_come_page_by_page_each_once(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("binance_proxy.adapters.timescale.columns.PAGE", 10)
    made = [trade(number, ts_ms=1_000 + number // 7) for number in range(1, 40)]  # many of one time
    await kept.store.append([*made, *(structs.replace(one, instrument=SOL) for one in made)])
    for count in (39, 40):  # the last page is full
        await kept.store.append([trade(40, ts_ms=2_000)][: count - 39])
        held = HeldDay(kind=TradeTick, instrument=ETH, day=made[0].ts_event // DAY, rows=count)
        async with aclosing(kept.store.closed_days.trades(held)) as pages:
            found = [page async for page in pages]
        assert [len(page) for page in found] == [10, 10, 10, count - 30]
        assert [one for page in found for one in page.trades()] == await scan(kept.store, TradeTick)


async def test_whoever_reads_no_further_leaves_no_statement_behind(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("binance_proxy.adapters.timescale.columns.PAGE", 2)
    await kept.store.append([trade(number, ts_ms=1_000 + number) for number in range(1, 9)])
    held = HeldDay(kind=TradeTick, instrument=ETH, day=trade(1, ts_ms=1_000).ts_event // DAY, rows=8)
    for _ in range(12):  # more often than there are connections
        async with aclosing(kept.store.closed_days.trades(held)) as pages:
            assert len(await anext(pages)) == 2
    assert len(await scan(kept.store, TradeTick)) == 8


@pytest.mark.usefixtures("trades")
async def test_where_nothing_was_ever_archived_days_go_by_their_age(kept: Kept, retention: Retention) -> None:
    assert len(await drop(kept, retention)) == 4


async def test_from_the_first_archived_day_on_the_others_wait(
    kept: Kept, retention: Retention, trades: list[TradeTick], today: int
) -> None:
    days = await unarchived(kept)
    assert [(one.day, one.rows) for one in days] == [(today - ago, 4) for ago in range(OLD, 0, -1)]
    await archive(kept, [days[1]])
    assert len(await drop(kept, retention)) == 1
    assert await scan(kept.store, TradeTick) == trades[:4] + trades[8:]
    await archive(kept)
    assert len(await drop(kept, retention)) == 3
    assert await scan(kept.store, TradeTick) == trades[16:]


@pytest.mark.usefixtures("trades")
async def test_a_day_that_waits_is_said_once(
    kept: Kept, retention: Retention, caplog: pytest.LogCaptureFixture
) -> None:
    days = await unarchived(kept)
    await archive(kept, [days[3]])
    for _ in range(3):
        await drop(kept, retention)
    oldest = await kept.sql.fetchval("SELECT ((now() AT TIME ZONE 'UTC')::date - $1::int)::text", OLD)
    assert waits(caplog) == [f"the trades of 3 days from {oldest} on {WAIT}"]
    await archive(kept)
    await drop(kept, retention)
    await kept.store.append([trade(500, ts_event=days[0].day * DAY_NS)])
    for _ in range(3):
        await drop(kept, retention)
    assert waits(caplog)[1:] == [f"the trades of {oldest} {WAIT}"]


async def test_a_late_tick_between_mark_and_drop_stops_the_drop(
    kept: Kept, retention: Retention, trades: list[TradeTick]
) -> None:
    await archive(kept)
    late = trade(500, ts_event=trades[1].ts_event + MS)
    await kept.store.append([late])
    await kept.refresh()  # it is not the candle that keeps the day
    assert len(await drop(kept, retention)) == 3
    assert await scan(kept.store, TradeTick) == [*trades[:2], late, *trades[2:4], *trades[16:]]
    assert [one.rows for one in await archive(kept)] == [5]
    assert len(await drop(kept, retention)) == 1


@pytest.mark.parametrize("table", KINDS)
async def test_a_late_tick_between_the_first_look_and_the_lock_stops_the_drop(
    kept: Kept, today: int, table: str
) -> None:
    make = {"trades": trade, "quotes": quote, "book_snapshots": snapshot}[table]
    start = (today - OLD) * DAY_NS
    ticks = [make(number, ts_event=start + number * MS) for number in range(1, 4)]
    await kept.store.append(ticks)
    await kept.refresh()
    await archive(kept)
    late = make(9, ts_event=start + 9 * MS)

    class Overtaken(Retention):
        async def _drop(self, connection: asyncpg.Connection, table: str, part: Part) -> bool:
            if await kept.store.append([late]):
                await kept.sql.execute("DELETE FROM stale_candles")  # it is not the candle that keeps the day
            return await super()._drop(connection, table, part)

    assert await drop(kept, Overtaken(kept.rollups, hypertables=kept.hypertables), table) == []
    assert await scan(kept.store, KINDS[table]) == [*ticks, late]
    assert [one.rows for one in await unarchived(kept)] == [4]


async def test_while_a_day_is_counted_nobody_can_write_to_it_and_everybody_read(
    kept: Kept, retention: Retention, trades: list[TradeTick], server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of the two goes first then, the row of the writer is kept, and counts."""
    await archive(kept)
    late = trade(500, ts_event=trades[1].ts_event + MS)
    writing: list[asyncio.Task[int]] = []

    async def counted(connection: asyncpg.Connection, table: str, days: range) -> bool:
        if not writing and await connection.fetchval(HAS_SHARE_LOCK):
            writing.append(asyncio.create_task(kept.store.append([late])))
            await asyncio.wait(writing, timeout=0.5)
            assert not writing[0].done()
            assert len(await scan(kept.store, TradeTick)) == len(trades)
        return await is_archived(connection, table, days)

    monkeypatch.setattr("binance_proxy.adapters.timescale.retention.is_archived", counted)
    if server == "plain":  # a partition needs its whole table to go, and the writer has a share in that
        with pytest.raises(StoreUnavailable, match="lock timeout"):
            await drop(kept, retention)
        assert await writing[0] == 1
        assert [one.rows for one in await unarchived(kept)] == [5]
    else:
        assert len(await drop(kept, retention)) == 4
        assert await writing[0] == 1
        assert [one.rows for one in await unarchived(kept)] == [1]
    assert late in await scan(kept.store, TradeTick)


async def test_what_comes_late_for_a_day_that_is_gone_is_archived_before_it_is_dropped(
    kept: Kept, retention: Retention, trades: list[TradeTick]
) -> None:
    """Also if it is exactly as many rows as the day once had, of which the archive knows nothing."""
    await archive(kept)
    assert len(await drop(kept, retention)) == 4
    late = [trade(500 + number, ts_event=trades[0].ts_event + MS) for number in range(4)]
    await kept.store.append(late[:1])
    assert [one.rows for one in await unarchived(kept)] == [1]
    await kept.store.append(late)
    assert [one.rows for one in await unarchived(kept)] == [4]
    assert await drop(kept, retention) == []
    assert [one.rows for one in await archive(kept)] == [4]
    assert len(await drop(kept, retention)) == 1
    assert await scan(kept.store, TradeTick) == trades[16:]
    assert await kept.sql.fetchval("SELECT count(*) FROM archived_days WHERE rows = 0") == 4


async def test_each_table_is_dropped_by_itself(kept: Kept, retention: Retention, today: int) -> None:
    start = (today - OLD) * DAY_NS
    makers = (trade, quote, snapshot)
    await kept.store.append([make(n, ts_event=start + n * MS) for make in makers for n in range(1, 4)])
    await kept.refresh()
    days = await unarchived(kept)
    await archive(kept, [one for one in days if one.kind is QuoteTick])
    assert [len(await drop(kept, retention, table)) for table in KINDS] == [0, 1, 0]
    assert [one.kind for one in await unarchived(kept)] == [TradeTick, BookSnapshot]
    await archive(kept)
    assert [len(await drop(kept, retention, table)) for table in KINDS] == [1, 0, 1]


async def test_one_instrument_that_is_not_archived_keeps_the_day_of_all(
    kept: Kept, retention: Retention, trades: list[TradeTick]
) -> None:
    sol = structs.replace(trades[0], instrument=SOL)
    await kept.store.append([sol])
    await kept.refresh()
    await archive(kept, [one for one in await unarchived(kept) if one.instrument == ETH])
    assert len(await drop(kept, retention)) == 3
    assert await scan(kept.store, TradeTick, SOL) == [sol]
    assert await scan(kept.store, TradeTick) == trades[:4] + trades[16:]
    await archive(kept)
    assert len(await drop(kept, retention)) == 1


@pytest.mark.usefixtures("trades")
async def test_nothing_is_dropped_under_the_hands_of_the_first_run(kept: Kept, retention: Retention) -> None:
    """It has counted a day, and would say that it has rows which it never saw."""
    async with kept.store.closed_days.alone():
        assert await drop(kept, retention) == []
        days = await unarchived(kept)
        await kept.store.closed_days.archived(days[0], "sum")
        assert len(await drop(kept, retention)) == 1
    assert await drop(kept, retention) == []


@pytest.mark.usefixtures("trades")
async def test_nothing_is_dropped_if_a_run_begins_just_before(
    kept: Kept, retention: Retention, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may count the day as long as the lock is not had."""
    looks = 0

    async def looked(connection: asyncpg.Connection) -> bool:
        nonlocal looks
        looks += 1
        found = await is_guarded(connection)
        if looks == 2:  # the last look before the lock
            await runs.enter_async_context(kept.store.closed_days.alone())
        return found

    monkeypatch.setattr("binance_proxy.adapters.timescale.retention.is_guarded", looked)
    async with AsyncExitStack() as runs:
        assert await drop(kept, retention) == []
        assert len(await unarchived(kept)) == OLD
    assert len(await drop(kept, retention)) == 4


@pytest.mark.usefixtures("trades")
async def test_a_run_in_another_database_keeps_no_day_here(
    kept: Kept, retention: Retention, empty_database_url: str
) -> None:
    async with open_timescale(empty_database_url) as other, other.closed_days.alone():
        assert len(await drop(kept, retention)) == 4


async def test_a_run_whose_connection_was_lost_can_say_nothing_more(
    kept: Kept, database_url: str, trades: list[TradeTick]
) -> None:
    """Another one may be under way by then, and may have had the day dropped."""
    days = await unarchived(kept)
    async with open_timescale(database_url) as other, kept.store.closed_days.alone():
        with pytest.raises(StoreRejected, match="Another archive run is under way"):
            async with other.closed_days.alone():
                pass
        await kept.sql.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE objid = $1", 0x63686976)
        await can_be_alone(other)
        with pytest.raises(StoreUnavailable):
            await kept.store.closed_days.archived(days[0], "sum")
    assert await unarchived(kept) == days
    assert await scan(kept.store, TradeTick) == trades


async def test_a_run_that_is_killed_is_in_nobody_s_way(kept: Kept, database_url: str) -> None:
    run = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("archive_forever.py")),
        database_url,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert run.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            assert await run.stdout.readline() == b"alone\n"
        with pytest.raises(StoreRejected, match="Another archive run is under way"):
            async with kept.store.closed_days.alone():
                pass
    finally:
        run.kill()
        await run.wait()
    await can_be_alone(kept.store)


async def can_be_alone(other: object) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                async with other.closed_days.alone():
                    return
            except StoreRejected:
                await asyncio.sleep(0.02)


@pytest.mark.usefixtures("trades")
async def test_a_run_holds_no_transaction_open(kept: Kept) -> None:
    async with kept.store.closed_days.alone():
        await kept.store.closed_days.archived((await unarchived(kept))[0], "sum")
        states = await kept.sql.fetch(
            "SELECT state, xact_start FROM pg_stat_activity"
            " WHERE application_name LIKE 'binance-proxy%' AND datname = current_database()"
        )
        assert {tuple(row) for row in states} == {("idle", None)}


async def test_days_that_are_packed_are_counted_and_dropped_alike(
    kept: Kept, retention: Retention, trades: list[TradeTick], server: str
) -> None:
    if server == "plain":
        pytest.skip("only TimescaleDB packs days")
    await kept.sql.execute("SELECT compress_chunk(chunk) FROM show_chunks('trades') AS chunk")
    assert [one.rows for one in await unarchived(kept)] == [4] * 9
    await archive(kept)
    late = trade(500, ts_event=trades[1].ts_event + MS)
    await kept.store.append([late])
    assert [one.rows for one in await unarchived(kept)] == [5]
    await kept.refresh()
    assert len(await drop(kept, retention)) == 3
    await archive(kept)
    assert len(await drop(kept, retention)) == 1
    assert await scan(kept.store, TradeTick) == trades[16:]


async def test_a_chunk_of_several_days_goes_once_all_of_them_are_archived(
    kept: Kept, retention: Retention, today: int, server: str
) -> None:
    if server == "plain":
        pytest.skip("a partition is a day")
    await kept.sql.execute("SELECT set_chunk_time_interval('trades', interval '48 hours')")
    trades = [trade(n, ts_event=(today - 12) * DAY_NS + n * DAY_NS // 2) for n in range(8)]
    await kept.store.append(trades)
    await kept.refresh()
    days = await unarchived(kept)
    assert [(one.day, one.rows) for one in days] == [(today - ago, 2) for ago in (12, 11, 10, 9)]
    lengths = await kept.sql.fetch(
        "SELECT DISTINCT range_end - range_start FROM timescaledb_information.chunks"
        " WHERE hypertable_name = 'trades'"
    )
    assert [row[0].days for row in lengths] == [2]
    await archive(kept, days[:1])
    assert await drop(kept, retention) == []
    await archive(kept)
    gone = await drop(kept, retention)
    assert len(gone) in {4, 6}  # chunks begin on even days
    assert await kept.sql.fetchval(TRADES_DROPPED) == len(gone)
    assert await scan(kept.store, TradeTick) == []


async def test_a_chunk_of_hours_stays_and_is_said_once(
    kept: Kept, retention: Retention, today: int, server: str, caplog: pytest.LogCaptureFixture
) -> None:
    if server == "plain":
        pytest.skip("a partition is a day")
    await kept.sql.execute("SELECT set_chunk_time_interval('trades', interval '6 hours')")
    trades = [trade(n, ts_event=(today - OLD) * DAY_NS + n * DAY_NS // 4) for n in range(4)]
    await kept.store.append(trades)
    await kept.refresh()
    for _ in range(2):
        assert await drop(kept, retention) == []
    assert await scan(kept.store, TradeTick) == trades
    assert sum("is not made of whole days" in record.getMessage() for record in caplog.records) == 4
