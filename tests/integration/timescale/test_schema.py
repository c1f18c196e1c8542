"""The schema: how a database gets it, when it is refused, and what it does by itself."""

import asyncio

import asyncpg
import pytest

from binance_proxy.adapters.timescale.schema import migrate, revision
from binance_proxy.adapters.timescale.store import open_timescale
from binance_proxy.application.ports import StoreRejected, TrackedPair
from binance_proxy.domain.instrument import Market, Stream
from binance_proxy.domain.tick import TradeTick
from contract.market_store import ETH, trade
from servers import both

pytestmark = both

NEWEST = "0005"
VIEWS = [f"candles_{name}" for name in ("1m", "5m", "15m", "1h", "4h", "1d")]
CANDLE_COLUMNS = "venue market symbol start open high low close volume quote_volume vwap trades complete"
TRADE_COLUMNS = "venue market symbol trade_id ts_event ts_recv price size aggressor"


@pytest.fixture
async def sql(database_url: str):
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def sql_of_empty(empty_database_url: str):
    connection = await asyncpg.connect(empty_database_url)
    yield connection
    await connection.close()


async def test_an_empty_database_gets_everything(empty_database_url: str) -> None:
    assert await revision(empty_database_url) is None
    async with open_timescale(empty_database_url) as store:
        assert await store.append([trade(1)]) == 1
    assert await revision(empty_database_url) == NEWEST


async def test_a_store_says_which_timescaledb_it_is_in(
    empty_database_url: str, server: str, sql_of_empty: asyncpg.Connection
) -> None:
    async with open_timescale(empty_database_url) as store:
        installed = await sql_of_empty.fetchval(
            "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"
        )
        assert store.timescaledb == installed
        assert (installed is not None) is (server == "timescale")


async def test_a_second_migration_changes_nothing(database_url: str) -> None:
    async with open_timescale(database_url) as store:
        await store.append([trade(1)])
    await migrate(database_url)
    assert await revision(database_url) == NEWEST
    async with open_timescale(database_url) as store:
        assert [one async for one in store.scan(TradeTick, ETH, 0, 2**63 - 1)] == [trade(1)]


async def test_several_bridges_may_start_at_once(empty_database_url: str) -> None:
    await asyncio.gather(*(migrate(empty_database_url) for _ in range(5)))
    assert await revision(empty_database_url) == NEWEST


async def test_a_newer_schema_is_refused(database_url: str, sql: asyncpg.Connection) -> None:
    await sql.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreRejected) as refusal:
        async with open_timescale(database_url):
            pass
    assert str(refusal.value) == (
        "The database's schema is at revision 9999 and this bridge knows none later than 0005:"
        " run a newer bridge, or use another database."
    )
    assert await revision(database_url) == "9999"


@pytest.mark.parametrize("view", VIEWS)
async def test_a_candle_view_has_the_columns_of_the_design(sql: asyncpg.Connection, view: str) -> None:
    assert await _columns(sql, view) == CANDLE_COLUMNS


async def test_trades_decimal_has_the_columns_of_the_design(sql: asyncpg.Connection) -> None:
    assert await _columns(sql, "trades_decimal") == TRADE_COLUMNS


async def _columns(sql: asyncpg.Connection, relation: str) -> str:
    names = "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 ORDER BY attnum"
    return " ".join(row["attname"] for row in await sql.fetch(names, relation))


async def test_every_column_of_the_tables_says_what_it_is(sql: asyncpg.Connection) -> None:
    silent = await sql.fetch("""
        SELECT attrelid::regclass::text, attname FROM pg_attribute
        WHERE attrelid IN ('instruments'::regclass, 'trades'::regclass, 'quotes'::regclass,
                'book_snapshots'::regclass, 'gaps'::regclass, 'archived_days'::regclass)
            AND attnum > 0 AND col_description(attrelid, attnum) IS NULL
    """)
    assert silent == []


async def test_a_symbol_is_enough_to_track_a_pair(database_url: str, sql: asyncpg.Connection) -> None:
    await sql.execute("INSERT INTO tracked_pairs (symbol) VALUES ('BTC/USDT')")
    await sql.execute("INSERT INTO tracked_pairs VALUES ('BTC/USDT', 'usdm', false)")
    await sql.execute("DELETE FROM tracked_pair_streams WHERE symbol = 'ETH/USDT' AND stream = 'orderbook'")
    async with open_timescale(database_url) as store:
        assert await store.registry.pairs() == [
            TrackedPair(symbol="BTC/USDT", streams=(Stream.TRADES, Stream.ORDERBOOK)),
            TrackedPair(symbol="BTC/USDT", market=Market.USDM, enabled=False),
            TrackedPair(symbol="ETH/USDT", streams=(Stream.TRADES,)),
            TrackedPair(symbol="SOL/USDT"),
        ]


@pytest.mark.parametrize("columns", ["('btc/usdt', 'spot')", "('BTCUSDT', 'spot')", "('BTC/USDT', 'moon')"])
async def test_a_pair_that_cannot_be_is_refused(sql: asyncpg.Connection, columns: str) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await sql.execute(f"INSERT INTO tracked_pairs (symbol, market) VALUES {columns}")


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO tracked_pairs (symbol) VALUES ('BTC/USDT')",
        "UPDATE tracked_pairs SET enabled = false WHERE symbol = 'ETH/USDT'",
        "DELETE FROM tracked_pairs WHERE symbol = 'ETH/USDT'",
        "TRUNCATE tracked_pairs CASCADE",
        "DELETE FROM tracked_pair_streams WHERE stream = 'orderbook'",
    ],
)
async def test_a_change_of_tracked_pairs_is_notified(
    database_url: str, sql: asyncpg.Connection, change: str
) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    listener = await asyncpg.connect(database_url)
    await listener.add_listener("tracked_pairs", lambda *said: heard.put_nowait(said[2]))
    await sql.execute(change)
    async with asyncio.timeout(60):
        assert await heard.get() == "tracked_pairs"
    await listener.close()
