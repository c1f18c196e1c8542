"""Rows into PostgreSQL: the store's `append` against a bare COPY of the same rows into the same table."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
from msgspec.structs import replace

from bench.path import available, captured_frames
from bench.turns import best_of
from binance_proxy.adapters.binance.frames import BinanceFrames
from binance_proxy.adapters.embedded.postgres import open_postgres
from binance_proxy.adapters.timescale.store import TimescaleStore, open_timescale
from binance_proxy.application.buffer import StoreBuffer
from binance_proxy.application.keeping import RecordSettings
from binance_proxy.domain.instrument import Instrument, Market
from binance_proxy.domain.tick import QuoteTick, Side, TradeTick

COPIES = 10
"""How often the captured ticks are taken, with other ids each time, so that a turn takes long enough."""
BATCH = RecordSettings().batch
WRITERS = RecordSettings().writers
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

COLUMNS = {
    TradeTick: ["instrument_id", "ts_event", "ts_recv", "trade_id", "price", "size", "aggressor", "off_book"],
    QuoteTick: [
        "instrument_id",
        "ts_event",
        "ts_recv",
        "first_update_id",
        "last_update_id",
        "bid_prices",
        "bid_sizes",
        "ask_prices",
        "ask_sizes",
    ],
}


async def bench(rounds: int) -> None:
    """Print both ratios."""
    if not available():
        print("rows: skipped, the recorded captures are not beside the checkout")
        return
    with TemporaryDirectory() as folder:
        async with (
            open_postgres(Path(folder) / "postgres", owner="just bench") as server,
            open_timescale(server.url) as store,
        ):
            instrument, trades, quotes = _ticks()
            instrument = await store.registry.register(instrument)
            bare = await asyncpg.connect(server.url)
            number = await bare.fetchval("SELECT instrument_id FROM instruments")
            await store.append([trades[0], quotes[0], trades[-1], quotes[-1]])  # makes the partitions
            print("rows: `append`, from ticks and nothing in twice, and a bare COPY of ready rows")
            for table, ticks in (("trades", trades), ("quotes", quotes)):
                rows = [_row(tick, number) for tick in ticks]
                columns = COLUMNS[type(ticks[0])]
                sides: dict[str, Callable] = {
                    "bare": partial(_bare, bare, table, columns, rows),
                    "append": partial(_append, store, bare, table, ticks),
                }
                best = await best_of(rounds, sides)
                print(
                    f"  {table:7} {len(ticks):,} rows: append reaches"
                    f" {best['bare'] / best['append']:.2f} of the rows/s of the bare COPY (aim: 0.7)"
                )
            await bare.close()


def _ticks() -> tuple[Instrument, list[TradeTick], list[QuoteTick]]:
    frames = captured_frames()
    decoder = BinanceFrames(Market.SPOT)
    instrument = decoder.describe(frames[0][1])
    assert instrument
    decode = decoder.with_instruments([instrument]).decode
    ticks = [decode(raw, ts_recv, instrument) for ts_recv, raw in frames]
    trades, quotes = [], []
    for copy in range(COPIES):
        shift = copy * 10**8
        trades += [replace(one, trade_id=one.trade_id + shift) for one in ticks if isinstance(one, TradeTick)]
        quotes += [
            replace(one, last_update_id=one.last_update_id + shift)
            for one in ticks
            if isinstance(one, QuoteTick)
        ]
    return instrument, trades, quotes


def _row(tick: TradeTick | QuoteTick, number: int) -> tuple[object, ...]:
    ts_event = EPOCH + timedelta(microseconds=tick.ts_event // 1000)
    if isinstance(tick, TradeTick):
        aggressor = 1 if tick.aggressor is Side.BUY else -1
        return number, ts_event, tick.ts_recv, tick.trade_id, tick.price, tick.size, aggressor, tick.off_book
    bids, asks = (
        list(zip(*tick.bids, strict=True)) or [(), ()],
        list(zip(*tick.asks, strict=True)) or [(), ()],
    )
    ids = tick.first_update_id, tick.last_update_id
    return number, ts_event, tick.ts_recv, *ids, *bids, *asks


async def _bare(bare: asyncpg.Connection, table: str, columns: Sequence[str], rows: Sequence[tuple]) -> float:
    await bare.execute(f"TRUNCATE {table}")
    await bare.execute("CHECKPOINT")
    began = time.perf_counter()
    await bare.copy_records_to_table(table, records=rows, columns=columns)
    return time.perf_counter() - began


async def _append(store: TimescaleStore, bare: asyncpg.Connection, table: str, ticks: Sequence) -> float:
    await bare.execute(f"TRUNCATE {table}")
    await bare.execute("CHECKPOINT")
    buffer = StoreBuffer(limit=2**60, batch=BATCH)
    for tick in ticks:
        buffer.put(tick)
    buffer.close()

    async def write() -> None:
        while batch := await buffer.take(age_s=0):
            await store.append(batch)

    began = time.perf_counter()
    await asyncio.gather(*(write() for _ in range(WRITERS)))
    return time.perf_counter() - began
