"""Kill an archive run at a chosen system call, or let the call fail, and look at database and archive."""

import asyncio
import random
import shutil
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import asyncpg

import traced
from binance_proxy.adapters.parquet.place import is_unfinished
from binance_proxy.adapters.parquet.store import ParquetStore, open_parquet
from binance_proxy.adapters.timescale.retention import Retention
from binance_proxy.adapters.timescale.rollups import locked
from binance_proxy.application.archive import ArchiveReport, Archiving
from binance_proxy.application.long_term import LongTermStore
from binance_proxy.application.ports import MarketStore, StoredEvent, StoreRejected
from binance_proxy.domain.gap import Gap
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, TradeTick
from contract.market_store import gap, quote, scan, snapshot, trade
from integration_kept import Kept, open_kept

PROGRAM = Path(__file__).with_name("archive_days.py")
CALLS = ("write", "fsync", "rename", "unlink", "mkdir", "sendto")
"""What a run does to its folder; and `sendto`, by which it asks and tells the database."""
STARTS = {
    "half": "an archive with half of every day",
    "whole": "an archive with everything, of which the database does not know",
    "new": "an empty archive",
}
KINDS = (TradeTick, QuoteTick, BookSnapshot)
TABLES = ("trades", "quotes", "book_snapshots")
DAY_NS = 86_400 * 10**9
OLD = 9
"""How many days ago the first of the two days was."""
KEEP = 5
"""Days that retention keeps: less than that."""
DEADLINE_S = 60


class Days(NamedTuple):
    """Two days of ticks, and the day that is not over."""

    today: int
    events: list[StoredEvent]

    def of(self, kind: type) -> list[StoredEvent]:
        """Return the events of a kind, in their order."""
        return [one for one in self.events if type(one) is kind]


def days(today: int) -> Days:
    """Make two days of ticks, of sizes that do not shrink when they are packed, with a hole in the second."""
    rng = random.Random(today)
    events: list[StoredEvent] = []
    number = 0
    for day in (today - OLD, today - OLD + 1):
        for at in range(240):
            number += 1
            ts = day * DAY_NS + at * (DAY_NS // 240) // 1_000_000 * 1_000_000
            price, size = rng.randrange(10**12), rng.randrange(1, 10**14)
            events.append(trade(number, ts_event=ts, ts_recv=ts + size, price=price, size=size))
            levels = tuple((rng.randrange(10**12), rng.randrange(10**14)) for _ in range(4))
            events.append(quote(number, ts_event=ts, ts_recv=ts + price, bids=levels[:2], asks=levels[2:]))
            if at % 2:
                events.append(snapshot(number, ts_event=ts, bids=levels[:2], asks=levels[2:]))
    events += [gap(5, ts_event=(today - OLD) * DAY_NS), gap(400, ts_event=(today - OLD + 1) * DAY_NS)]
    return Days(today, events)


class Prepared(NamedTuple):
    """A database to copy, with two days in it, and the archive that goes with it."""

    admin: str
    name: str
    archive: Path
    days: Days


async def prepared(admin: str, template: str, place: Path, start: str) -> Prepared:
    """Fill a database, and make an archive as a run finds it, which is one of `STARTS`.

    An earlier day was archived and dropped: from then on nothing is dropped by its age alone.
    """
    name = f"to_archive_{start}"
    sql = await asyncpg.connect(admin)
    try:
        await sql.execute(f"DROP DATABASE IF EXISTS {name}")
        await sql.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        today = await sql.fetchval("SELECT extract(epoch FROM now())::bigint / 86400")
    finally:
        await sql.close()
    made, archive = days(today), place / name
    archive.mkdir()
    async with open_kept(f"{admin.rpartition('/')[0]}/{name}") as kept:
        first = {"new": [], "half": [one for one in made.events[:-2] if _is_early(one)], "whole": made.events}
        if first[start]:
            await kept.store.append([*made.of(Gap), *first[start]])
            await archived(kept, open_parquet(str(archive)), today)
        if start == "whole":
            await kept.sql.execute("DELETE FROM archived_days")
        await kept.store.append(made.events)
        await kept.refresh()
        await kept.sql.execute(
            "INSERT INTO archived_days SELECT 'trades', instrument_id, current_date - 100, 0, 'sum'"
            " FROM instruments"
        )
    return Prepared(admin, name, archive, made)


def _is_early(tick: StoredEvent) -> bool:
    """Pick about every other one."""
    return tick.ts_event // 1_000_000_000 % 720 < 360 or isinstance(tick, BookSnapshot)


@asynccontextmanager
async def copied(made: Prepared, folder: Path) -> AsyncGenerator[str]:
    """Copy the archive to a folder, and the database to one of its own; give its address."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(made.archive, folder)
    name = f"{made.name}_copy"
    sql = await asyncpg.connect(made.admin)
    try:
        await sql.execute(f"CREATE DATABASE {name} TEMPLATE {made.name}")
        yield f"{made.admin.rpartition('/')[0]}/{name}"
    finally:
        await sql.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await sql.close()


class Ran(NamedTuple):
    """How a run ended."""

    status: int
    said: str


async def run(url: str, folder: Path, today: int, *inject: str, log: Path | None = None) -> Ran:
    """Archive in a process of its own, under strace."""
    arguments = [url, str(folder), str(today)]
    done = await asyncio.to_thread(traced.run, PROGRAM, arguments, CALLS, *inject, log=log)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return Ran(done.returncode, done.stdout.decode())


async def archived(kept: Kept, archive: ParquetStore, today: int) -> ArchiveReport:
    """Archive what is left, as soon as the server has noticed that the run before is gone."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return await Archiving(kept.store, kept.store.closed_days, archive, archive).run(today)
            except StoreRejected as error:
                if "Another archive run" not in str(error):
                    raise
                await asyncio.sleep(0.02)


async def dropped(kept: Kept) -> int:
    """Let retention drop what it may; return how many days of ticks that were."""
    retention = Retention(kept.rollups, hypertables=kept.hypertables)
    async with locked(kept.session) as connection:
        assert connection is not None
        return sum([len(await retention.drop(connection, table, KEEP)) for table in TABLES])


async def faults(archive: ParquetStore) -> list[str]:
    """Return what an audit finds wrong."""
    async with aclosing(archive.audit()) as audited:
        return [f"{one.path}: {one.fault}" async for one in audited if one.fault]


def unfinished(folder: Path) -> list[Path]:
    """Return the files that were begun and not ended."""
    return [one for one in folder.rglob("*") if is_unfinished(one.as_posix())]


async def has(store: MarketStore, made: Days, kinds: Sequence[type] = (*KINDS, Gap)) -> bool:
    """Return whether a store gives every event, once and in order."""
    return all([await scan(store, kind) == made.of(kind) for kind in kinds])


async def check(url: str, folder: Path, made: Days, *, drop: bool) -> int:
    """Look at what a run has left, with retention at once if ``drop``, then archive again and look again.

    Return how many days of ticks retention dropped before the second run.
    """
    archive = open_parquet(str(folder))
    gone = 0
    async with open_kept(url) as kept:
        both = LongTermStore(kept.store, archive, archive)
        assert await has(both, made), "right after the first run"
        assert await faults(archive) == []
        if drop:
            gone = await dropped(kept)
            assert await has(both, made), "after a drop"
        report = await archived(kept, archive, made.today)
        assert (report.refused, report.gaps_refused) == ([], {})
        assert await has(archive, made), "in the archive after the second run"
        assert await faults(archive) == []
        assert unfinished(folder) == []
        assert list(await kept.store.closed_days.unarchived(made.today)) == []
        assert gone + await dropped(kept) == len(KINDS) * 2
        assert await kept.sql.fetchval(f"SELECT count(*) FROM {TABLES[0]}") == 0
        assert await has(both, made), "after everything was dropped"
    return gone
