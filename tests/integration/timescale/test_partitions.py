"""Partitions of a PostgreSQL without TimescaleDB: a UTC day each."""

import asyncpg
import pytest

from binance_proxy.adapters.timescale.store import open_timescale
from contract.market_store import trade


@pytest.fixture
async def sql(database_url: str):
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def test_partitions_are_days_in_utc(database_url: str, sql: asyncpg.Connection) -> None:
    async with open_timescale(database_url) as store:
        await store.append([trade(1, 999), trade(2, 1_000)])  # a millisecond before midnight, and midnight
    found = await sql.fetch("SELECT tableoid::regclass::text AS name FROM trades ORDER BY trade_id")
    assert [row["name"] for row in found] == ["trades_p20240807", "trades_p20240808"]


async def test_a_filter_on_time_spares_partitions(database_url: str, sql: asyncpg.Connection) -> None:
    async with open_timescale(database_url) as store:
        await store.append([trade(number, number * 86_400_000) for number in range(10)])
    await sql.execute("ANALYZE trades")
    plan = await sql.fetch("""
        EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off)
        SELECT open, high FROM candles_1m
        WHERE symbol = 'ETH/USDT' AND start >= '2024-08-11T23:59Z' AND start < '2024-08-12T00:00Z'
    """)
    text = "\n".join(row[0] for row in plan)
    summed = text[text.index("Aggregate") :]
    assert "trades_p20240811" in summed
    executed = [line for line in summed.splitlines() if "trades_p" in line and "never executed" not in line]
    assert all("trades_p20240811" in line for line in executed), text
    assert executed
