"""Candles that are summed up ahead of time: how they get there, and how they are put right.

The views are right at every moment whatever happens here (see revision 0004); this makes them fast.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import asyncpg
from msgspec import Struct

from binance_proxy.adapters.timescale.candles import LEVELS
from binance_proxy.adapters.timescale.partitions import DAY_US
from binance_proxy.adapters.timescale.session import Session

US = 1_000_000
LENGTHS_US = {name: length_s * US for name, length_s in reversed(LEVELS.items())}
"""Each level and how long its periods are, the shortest first, as each is summed up from the one before."""
ROLLUP_LOCK = 0x726F_6C6C_7570
"""Key of the advisory lock under which one process at a time sums up, or drops what was."""
MARKS = 10_000
"""How many stale ranges are looked at in one go."""

STALE = """
SELECT stale_id, instrument_id, start, "end" FROM stale_candles
WHERE "end" <= date_bin('1 minute', summed_up_before(), timestamptz 'epoch')
ORDER BY start DESC LIMIT $1
"""
"""The newest first: on TimescaleDB what lies behind the newest sum is read each time a level is refreshed."""
FIRST_TRADE = """
SELECT min(first), summed_up_before() FROM instruments i CROSS JOIN LATERAL (
    SELECT t.ts_event AS first FROM trades t
    WHERE t.instrument_id = i.instrument_id ORDER BY t.ts_event LIMIT 1
) of_instrument
"""
DONE = "DELETE FROM stale_candles WHERE stale_id = ANY ($1)"
DROPPED = """
SELECT EXISTS (
    SELECT FROM dropped_days WHERE relation = 'trades' AND day = ($1::timestamptz AT TIME ZONE 'UTC')::date
)
"""


class Slice(Struct, frozen=True):
    """A part of one UTC day that has to be summed up anew; times in us since 1970."""

    instruments: Sequence[int]
    start: int
    end: int
    marks: Sequence[int]
    """The stale ranges that lie in it."""


class Rollups(Protocol):
    """The sums, as one kind of server has them."""

    async def sum_up(self, connection: asyncpg.Connection, one: Slice) -> None:
        """Sum up anew what the slice touches, in every level, as far as that level has been summed up."""
        ...

    async def advance(self, connection: asyncpg.Connection) -> None:
        """Sum up what has become old enough since the last time."""
        ...


MAY_CLOSE = "SELECT pg_advisory_xact_lock($1)"
WRITERS_LOCK = 0x7772_6974_6572
"""Key of the advisory lock that each writer of trades shares until it commits; see revision 0004."""
CLOSE = """
UPDATE rolled_until SET closing = greatest(closing, date_bin(length, summed_up_before(), timestamptz 'epoch'))
"""
TAKES = "SELECT EXISTS (SELECT FROM pg_proc WHERE proname = $1 AND $2 = ANY (proargnames))"
"""Whether a function of TimescaleDB has a parameter, which depends on its version."""
IN_ONE_GO = ("refresh_continuous_aggregate", "options"), """, options => '{"buckets_per_batch": 0}'"""
"""Newer versions refresh a window in batches, and 2.28.3 leaves out the last periods of some windows, though
it knows that they are out of date."""


async def in_one_go(connection: asyncpg.Connection, call: tuple[tuple[str, str], str]) -> str:
    """Return the argument that keeps TimescaleDB from refreshing in batches, if its version does."""
    (function, parameter), argument = call
    return argument if await connection.fetchval(TAKES, function, parameter) else ""


class ContinuousAggregates:
    """The sums in TimescaleDB, whose policies sum up what has become old enough."""

    async def sum_up(self, connection: asyncpg.Connection, one: Slice) -> None:
        """Sum up anew what the slice touches, in every level, as far as that level has been summed up."""
        before = await connection.fetchval("SELECT summed_up_before()")
        options = await in_one_go(connection, IN_ONE_GO)
        for name, length in LENGTHS_US.items():
            start, end = _touched(one, length)
            # A period that is not over must not count as summed up, or its next trade would not be seen.
            await self._refresh(connection, name, start, min(end, before - before % length), options)

    async def advance(self, connection: asyncpg.Connection) -> None:
        """Sum up what has become old enough since the last time, as the policies do too.

        But those may reach back for a limited time only, and a `sum_up` of what is newer would let what lies
        before it count as summed up.
        """
        first, before = await connection.fetchrow(FIRST_TRADE)
        if first is None:
            return
        options = await in_one_go(connection, IN_ONE_GO)
        for name, length in LENGTHS_US.items():
            start = max(first, await connection.fetchval("SELECT rollup_watermark($1)", f"rollup_{name}"))
            await self._refresh(connection, name, start - start % length, before - before % length, options)

    @staticmethod
    async def _refresh(connection: asyncpg.Connection, name: str, start: int, end: int, options: str) -> None:
        if start < end:
            await connection.execute(
                "CALL refresh_continuous_aggregate("
                f"$1::text::regclass, $2::timestamptz, $3::timestamptz{options})",
                f"rollup_{name}",
                start,
                end,
            )


class RolledTables:
    """The sums in tables of our own."""

    async def sum_up(self, connection: asyncpg.Connection, one: Slice) -> None:
        """Sum up anew what the slice touches, in every level, as far as that level has been summed up."""
        rows = await connection.fetch("SELECT timeframe, until FROM rolled_until")
        until = {row["timeframe"]: row["until"] for row in rows}
        async with connection.transaction():
            for name, length in LENGTHS_US.items():
                start, end = _touched(one, length)
                end = min(end, until[name])
                if start < end:
                    await connection.execute(
                        f"SELECT roll_up_{name}($1, $2, $3)", one.instruments, start, end
                    )

    async def advance(self, connection: asyncpg.Connection) -> None:
        """Sum up what has become old enough since the last time, a day at a time.

        First the goals are closed: from then on whoever writes a trade before them marks its minute. What was
        written without a mark is committed by then, and is summed up with the rest.
        """
        async with connection.transaction():
            await connection.execute(MAY_CLOSE, WRITERS_LOCK)
            await connection.execute(CLOSE)
        instruments = [row[0] for row in await connection.fetch("SELECT instrument_id FROM instruments")]
        for name in LENGTHS_US:
            until, goal = await connection.fetchrow(
                "SELECT until, closing FROM rolled_until WHERE timeframe = $1", name
            )
            while until < goal:
                since, until = until, min(until - until % DAY_US + DAY_US, goal)
                async with connection.transaction():
                    await connection.execute(f"SELECT roll_up_{name}($1, $2, $3)", instruments, since, until)
                    await connection.execute(
                        "UPDATE rolled_until SET until = $2 WHERE timeframe = $1", name, until
                    )


def _touched(one: Slice, length: int) -> tuple[int, int]:
    """Return where the periods of a length start and end that a slice touches."""
    return one.start - one.start % length, one.end - one.end % -length


async def refresh(session: Session, rollups: Rollups) -> int:
    """Sum up anew all that is stale and old enough; return how many ranges were put right.

    Does nothing while another process does it.

    Raises:
        StoreUnavailable: The store is away, or somebody else is at the same sums.
    """
    done = 0
    async with locked(session) as connection:
        while connection is not None and (marks := await connection.fetch(STALE, MARKS)):
            if not done:
                await rollups.advance(connection)
            for one in _slices(marks):
                # What retention has dropped cannot be summed up any more; what was summed up before stays.
                if not await connection.fetchval(DROPPED, one.start):
                    await rollups.sum_up(connection, one)
                await connection.execute(DONE, one.marks)
            done += len(marks)
    return done


@asynccontextmanager
async def locked(session: Session) -> AsyncIterator[asyncpg.Connection | None]:
    """Lend a connection under the lock; `None` if another process has the lock.

    The lock goes when the connection goes back to the pool, which asks for that, or is cut.
    """
    async with session.statements() as connection:
        is_ours = await connection.fetchval("SELECT pg_try_advisory_lock($1)", ROLLUP_LOCK)
        yield connection if is_ours else None


def _slices(marks: Sequence[asyncpg.Record]) -> list[Slice]:
    """Join stale ranges of a day; each lies within one."""
    days: dict[int, list[asyncpg.Record]] = {}
    for mark in marks:
        days.setdefault(mark["start"] // DAY_US, []).append(mark)
    return [
        Slice(
            instruments=sorted({mark["instrument_id"] for mark in of_day}),
            start=min(mark["start"] for mark in of_day),
            end=max(mark["end"] for mark in of_day),
            marks=[mark["stale_id"] for mark in of_day],
        )
        for of_day in days.values()
    ]
