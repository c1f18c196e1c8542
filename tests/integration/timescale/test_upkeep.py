"""What happens to tables beside reading and writing: policies, partitions ahead, retention."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from binance_proxy.adapters.timescale.retention import Retention
from binance_proxy.adapters.timescale.rollups import locked
from binance_proxy.adapters.timescale.settings import Upkeep
from binance_proxy.adapters.timescale.store import TimescaleStore, open_timescale
from binance_proxy.application.ports import StoredEvent
from binance_proxy.domain.candle import Candle, Timeframe
from binance_proxy.domain.errors import ConfigError
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, TradeTick
from contract.market_store import ETH, FOREVER, folded, quote, scan, snapshot, trade
from integration_kept import open_kept
from servers import both

pytestmark = both

DAY_NS = 86_400 * 10**9
TIMEFRAMES = ("1m", "5m", "15m", "1h", "4h", "1d", "1w")
QUICK = {"pause_s": 0.05}
DEADLINE_S = 120
IN_THREE_DAYS = "'trades_p' || to_char(now() AT TIME ZONE 'UTC' + interval '3 days', 'YYYYMMDD')"
JOBS = "FROM timescaledb_information.jobs WHERE proc_name LIKE 'policy_%' AND hypertable_name IS NOT NULL"
PACKED = "SELECT count(*) FROM timescaledb_information.chunks WHERE is_compressed"


@pytest.fixture
async def sql(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def today(sql: asyncpg.Connection) -> int:
    """When the server's day began, in ns."""
    return await sql.fetchval("SELECT extract(epoch FROM now())::bigint / 86400") * DAY_NS


def of_days(today: int, count: int) -> list[TradeTick]:
    """Return trades of the last days, one every three hours, the newest of yesterday."""
    step = DAY_NS // 8
    return [trade(number, ts_event=today - count * DAY_NS + number * step) for number in range(count * 8)]


async def until(sql: asyncpg.Connection, condition: str) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await sql.fetchval(f"SELECT {condition}"):  # noqa: ASYNC110  nobody sets an event there
            await asyncio.sleep(0.02)


async def candles(store: TimescaleStore) -> dict[str, list[Candle]]:
    return {name: list(await store.candles(ETH, Timeframe(name), *FOREVER)) for name in TIMEFRAMES}


async def test_old_days_go_and_their_candles_stay(
    database_url: str, sql: asyncpg.Connection, today: int
) -> None:
    trades = of_days(today, 12)
    books: list[StoredEvent] = [
        kind(number, ts_event=today - number * DAY_NS) for number in range(12) for kind in (quote, snapshot)
    ]
    async with open_timescale(database_url) as store:
        await store.append([*trades, *books])
        before = await candles(store)
        shown = await sql.fetch("SELECT * FROM candles_1d ORDER BY start")
    keep = Upkeep(keep_trades_days=5, keep_books_days=8, **QUICK)
    async with open_timescale(database_url, upkeep=keep) as store:
        await until(sql, "(SELECT count(DISTINCT relation) FROM dropped_days) = 3")
        await until(sql, "(SELECT count(*) FROM dropped_days WHERE relation = 'book_snapshots') = 3")
        kept = await scan(store, TradeTick)
        assert kept == trades[-5 * 8 :]
        assert [one.last_update_id for one in await scan(store, QuoteTick)] == list(range(80, -1, -10))
        assert len(await scan(store, BookSnapshot)) == 9
        assert await candles(store) == before
        assert await sql.fetch("SELECT * FROM candles_1d ORDER BY start") == shown
        assert [row["complete"] for row in shown] == [False, *[True] * 10, False]


def dropped(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the days that the log says were dropped."""
    return [str(record.args[1]) for record in caplog.records if record.args and "dropped the" in record.msg]


async def test_the_oldest_day_goes_first_whichever_was_recorded_first(
    database_url: str, sql: asyncpg.Connection, today: int, caplog: pytest.LogCaptureFixture
) -> None:
    days_ago = (7, 9, 6, 8)
    async with open_timescale(database_url) as store:
        for number in days_ago:
            await store.append([trade(100 - number, ts_event=today - number * DAY_NS)])
    with caplog.at_level("INFO"):
        async with open_timescale(database_url, upkeep=Upkeep(keep_trades_days=5, **QUICK)):
            async with asyncio.timeout(DEADLINE_S):
                while len(dropped(caplog)) < len(days_ago):  # noqa: ASYNC110  nobody sets an event there
                    await asyncio.sleep(0.02)
    assert dropped(caplog) == [
        await sql.fetchval("SELECT ((now() AT TIME ZONE 'UTC')::date - $1::int)::text", number)
        for number in sorted(days_ago, reverse=True)
    ]


async def test_a_late_trade_of_a_dropped_day_wipes_no_candle(
    database_url: str, sql: asyncpg.Connection, today: int
) -> None:
    trades = of_days(today, 9)
    keep = Upkeep(keep_trades_days=5, **QUICK)
    async with open_timescale(database_url) as store:
        await store.append(trades)
        before = await candles(store)
    async with open_timescale(database_url, upkeep=keep):
        await until(sql, "(SELECT count(*) FROM dropped_days) = 4")
    async with open_timescale(database_url, upkeep=keep) as store:
        late = trade(1_000, ts_event=trades[3].ts_event + 1_000_000, price=1)
        assert await store.append([late]) == 1
        marked = trade(1_001, ts_event=trades[-3].ts_event + 1_000_000, price=2)
        await store.append([marked])
        await until(sql, "(SELECT count(*) FROM stale_candles) = 0")
        expected = {name: list(found) for name, found in before.items()}
        for name in TIMEFRAMES[:-1]:  # a week has days of both kinds
            whole = {one.start: one for one in folded([*trades, marked], Timeframe(name))}
            expected[name] = [whole.get(one.start, one) for one in before[name]]
            assert await store.candles(ETH, Timeframe(name), *FOREVER) == expected[name]


async def test_a_day_with_stale_candles_is_not_dropped(database_url: str, today: int) -> None:
    """Its trades are needed once more."""
    trades = of_days(today, 9)
    async with open_kept(database_url) as kept:
        store = kept.store
        await store.append(trades)
        retention = Retention(kept.rollups, hypertables=kept.hypertables)

        async def drop() -> list[str]:
            async with locked(kept.session) as connection:
                assert connection is not None
                return await retention.drop(connection, "trades", 5)

        assert await drop() == []
        await kept.refresh()
        await store.append([trade(1_000, ts_event=trades[10].ts_event + 1_000_000)])
        assert len(await drop()) == 3
        assert len(await scan(store, TradeTick)) == 6 * 8 + 1
        await kept.refresh()
        assert len(await drop()) == 1
        before = await candles(store)
        await store.append([trade(1_001, ts_event=trades[3].ts_event + 1_000_000, price=1)])
        assert len(await drop()) == 1  # the day that a late trade has made anew
        assert await candles(store) == before


async def test_the_server_is_told_what_to_do_by_itself(
    database_url: str, sql: asyncpg.Connection, server: str
) -> None:
    async with open_timescale(database_url, upkeep=Upkeep(**QUICK)):
        if server == "plain":
            await until(sql, f"to_regclass({IN_THREE_DAYS}) IS NOT NULL")
            return
        await until(sql, f"(SELECT count(*) {JOBS}) = 9")
        rows = await sql.fetch(f"SELECT proc_name, config {JOBS}")
        refresh = [row["config"] for row in rows if row["proc_name"] == "policy_refresh_continuous_aggregate"]
        assert len(refresh) == 6
        assert all('"start_offset": null' in config for config in refresh)
        assert sum('"compress_after": "7 days"' in row["config"] for row in rows) == 3
        ids = {row["job_id"] for row in await sql.fetch(f"SELECT job_id {JOBS}")}
    async with open_timescale(database_url, upkeep=Upkeep(**QUICK)):
        await asyncio.sleep(0.3)
        assert {row["job_id"] for row in await sql.fetch(f"SELECT job_id {JOBS}")} == ids
    changed = Upkeep(keep_trades_days=30, columnstore_days=0, **QUICK)
    async with open_timescale(database_url, upkeep=changed):
        await until(sql, f"(SELECT count(*) {JOBS}) = 6")
        await until(sql, f"(SELECT bool_and(config ->> 'start_offset' = '29 days') {JOBS})")


async def test_a_policy_wipes_nothing(
    database_url: str, sql: asyncpg.Connection, server: str, today: int
) -> None:
    """Run every policy by hand, after old days were dropped, with all of the past called out of date."""
    if server == "plain":
        pytest.skip("policies are TimescaleDB's")
    trades = of_days(today, 12)
    async with open_timescale(database_url) as store:
        await store.append(trades)
        before = await candles(store)
    keep = Upkeep(keep_trades_days=5, columnstore_days=2, **QUICK)
    async with open_timescale(database_url, upkeep=keep) as store:
        await until(sql, "(SELECT count(*) FROM dropped_days) = 7")
        await until(sql, f"(SELECT count(*) {JOBS}) = 9")
        await sql.execute("""
            INSERT INTO _timescaledb_catalog.continuous_aggs_materialization_invalidation_log
            SELECT mat_hypertable_id, -9223372036854775808, 9223372036854775807
            FROM _timescaledb_catalog.continuous_agg
        """)
        for row in await sql.fetch(f"SELECT job_id {JOBS} ORDER BY job_id"):
            await sql.execute("CALL run_job($1)", row["job_id"])
        assert await candles(store) == before
        assert await sql.fetchval(PACKED) > 0
        late = trade(9_000, ts_event=trades[-18].ts_event + 1_000_000)
        assert await store.append([late, trades[-18]]) == 1
        assert await store.append([late, trades[-18]]) == 0
        assert late in await scan(store, TradeTick)


def test_too_little_to_keep_is_refused(server: str) -> None:
    for name in ("keep_trades_days", "keep_books_days"):
        with pytest.raises(ConfigError, match=f"{name} = 3 is too short"):
            Upkeep(**{name: 3})
    assert Upkeep(keep_trades_days=4).keep_trades_days == 4
