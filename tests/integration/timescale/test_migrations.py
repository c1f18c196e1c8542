"""From every earlier revision to the newest with data in it, and back where nothing is lost."""

import asyncpg
import pytest

from binance_proxy.adapters.timescale.partitions import has_hypertables
from binance_proxy.adapters.timescale.schema import NEWEST, migrate, revision
from binance_proxy.adapters.timescale.store import open_timescale
from binance_proxy.application.ports import StoredEvent, StoreRejected
from binance_proxy.domain.candle import Timeframe
from binance_proxy.domain.gap import Gap
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, TradeTick
from contract.market_store import ETH, FOREVER, SOL, folded, gap, quote, random_trades, scan, snapshot, trade
from servers import both

pytestmark = both

EARLIER = ("0001", "0002", "0003", "0004")
ANY_DAY = 100_000
TRADES = random_trades(2, 300, spread_ms=3 * 86_400_000)
EVENTS: list[StoredEvent] = [
    *TRADES,
    *(trade(number, instrument=SOL) for number in range(50)),
    *(quote(number) for number in range(50)),
    quote(9, instrument=SOL, previous_update_id=8, bids=()),
    *(snapshot(number) for number in range(5)),
    gap(7),
]
"""Events of every kind, over several days."""


@pytest.fixture
async def sql(empty_database_url: str):
    connection = await asyncpg.connect(empty_database_url)
    yield connection
    await connection.close()


async def everything(url: str) -> list[StoredEvent]:
    async with open_timescale(url) as store:
        kinds = (TradeTick, QuoteTick, BookSnapshot, Gap)
        return [one for kind in kinds for pair in (ETH, SOL) for one in await scan(store, kind, pair)]


@pytest.mark.parametrize("earlier", EARLIER)
async def test_every_earlier_revision_keeps_its_rows(
    empty_database_url: str, sql: asyncpg.Connection, earlier: str
) -> None:
    """A database is filled, taken back to the earlier revision, and brought up again as it is found there."""
    async with open_timescale(empty_database_url) as store:
        await store.append(EVENTS)
    kept = await everything(empty_database_url)
    await migrate(empty_database_url, to=earlier)
    assert await revision(empty_database_url) == earlier
    assert await sql.fetchval("SELECT count(*) FROM trades") == len(TRADES) + 50
    await migrate(empty_database_url)
    assert await everything(empty_database_url) == kept
    async with open_timescale(empty_database_url) as store:
        assert list(await store.candles(ETH, Timeframe("5m"), *FOREVER)) == folded(TRADES, Timeframe("5m"))
        assert await store.append(EVENTS) == 0
        assert await store.append([trade(10**9, 5 * 86_400_000)]) == 1


async def test_the_tables_become_what_the_server_is_for(
    empty_database_url: str, sql: asyncpg.Connection, server: str
) -> None:
    await migrate(empty_database_url, to="0002")
    assert await sql.fetchval("SELECT relkind FROM pg_class WHERE oid = 'trades'::regclass") == b"p"
    await migrate(empty_database_url)
    assert await has_hypertables(sql) is (server == "timescale")


async def test_the_old_candle_views_are_back_at_the_old_revision(
    empty_database_url: str, sql: asyncpg.Connection
) -> None:
    async with open_timescale(empty_database_url) as store:
        await store.append(EVENTS)
    before = [tuple(row) for row in await sql.fetch("SELECT * FROM candles_1h ORDER BY symbol, start")]
    await migrate(empty_database_url, to="0002")
    assert [
        tuple(row) for row in await sql.fetch("SELECT * FROM candles_1h ORDER BY symbol, start")
    ] == before


async def test_going_back_is_refused_where_it_would_lose_candles(
    empty_database_url: str, sql: asyncpg.Connection
) -> None:
    await migrate(empty_database_url)
    await sql.execute("INSERT INTO dropped_days VALUES ('trades', '2024-08-08')")
    with pytest.raises(StoreRejected, match="would lose their candles"):
        await migrate(empty_database_url, to="0003")
    assert await revision(empty_database_url) == NEWEST


async def test_going_back_is_refused_where_an_older_bridge_would_drop_what_is_not_archived(
    empty_database_url: str, sql: asyncpg.Connection
) -> None:
    async with open_timescale(empty_database_url) as store:
        await store.append([trade(1)])
        (day,) = await store.closed_days.unarchived(ANY_DAY)
        await store.closed_days.archived(day, "sum")
        with pytest.raises(
            StoreRejected, match=r"stays at revision 0005 .* delete the rows of archived_days"
        ):
            await migrate(empty_database_url, to="0004")
        assert list(await store.closed_days.unarchived(ANY_DAY)) == []
        await sql.execute("DELETE FROM archived_days")
        await migrate(empty_database_url, to="0004")
        await migrate(empty_database_url)
        assert list(await store.closed_days.unarchived(ANY_DAY)) == [day]


async def test_going_back_to_nothing_is_refused(empty_database_url: str) -> None:
    async with open_timescale(empty_database_url) as store:
        await store.append(EVENTS)
    kept = await everything(empty_database_url)
    for wrong in ("0000", "base", "9999"):
        with pytest.raises(StoreRejected, match="there is no revision"):
            await migrate(empty_database_url, to=wrong)
    assert await everything(empty_database_url) == kept


async def test_the_database_stays_the_one_that_a_spool_waits_for(empty_database_url: str) -> None:
    async with open_timescale(empty_database_url) as store:
        before = await store.identity()
    await migrate(empty_database_url, to="0002")
    async with open_timescale(empty_database_url) as store:
        assert await store.identity() == before
