"""What a trade and a quote take up on the disk: in plain tables, and packed into the columnstore."""

import asyncpg

from bench.databases import Database, on_each_server
from bench.path import available
from bench.ticks import captured, repeated
from binance_proxy.adapters.timescale.store import TimescaleStore, open_timescale
from contract.market_store import DAY, T0

COPIES = 10
PORTION = 5_000
SIZE = """
SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = $1::text::regclass
"""
CHUNKS = "SELECT compress_chunk(chunk) FROM show_chunks($1::text::regclass) AS chunk"


async def bench() -> None:
    """Print the sizes."""
    if not available():
        print("sizes: skipped, the recorded captures are not beside the checkout")
        return
    print(
        "sizes: bytes on the disk, keys and all, of what was captured of BTC/USDT, copies one behind another"
    )
    await on_each_server(_on_server)


async def _on_server(database: Database) -> None:
    instrument, trades, quotes = captured()
    async with open_timescale(database.url) as store:
        await store.registry.register(instrument)
        sql = await asyncpg.connect(database.url)
        for one, table, ticks in (("a trade", "trades", trades), ("a quote", "quotes", quotes)):
            print(f"    {one}  {await _bytes(store, sql, table, ticks, database)}")
        await sql.close()


async def _bytes(
    store: TimescaleStore, sql: asyncpg.Connection, table: str, ticks: list, database: Database
) -> str:
    many = repeated(ticks, COPIES, T0 - T0 % DAY - DAY // 4)  # within a day
    for first in range(0, len(many), PORTION):
        assert await store.append(many[first : first + PORTION])
    levels = sum(len(one.bids) + len(one.asks) for one in many) / len(many) if table == "quotes" else 0
    of = f", with {levels:.0f} levels on average" if levels else ""
    if not database.has_timescale:
        return f"{await sql.fetchval(SIZE, table) / len(many):5.0f} bytes plain{of}"
    plain = await sql.fetchval("SELECT hypertable_size($1::text::regclass)", table)
    await sql.execute(CHUNKS.replace("$1", f"'{table}'"))
    packed = await sql.fetchval("SELECT hypertable_size($1::text::regclass)", table)
    assert await sql.fetchval(f"SELECT count(*) FROM {table}") == len(many)
    return (
        f"{plain / len(many):5.0f} bytes plain, {packed / len(many):5.1f} in the columnstore:"
        f" {packed / plain:.2f} of it{of}"
    )
