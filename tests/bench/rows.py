"""Ticks into PostgreSQL: the whole write path of `bridge run` against a bare COPY of the same rows."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import asyncpg
from msgspec.structs import replace

from bench.databases import Database, on_each_server
from bench.path import available
from bench.ticks import COLUMNS, captured, just_now, repeated, row
from bench.turns import best_of
from binance_proxy.application.keeping import Keeping, RecordSettings
from binance_proxy.application.record import TURN
from binance_proxy.application.report import Report
from binance_proxy.bridge.config import Config, StoreConfig, TimescaleConfig
from binance_proxy.bridge.container import Container, Kept
from binance_proxy.domain.tick import QuoteTick, TradeTick

COPIES = {"trades": 30, "quotes": 10}
"""How often the captured ticks are taken, so that a turn takes long enough."""
SETTINGS = RecordSettings()
FIRST_ID = {"trades": "trade_id", "quotes": "last_update_id"}


async def bench(rounds: int) -> None:
    """Print the ratios."""
    if not available():
        print("rows: skipped, the recorded captures are not beside the checkout")
        return
    print(
        "rows: from ticks in memory, through buffer, batches, writers and spool, into the tables; rows/s of"
    )
    print("  those of a bare asyncpg COPY of ready rows into a table of the same columns without any key")
    await on_each_server(partial(_on_server, rounds))


async def _on_server(rounds: int, database: Database) -> None:
    async with open_kept(database, "first") as kept, open_kept(database, "again") as again:
        instrument, trades, quotes = captured()
        await kept.registry.register(instrument)
        bare = await asyncpg.connect(database.url)
        for table, ticks in (("trades", trades), ("quotes", quotes)):
            turns = Turns(kept, again, bare, table, ticks)
            await turns.prepare()
            best = await best_of(rounds, turns.sides)
            reached = {name: best["bare"] / took for name, took in best.items()}
            print(f"    {len(ticks) * COPIES[table]:,} {table}")
            print(f"      the whole path, everything new         {reached['path']:.2f} (aim: 0.6)")
            print(f"      the whole path, everything there already {reached['again']:.2f}")
            print(f"      a bare COPY into a table with the key  {reached['with key']:.2f}")
        await bare.close()


@asynccontextmanager
async def open_kept(database: Database, name: str) -> AsyncIterator[Kept]:
    """Open a database as `bridge run` does, with a spool of its own."""
    config = Config(
        data_dir=str(database.folder / name), store=StoreConfig(timescale=TimescaleConfig(url=database.url))
    )
    async with Container(config=config, owner="just bench", attach=False).store() as kept:
        yield kept


async def keep(
    kept: Kept, ticks: Sequence[TradeTick | QuoteTick], settings: RecordSettings = SETTINGS
) -> int:
    """Have ticks kept as a recording does; return how many were new."""
    report = Report()
    keeping = Keeping(
        store=kept.store,
        spool=kept.spool,
        settings=settings,
        report=report,
        now=time.time_ns,
        on_change=lambda: None,
        on_dropped=lambda *_: None,
    )
    buffer = keeping.buffer
    writers = [asyncio.create_task(keeping.write()) for _ in range(settings.writers)]
    for number, tick in enumerate(ticks):
        buffer.put(tick)
        if buffer.is_full:
            await buffer.room()
        elif number % TURN == 0:
            await asyncio.sleep(0)
    buffer.close()
    await keeping.flushed(writers)
    for one in writers:
        one.result()
    keeping.conclude()
    assert report.stored == len(ticks)
    assert not report.spooled, "the server took longer than spool.patience_s for a batch"
    return report.new


class Turns:
    """What takes turns on a table."""

    def __init__(
        self, kept: Kept, again: Kept, bare: asyncpg.Connection, table: str, ticks: Sequence
    ) -> None:
        self._kept, self._again = kept, again
        self._bare, self._table = bare, table
        self._captured = ticks
        self._columns = COLUMNS[type(ticks[0])]
        self._ticks: list = []
        self._rows: list[tuple[object, ...]] = []
        self.sides: dict[str, Callable] = {
            "bare": partial(self._copy, f"bare_{table}"),
            "with key": partial(self._copy, f"keyed_{table}"),
            "path": self._path,
            "again": self._path_again,
        }

    async def prepare(self) -> None:
        """Make the bare tables, and their rows."""
        key = f"instrument_id, ts_event, {FIRST_ID[self._table]}"
        await self._bare.execute(f"CREATE TABLE bare_{self._table} (LIKE {self._table})")
        await self._bare.execute(
            f"CREATE TABLE keyed_{self._table} (LIKE {self._table}, PRIMARY KEY ({key}))"
        )
        number = await self._bare.fetchval("SELECT instrument_id FROM instruments")
        self._rows = [row(tick, number) for tick in repeated(self._captured, COPIES[self._table], just_now())]

    async def _copy(self, table: str) -> float:
        await self._bare.execute(f"TRUNCATE {table}")
        await self._bare.execute("CHECKPOINT")
        began = time.perf_counter()
        await self._bare.copy_records_to_table(table, records=self._rows, columns=self._columns)
        return time.perf_counter() - began

    async def _path(self) -> float:
        """Keep new ticks, the newest of them of this moment, as a live feed's."""
        self._ticks = repeated(self._captured, COPIES[self._table], just_now())
        await self._bare.execute(f"TRUNCATE {self._table}")
        ends = [self._ticks[0], self._ticks[-1]]
        known = [replace(one, **{FIRST_ID[self._table]: number}) for number, one in enumerate(ends)]
        await self._kept.store.append(known)  # makes the partitions
        await self._bare.execute("CHECKPOINT")
        began = time.perf_counter()
        assert await keep(self._kept, self._ticks) == len(self._ticks)
        return time.perf_counter() - began

    async def _path_again(self) -> float:
        """Keep what the turn before has kept, as another bridge would."""
        await self._bare.execute("CHECKPOINT")
        began = time.perf_counter()
        assert await keep(self._again, self._ticks) == 0
        return time.perf_counter() - began
