"""How the whole write path falls as the tables fill: the last million trades against the first."""

import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from statistics import median
from typing import NamedTuple

import asyncpg
from msgspec.structs import replace

from bench.databases import Database, on_each_server
from bench.rows import keep
from bench.ticks import COLUMNS, row
from binance_proxy.adapters.spool.settings import SpoolSettings
from binance_proxy.adapters.spool.store import SpooledStore, open_spool
from binance_proxy.adapters.timescale.store import open_timescale
from binance_proxy.bridge.container import Kept
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import Side, TradeTick
from contract.market_store import DAY, ETH, T0

ROWS = 5_000_000
"""How many trades go in; `--rows 50000000` takes some five minutes a server."""
MILLION = 1_000_000
STRETCH = 200_000
"""What is timed at once, beside a bare COPY of the same rows."""
A_DAY = 5_000_000
"""How many trades a day has: a million of each pair, as the busiest have."""
SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT", "DOGE/USDT")


class Stretch(NamedTuple):
    """How many seconds some trades took."""

    path: float
    bare: float


async def bench(rows: int) -> None:
    """Print the ratios."""
    if rows < 2 * MILLION or rows % STRETCH:
        raise SystemExit(f"filling: --rows has to be a multiple of {STRETCH:,} from {2 * MILLION:,} on")
    days = -(-rows // A_DAY)
    print(
        f"filling: an empty table, and {rows:,} trades of {len(SYMBOLS)} pairs over"
        f" {f'{days} days' if days > 1 else 'a day'}, by the whole write path"
    )
    print(f"  rows/s of the last million, of those of the first; medians of {MILLION // STRETCH} stretches")
    await on_each_server(partial(_on_server, rows))


async def _on_server(rows: int, database: Database) -> None:
    async with AsyncExitStack() as stack:
        # Without upkeep: what is summed up beside it in the background depends on the day, not on the table.
        store = await stack.enter_async_context(open_timescale(database.url))
        settings = SpoolSettings()
        file = await stack.enter_async_context(open_spool(database.folder / "spool", settings, "just bench"))
        spooled = SpooledStore(store, file, settings)
        await stack.enter_async_context(spooled.running())
        kept = Kept(spooled, store.registry, store.registry, "", spooled)
        instruments = [await store.registry.register(replace(ETH, symbol=symbol)) for symbol in SYMBOLS]
        sql = await asyncpg.connect(database.url)
        stack.push_async_callback(sql.close)
        await sql.execute("CREATE TABLE bare (LIKE trades)")
        trades = _trades(instruments, rows)
        first, last = [], []
        for done in range(0, rows, STRETCH):
            some = [next(trades) for _ in range(STRETCH)]
            if done < MILLION:
                first.append(await _timed(kept, sql, some))
            elif done >= rows - MILLION:
                last.append(await _timed(kept, sql, some))
            else:
                await keep(kept, some)
        stored = await sql.fetchval("SELECT count(*) FROM trades")
        assert stored == rows, stored
        _print(first, last, database)


def _print(first: list[Stretch], last: list[Stretch], database: Database) -> None:
    falls = median(one.path for one in first) / median(one.path for one in last)
    beside = median(one.bare / one.path for one in last) / median(one.bare / one.path for one in first)
    machine = median(one.bare for one in first) / median(one.bare for one in last)
    aim = " (aim: 0.9)" if database.has_timescale else ""
    print(f"    the whole path                                    {falls:.2f}{aim}")
    print(f"    the same, of a bare COPY right beside each        {beside:.2f}")
    print(f"    that bare COPY into a table that is empty again   {machine:.2f} (the machine: 1 if steady)")


async def _timed(kept: Kept, sql: asyncpg.Connection, trades: list[TradeTick]) -> Stretch:
    numbers = {one["symbol"]: one["instrument_id"] for one in await sql.fetch("SELECT * FROM instruments")}
    rows = [row(one, numbers[one.instrument.symbol]) for one in trades]
    await sql.execute("TRUNCATE bare")
    began = time.perf_counter()
    await sql.copy_records_to_table("bare", records=rows, columns=COLUMNS[TradeTick])
    bare = time.perf_counter() - began
    began = time.perf_counter()
    assert await keep(kept, trades) == len(trades)
    return Stretch(time.perf_counter() - began, bare)


def _trades(instruments: list[Instrument], rows: int) -> Iterator[TradeTick]:
    """Make trades in the order of time, evenly over as many days as there are, from midnight on."""
    midnight = T0 - T0 % DAY
    apart = DAY // A_DAY
    for number in range(rows):
        ts_event = midnight + number * apart
        yield TradeTick(
            instrument=instruments[number % len(instruments)],
            ts_event=ts_event - ts_event % 1_000_000,
            ts_recv=ts_event + 5_000_000,
            trade_id=number // len(instruments) + 1,
            price=300_000_000_000 + number % 9_973 * 1_000_000,
            size=10_000 * (1 + number % 977),
            aggressor=Side.BUY if number % 3 else Side.SELL,
        )
