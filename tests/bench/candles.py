"""A month of candles out of the store, against the same SQL by the driver, whose rows are merely fetched."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

import asyncpg

from bench.databases import Database, on_each_server
from bench.ticks import EPOCH
from bench.turns import best_of
from binance_proxy.adapters.timescale.candles import candles_query
from binance_proxy.adapters.timescale.partitions import Partitions, has_hypertables
from binance_proxy.adapters.timescale.rollups import ContinuousAggregates, RolledTables, refresh
from binance_proxy.adapters.timescale.schema import migrate
from binance_proxy.adapters.timescale.session import open_session
from binance_proxy.adapters.timescale.store import TimescaleStore
from binance_proxy.domain.candle import Timeframe
from binance_proxy.domain.tick import Side, TradeTick
from contract.market_store import DAY, ETH

DAYS = 30
CANDLES = DAYS * 24 * 60
MINUTE_NS = DAY // (24 * 60)
TRADES_A_CANDLE = 3
START = 1_719_792_000_000_000_000  # 2024-07-01 00:00 UTC
END = START + DAYS * DAY
PORTION = 40_000
VIEW = "SELECT * FROM candles_1m WHERE symbol = 'ETH/USDT' AND start >= $1 AND start < $2 ORDER BY start"


async def bench(rounds: int) -> None:
    """Print the ratios."""
    print(
        f"candles: a month of 1m, {CANDLES:,} of them, summed up before; the time of the same SQL by asyncpg"
    )
    await on_each_server(partial(_on_server, rounds))


@asynccontextmanager
async def open_filled(url: str) -> AsyncIterator[tuple[TimescaleStore, asyncpg.Connection]]:
    """Fill an empty database with a month of trades, summed up; give its store, and a bare connection."""
    await migrate(url)
    sql = await asyncpg.connect(url, server_settings={"timezone": "UTC", "jit": "off"})
    hypertables = await has_hypertables(sql)
    async with open_session(url, connections=4, connect_s=10, limit_s=600) as session:
        store = TimescaleStore(session, None if hypertables else Partitions(session))
        trades = _trades()
        for first in range(0, len(trades), PORTION):
            await store.append(trades[first : first + PORTION])
        await refresh(session, ContinuousAggregates() if hypertables else RolledTables())
        await sql.execute("ANALYZE")
        yield store, sql
    await sql.close()


async def _on_server(rounds: int, database: Database) -> None:
    async with open_filled(database.url) as (store, sql):
        sides: dict[str, Callable] = {
            "bare": partial(_bare, sql),
            "store": partial(_store, store),
            "view": partial(_view, sql),
        }
        best = await best_of(rounds, sides)
    print(f"    `candles` of the store        {best['store'] / best['bare']:.2f} (aim: 1.2)")
    print(f"    the view candles_1m, fetched  {best['view'] / best['bare']:.2f}")


def _trades() -> list[TradeTick]:
    return [
        TradeTick(
            instrument=ETH,
            ts_event=START + number * (MINUTE_NS // TRADES_A_CANDLE),
            ts_recv=START + number * (MINUTE_NS // TRADES_A_CANDLE) + 5_000_000,
            trade_id=number + 1,
            price=300_000_000_000 + number % 1_000 * 1_000_000,
            size=10_000 * (1 + number % 977),
            aggressor=Side.BUY if number % 2 else Side.SELL,
        )
        for number in range(CANDLES * TRADES_A_CANDLE)
    ]


async def _bare(sql: asyncpg.Connection) -> float:
    number = await sql.fetchval("SELECT instrument_id FROM instruments WHERE symbol = 'ETH/USDT'")
    times = (EPOCH + timedelta(microseconds=ts // 1000) for ts in (START, END))
    clock = asyncio.get_running_loop().time
    query, began = candles_query(Timeframe("1m")), clock()
    assert len(await sql.fetch(query, number, *times)) == CANDLES
    return clock() - began


async def _store(store: TimescaleStore) -> float:
    clock = asyncio.get_running_loop().time
    began = clock()
    assert len(await store.candles(ETH, Timeframe("1m"), START, END)) == CANDLES
    return clock() - began


async def _view(sql: asyncpg.Connection) -> float:
    times = (EPOCH + timedelta(microseconds=ts // 1000) for ts in (START, END))
    clock = asyncio.get_running_loop().time
    began = clock()
    assert len(await sql.fetch(VIEW, *times)) == CANDLES
    return clock() - began
