"""What happens beside what: writers, sums, drops, migrations, and clocks that are set."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from binance_proxy.adapters.system.patience import PatientStore
from binance_proxy.adapters.timescale.partitions import Part
from binance_proxy.adapters.timescale.retention import Retention
from binance_proxy.adapters.timescale.rollups import locked, refresh
from binance_proxy.adapters.timescale.schema import migrate
from binance_proxy.domain.candle import Timeframe
from binance_proxy.domain.tick import TradeTick
from contract.market_store import MS, folded, scan, trade
from integration_kept import Kept, open_kept
from servers import both

pytestmark = both

TIMEFRAMES = ("1m", "5m", "15m", "1h", "4h", "1d", "1w")
MINUTE_MS = 60_000
DAY_NS = 86_400 * 10**9


@pytest.fixture
async def kept(database_url: str) -> AsyncIterator[Kept]:
    async with open_kept(database_url) as kept:
        yield kept


@pytest.fixture
async def now_ms(kept: Kept) -> int:
    return await kept.sql.fetchval("SELECT (extract(epoch FROM now()) * 1000)::bigint")


async def all_equal(kept: Kept, trades: list[TradeTick]) -> None:
    for name in TIMEFRAMES:
        assert await kept.candles(name) == folded(trades, Timeframe(name)), name


async def clock_is(kept: Kept, ahead: str) -> None:
    """Play the server's clock, as far as sums go."""
    await kept.sql.execute(f"""
        CREATE OR REPLACE FUNCTION summed_up_before() RETURNS timestamptz LANGUAGE sql STABLE AS $$
            SELECT now() - interval '10 minutes' + interval '{ahead}'
        $$
    """)


async def test_the_last_minutes_before_an_outage_are_in_their_candles(kept: Kept, now_ms: int) -> None:
    """They were too new to be summed up, and marked by nobody; what comes later must not hide them."""
    await clock_is(kept, "-120 minutes")
    live = [trade(number, ts_event=(now_ms - 125 * MINUTE_MS + number * 6_000) * MS) for number in range(50)]
    await kept.store.append(live)
    await clock_is(kept, "0")
    spooled = [
        trade(50 + number, ts_event=(now_ms - 60 * MINUTE_MS + number * 6_000) * MS) for number in range(300)
    ]
    await kept.store.append(spooled)
    await all_equal(kept, [*live, *spooled])
    await kept.refresh()
    await all_equal(kept, [*live, *spooled])
    await kept.advance()
    await all_equal(kept, [*live, *spooled])


async def test_trades_of_a_clock_that_was_set_back_are_in_their_candles(kept: Kept, now_ms: int) -> None:
    stored = [trade(1, ts_event=(now_ms - 1_000) * MS)]
    await kept.store.append(stored)
    await clock_is(kept, "70 minutes")
    await kept.advance()
    await clock_is(kept, "0")
    later = [trade(2 + number, ts_event=(now_ms - 900 + number) * MS, price=7) for number in range(5)]
    await kept.store.append(later)
    await all_equal(kept, [*stored, *later])


async def test_what_is_written_while_the_clock_jumps_is_in_its_candle(
    kept: Kept, now_ms: int, server: str
) -> None:
    """Sums are closed only once everybody has committed who found the minute open."""
    if server == "timescale":
        pytest.skip("TimescaleDB notices such a trade by itself, and its policy sums it up")
    stored = [trade(1, ts_event=(now_ms - 1_000) * MS)]
    await kept.store.append(stored)
    late = trade(2, ts_event=(now_ms - 900) * MS)
    async with kept.session.transaction() as writing:
        await writing.execute(
            "INSERT INTO trades SELECT $1::timestamptz, $2, 2, $3, $4, NULL, NULL, instrument_id, -1, false"
            " FROM instruments",
            late.ts_event // 1_000, late.ts_recv, late.price, late.size,
        )  # fmt: skip
        minute = late.ts_event // 1_000 // 60_000_000 * 60_000_000
        await writing.execute(
            "SELECT mark_stale(ARRAY[1], ARRAY[$1::timestamptz], ARRAY[$2::timestamptz])",
            minute,
            minute + 60_000_000,
        )
        await clock_is(kept, "70 minutes")
        advancing = asyncio.create_task(kept.advance())
        await asyncio.wait([advancing], timeout=0.5)
        assert not advancing.done()
    await advancing
    assert await kept.stale() == 0
    assert await kept.summed_up() > 0
    await all_equal(kept, [*stored, late])


async def test_a_late_trade_keeps_its_day_from_being_dropped(kept: Kept) -> None:
    """It comes after the day was found summed up, and before it is gone."""
    today = await kept.sql.fetchval("SELECT extract(epoch FROM now())::bigint / 86400") * DAY_NS
    trades = [trade(2 * number, ts_event=today - 9 * DAY_NS + number * DAY_NS // 8) for number in range(72)]
    await kept.store.append(trades)
    await kept.refresh()
    late = trade(5, ts_event=trades[2].ts_event + MS, price=1)

    to_come = [late]

    class Overtaken(Retention):
        async def _drop(self, connection: asyncpg.Connection, table: str, part: Part) -> bool:
            if to_come:
                await kept.store.append([to_come.pop()])
            return await super()._drop(connection, table, part)

    async with locked(kept.session) as connection:
        retention = Overtaken(kept.rollups, hypertables=kept.hypertables)
        assert await retention.drop(connection, "trades", 8) == []
    assert len(await scan(kept.store, TradeTick)) == 73
    await all_equal(kept, [*trades, late])


async def test_a_day_is_dropped_only_when_nobody_reads_it(kept: Kept) -> None:
    """And whoever else reads or writes meanwhile does not wait for the drop."""
    today = await kept.sql.fetchval("SELECT extract(epoch FROM now())::bigint / 86400") * DAY_NS
    await kept.store.append([trade(n, ts_event=today - 9 * DAY_NS + n * DAY_NS // 8) for n in range(72)])
    await kept.refresh()
    retention = Retention(kept.rollups, hypertables=kept.hypertables)
    async with kept.sql.transaction():
        await kept.sql.fetch("SELECT * FROM trades")
        with pytest.raises(Exception, match="lock timeout"):
            async with locked(kept.session) as connection:
                await retention.drop(connection, "trades", 8)
        assert await kept.store.append([trade(500, ts_event=today)]) == 1
    async with locked(kept.session) as connection:
        assert len(await retention.drop(connection, "trades", 8)) == 1


@pytest.mark.parametrize(("before", "after"), [("0002", "0005"), ("0005", "0002")])
async def test_what_is_written_during_a_migration_is_kept_or_refused(
    empty_database_url: str, before: str, after: str
) -> None:
    """An older bridge may go on recording while a newer one brings the tables up to date."""
    await migrate(empty_database_url, to=before)
    sql, writer = [await asyncpg.connect(empty_database_url) for _ in range(2)]
    day = "FOR VALUES FROM ('2024-08-08T00:00Z') TO ('2024-08-09T00:00Z')"
    if await sql.fetchval("SELECT relkind = 'p' FROM pg_class WHERE oid = 'trades'::regclass"):
        await sql.execute(f"CREATE TABLE trades_p20240808 PARTITION OF trades {day}")
    row = "0, $1::bigint, 1, 1, NULL, NULL, 1, 1, false"
    many = row.replace("$1", "n")
    await sql.execute(
        f"INSERT INTO trades SELECT timestamptz '2024-08-08T00:00Z' + n * interval '1 ms', {many}"
        " FROM generate_series(1, 100000) n"
    )
    acknowledged: list[int] = []

    async def write() -> None:
        for number in range(1_000_000, 2_000_000):
            await writer.execute(f"INSERT INTO trades VALUES ('2024-08-08T12:00Z', {row})", number)
            acknowledged.append(number)

    writing = asyncio.create_task(write())
    while len(acknowledged) < 20:  # noqa: ASYNC110  it is a handful of milliseconds
        await asyncio.sleep(0.01)
    await migrate(empty_database_url, to=after)
    writing.cancel()
    await asyncio.wait([writing])
    rows = await sql.fetch("SELECT trade_id FROM trades WHERE trade_id >= 1000000")
    assert set(acknowledged) <= {one["trade_id"] for one in rows}
    assert await sql.fetchval("SELECT count(*) FROM trades WHERE trade_id < 1000000") == 100_000
    await sql.close()
    await writer.close()


async def test_a_copy_of_the_database_with_other_ids_gets_ticks_of_the_right_pair(kept: Kept) -> None:
    """As when an older backup takes the place of a database that was lost."""
    await kept.store.append([trade(1)])
    await kept.sql.execute("DELETE FROM stale_candles")
    await kept.sql.execute("DELETE FROM instruments")
    await kept.sql.execute("""
        INSERT INTO instruments (instrument_id, venue, market, symbol, price_precision, size_precision,
            time_resolution_ns) OVERRIDING SYSTEM VALUE
        VALUES (1, 'binance', 'spot', 'NEW/USDT', 8, 8, 1000000)
    """)
    await kept.sql.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await PatientStore(kept.store).append([trade(2)])
    assert [one.trade_id for one in await kept.store_anew_trades()] == [2]


async def test_sums_go_on_after_a_stop_in_the_middle(kept: Kept) -> None:
    """A refresh that is cancelled gives its lock back."""
    await kept.store.append([trade(number, number * 3_600_000) for number in range(200)])
    for _ in range(3):
        working = asyncio.create_task(refresh(kept.session, kept.rollups))
        await asyncio.sleep(0.05)
        working.cancel()
        await asyncio.wait([working])
    async with asyncio.timeout(60):
        while await kept.stale():
            await kept.refresh()
    assert await kept.candles("1d") == folded(await scan(kept.store, TradeTick), Timeframe("1d"))
