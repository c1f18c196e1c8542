"""A day into the archive and out of it, against bare pyarrow writing and reading the same table.

Bare pyarrow gets the table ready in memory, with the schema, compression and row groups of the archive. It
takes no checksum, looks at no order, and brings nothing to the disk.
"""

import gc
import random
import shutil
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import NamedTuple

import asyncpg
import numpy as np
import pyarrow.parquet as pq

from bench.databases import Database, on_each_server
from bench.path import available
from bench.sizes import SIZE
from bench.ticks import captured, repeated
from binance_proxy.adapters.parquet.columns import COLUMNS
from binance_proxy.adapters.parquet.store import ParquetStore, open_parquet
from binance_proxy.adapters.timescale.store import TimescaleStore, open_timescale
from binance_proxy.application.archive import Archiving
from binance_proxy.application.ports import ArchivedDay, HeldDay, MarketStore, StoredTick
from binance_proxy.application.rebuild import book_at
from binance_proxy.domain.order_book import OrderBook
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, Side, TradeTick
from contract.market_store import DAY, ETH, T0

ROWS = 1_000_000
"""How many trades the day has; `--rows 10000000` for a busy one."""
ROUNDS = 3
IN_MEMORY = 1_000_000
"""Of how many the keeping of ticks in memory is timed."""
PORTION = 40_000
MIDNIGHT = T0 - T0 % DAY
UPDATES = 21_600
"""In the day of the book, one each four seconds."""
SNAPSHOT_EVERY = 75
"""Updates: five minutes, as a recording stores them."""
LEVELS = 500
"""On each side of the book."""
MOMENTS = 4


class Took(NamedTuple):
    """What a side took: the time of its first turn, and the best of the others. In seconds."""

    first: float
    best: float
    cpu: float
    """Of this process, all of its threads."""


async def bench(rows: int) -> None:
    """Print the ratios."""
    print(f"archive: a day of {rows:,} trades, and a day of {UPDATES:,} updates of a book")
    print(
        f"  of bare pyarrow with the same table; best of {ROUNDS}, and the first turn; CPU time of ours only"
    )
    await on_each_server(partial(_on_server, rows))


async def _on_server(rows: int, database: Database) -> None:
    async with open_timescale(database.url, limit_s=600) as store:
        sql = await asyncpg.connect(database.url)
        trades = _trades(rows)
        for some in _portions(trades):
            await store.append(some)
        await sql.execute("ANALYZE trades")
        await _archiving(database, store, sql, trades)
        del trades
        await _book(database, store)
        await sql.close()
    if available():
        await _sizes(database)


async def _archiving(
    database: Database, store: TimescaleStore, sql: asyncpg.Connection, trades: Sequence[TradeTick]
) -> None:
    """Compare what writes, and then what reads."""
    rows = len(trades)
    archive = _anew(database.folder / "archive")
    await _whole_way(store, sql, archive, rows)
    (file,) = (database.folder / "archive").rglob("*.parquet")
    table = pq.read_table(file, partitioning=None)
    part = table.slice(0, IN_MEMORY)

    def bare(given: object) -> Callable[[], Awaitable[None]]:
        return partial(_bare, given, database.folder / "bare.parquet")

    writing = await _turns(
        {
            "bare": bare(table),
            "bare part": bare(part),
            "ticks": lambda: _keep(_anew(database.folder / "other"), trades[:IN_MEMORY]),
            "whole": lambda: _whole_way(store, sql, _anew(database.folder / "archive"), rows),
        }
    )
    archive = open_parquet(str(database.folder / "archive"))
    reading = await _turns(
        {
            "bare": partial(_read_bare, file),
            "audit": partial(_audit, archive),
            "scan": partial(_scan, archive, rows),
            "database": partial(_scan, store, rows),
        }
    )
    print("    written and read back, time of that of bare pyarrow")
    _print("a day from the database into the archive", writing["whole"], writing["bare"], " (aim: 1.5)")
    _print("ticks in memory into the archive", writing["ticks"], writing["bare part"])
    print("    read, time of that of bare pyarrow")
    _print("audit of the archive", reading["audit"], reading["bare"], " (aim: 1.5)")
    _print("scan of the archive, an event a row", reading["scan"], reading["bare"])
    _print("scan of the database, an event a row", reading["database"], reading["bare"])


async def _book(database: Database, store: TimescaleStore) -> None:
    """Compare the book at a few moments of a day with the day replayed up to each."""
    quotes, snapshots = _book_day()
    archive = _anew(database.folder / "books")
    for ticks in (quotes, snapshots):
        await _keep(archive, ticks)
        for some in _portions(ticks, 2_000 if ticks is quotes else 50):
            await store.append(some)
    rng = random.Random(5)
    moments = sorted(MIDNIGHT + rng.randrange(DAY // 100, DAY) for _ in range(MOMENTS))
    print(f"    the book at a random moment of a day, {MOMENTS} of them, time of that of a replay up to each")
    for name, kept in (("archive", archive), ("database", store)):
        took = await _turns(
            {"replay": partial(_replay, kept, moments), "book": partial(_book_at, kept, moments)}
        )
        _print(f"from the {name}", took["book"], took["replay"])


async def _sizes(database: Database) -> None:
    """Compare bytes, of what was captured."""
    instrument, trades, quotes = captured()
    sql = await asyncpg.connect(database.url)
    async with open_timescale(database.url) as store:
        await store.registry.register(instrument)
        print("    bytes of what was captured of BTC/USDT, in the archive, and of those of a plain table")
        for one, table, found in (("trade", "trades", trades), ("quote", "quotes", quotes)):
            ticks = repeated(found, 1, MIDNIGHT + DAY // 2)  # within a day
            day = await _keep(_anew(database.folder / "sizes"), ticks)
            await sql.execute(f"TRUNCATE {table}")
            for some in _portions(ticks, 5_000):
                await store.append(some)
            of_table = "SELECT hypertable_size($1::text::regclass)" if database.has_timescale else SIZE
            in_table = float(await sql.fetchval(of_table, table)) / len(ticks)
            in_file = day.size_bytes / len(ticks)
            print(f"      a {one}  {in_file:5.1f} bytes, {in_file / in_table:.2f}")
    await sql.close()


def _print(name: str, took: Took, bare: Took, aim: str = "") -> None:
    print(
        f"      {name:42s} {took.best / bare.best:5.2f}{aim}; CPU {took.cpu / bare.cpu:.2f};"
        f" first turn {took.first / bare.first:.2f}"
    )


async def _turns(sides: Mapping[str, Callable[[], Awaitable[object]]]) -> dict[str, Took]:
    """Let each side take its turns, the first one apart."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    cpus: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(ROUNDS + 1):
        for name, side in sides.items():
            gc.collect()
            began, cpu = time.perf_counter(), time.process_time()
            await side()
            times[name].append(time.perf_counter() - began)
            cpus[name].append(time.process_time() - cpu)
    return {name: Took(times[name][0], min(times[name][1:]), min(cpus[name][1:])) for name in sides}


async def _bare(table: object, path: Path) -> None:
    rows = COLUMNS[TradeTick].rows
    pq.write_table(table, path, compression="zstd", row_group_size=rows, write_statistics=["ts_event"])
    await _read_bare(path)


async def _read_bare(path: Path) -> None:
    file = pq.ParquetFile(path)
    for group in range(file.num_row_groups):
        file.read_row_group(group)


async def _whole_way(
    store: TimescaleStore, sql: asyncpg.Connection, archive: ParquetStore, rows: int
) -> None:
    await sql.execute("TRUNCATE archived_days")
    report = await Archiving(store, store.closed_days, archive, archive).run(MIDNIGHT // DAY + 1)
    assert [day.rows for day in report.archived] == [rows], report


async def _keep(archive: ParquetStore, ticks: Sequence[StoredTick]) -> ArchivedDay:
    one = ticks[0]
    held = HeldDay(kind=type(one), instrument=one.instrument, day=one.ts_event // DAY, rows=len(ticks))

    async def stream() -> AsyncGenerator[StoredTick]:
        for tick in ticks:
            yield tick

    day = await archive.keep(held, stream())
    assert day.rows == len(ticks)
    return day


async def _audit(archive: ParquetStore) -> None:
    async with aclosing(archive.audit()) as days:
        assert [day.fault async for day in days] == [None]


async def _scan(store: MarketStore, rows: int) -> None:
    count = 0
    async with aclosing(store.scan(TradeTick, ETH, 0, 2**63 - 1)) as trades:
        async for _ in trades:
            count += 1
    assert count == rows


async def _replay(store: MarketStore, moments: Sequence[int]) -> None:
    for moment in moments:
        async with aclosing(store.scan(BookSnapshot, ETH, MIDNIGHT, moment)) as snapshots:
            book = OrderBook(await anext(snapshots))
        async with aclosing(store.scan(QuoteTick, ETH, MIDNIGHT, moment + 1)) as quotes:
            async for quote in quotes:
                if quote.last_update_id > book.last_update_id:
                    book.apply(quote)
        assert book.last_update_id == (moment - MIDNIGHT) // (DAY // UPDATES) + 1


async def _book_at(store: MarketStore, moments: Sequence[int]) -> None:
    for moment in moments:
        book = await book_at(store, ETH, moment)
        assert book.last_update_id == (moment - MIDNIGHT) // (DAY // UPDATES) + 1


def _anew(folder: Path) -> ParquetStore:
    shutil.rmtree(folder, ignore_errors=True)
    return open_parquet(str(folder))


def _portions(ticks: Sequence[StoredTick], size: int = PORTION) -> list[Sequence[StoredTick]]:
    return [ticks[first : first + size] for first in range(0, len(ticks), size)]


def _trades(rows: int) -> list[TradeTick]:
    """Make trades in the order of time, evenly over a day: a walk of prices, and sizes of any number."""
    rng = np.random.default_rng(5)
    times = MIDNIGHT + np.arange(rows) * (DAY // rows)
    lags = rng.integers(4_000_000, 9_000_000, rows)
    prices = 300_000 + np.cumsum(rng.integers(-3, 4, rows))
    sizes = 1 + rng.lognormal(6, 2, rows).astype(np.int64)
    buys = rng.integers(0, 2, rows)
    found = zip(times.tolist(), lags.tolist(), prices.tolist(), sizes.tolist(), buys.tolist(), strict=True)
    return [
        TradeTick(
            instrument=ETH,
            ts_event=ts_event - ts_event % 1_000_000,
            ts_recv=ts_event + lag,
            trade_id=number,
            price=price * 1_000_000,
            size=size * 10_000,
            aggressor=Side.BUY if buy else Side.SELL,
        )
        for number, (ts_event, lag, price, size, buy) in enumerate(found, start=1)
    ]


def _book_day() -> tuple[list[QuoteTick], list[BookSnapshot]]:
    """Make a day of updates, of ten levels a side each, and the snapshots of it."""
    rng = random.Random(5)
    bids = tuple((300_000 - at, 50 + at) for at in range(1, LEVELS + 1))
    asks = tuple((300_000 + at, 50 + at) for at in range(1, LEVELS + 1))
    first = BookSnapshot(
        instrument=ETH, ts_event=MIDNIGHT, ts_recv=MIDNIGHT, last_update_id=1, bids=bids, asks=asks
    )
    book, quotes, snapshots = OrderBook(first), [], [first]
    for number in range(1, UPDATES + 1):
        ts_event = MIDNIGHT + (number - 1) * (DAY // UPDATES)
        quote = QuoteTick(
            instrument=ETH,
            ts_event=ts_event,
            ts_recv=ts_event + 5_000_000,
            first_update_id=number,
            last_update_id=number,
            bids=tuple((300_000 - at, rng.randrange(1, 999)) for at in rng.sample(range(1, LEVELS), 10)),
            asks=tuple((300_000 + at, rng.randrange(1, 999)) for at in rng.sample(range(1, LEVELS), 10)),
        )
        quotes.append(quote)
        if quote.last_update_id > book.last_update_id:
            book.apply(quote)
        if number % SNAPSHOT_EVERY == 0:
            snapshots.append(book.snapshot())
    return quotes, snapshots
