"""Dropping days of ticks that are older than what is kept, once their candles are summed up."""

import asyncpg

from binance_proxy.adapters.timescale.rollups import DAY_US, Rollups, Slice, locked
from binance_proxy.adapters.timescale.session import Session

PARTITIONS = """
SELECT inhrelid::regclass::text AS part,
    to_timestamp(right(inhrelid::regclass::text, 8), 'YYYYMMDD') AS start
FROM pg_inherits WHERE inhparent = $1::text::regclass
"""
CHUNKS = """
SELECT format('%I.%I', chunk_schema, chunk_name) AS part, range_start AS start
FROM timescaledb_information.chunks
WHERE hypertable_schema = current_schema() AND hypertable_name = $1
"""
DROP_CHUNK = """
SELECT drop_chunks($1::text::regclass, older_than => $2::timestamptz, newer_than => $3::timestamptz)
"""
MARKED = """
SELECT EXISTS (SELECT FROM stale_candles WHERE start < $2 AND "end" > $1)
"""
FORGET = """
WITH forgotten AS (DELETE FROM stale_candles WHERE start >= $2 AND "end" <= $3 AND $1 = 'trades')
INSERT INTO dropped_days VALUES ($1, ($2::timestamptz AT TIME ZONE 'UTC')::date) ON CONFLICT DO NOTHING
"""
PATIENCE = "SET LOCAL lock_timeout = '2s'"
"""A drop waits for whoever reads the table, and everybody else for the drop: not longer than this."""


class Retention:
    """Drops whole UTC days of one kind of tick after another."""

    def __init__(self, session: Session, rollups: Rollups, *, hypertables: bool) -> None:
        self._session = session
        self._rollups = rollups
        self._hypertables = hypertables

    async def drop(self, table: str, keep_days: int) -> list[str]:
        """Drop the days that lie ``keep_days`` back or more; return them, as ``2024-08-08``.

        A day of trades goes only after all its candles were summed up; while some of them are stale it waits.

        Raises:
            StoreUnavailable: The store is away, or somebody reads the day for too long. Try again later.
        """
        dropped = []
        async with locked(self._session) as connection:
            if connection is None:
                return []
            today = await connection.fetchval("SELECT date_bin('24 hours', now(), timestamptz 'epoch')")
            parts = await connection.fetch(CHUNKS if self._hypertables else PARTITIONS, table)
            for part, start in sorted((row["part"], row["start"]) for row in parts):
                if start + DAY_US > today - keep_days * DAY_US:
                    continue
                if table == "trades" and not await self._summed_up(connection, start):
                    continue
                async with connection.transaction():
                    await connection.execute(PATIENCE)
                    await self._drop(connection, table, part, start)
                    await connection.execute(FORGET, table, start, start + DAY_US)
                dropped.append(
                    await connection.fetchval(
                        "SELECT ($1::timestamptz AT TIME ZONE 'UTC')::date::text", start
                    )
                )
        return dropped

    async def _summed_up(self, connection: asyncpg.Connection, start: int) -> bool:
        """Sum up a day for the last time; say whether all of it is summed up now."""
        if await connection.fetchval(MARKED, start, start + DAY_US):
            return False
        instruments = [row[0] for row in await connection.fetch("SELECT instrument_id FROM instruments")]
        if self._hypertables:
            await self._rollups.sum_up(connection, Slice(instruments, start, start + DAY_US, ()))
            return True
        await self._rollups.advance(connection)
        return bool(await connection.fetchval("SELECT min(until) >= $1 FROM rolled_until", start + DAY_US))

    async def _drop(self, connection: asyncpg.Connection, table: str, part: str, start: int) -> None:
        if self._hypertables:
            await connection.execute(
                DROP_CHUNK,
                table,
                start + DAY_US,
                start,
            )
        else:
            await connection.execute(f"DROP TABLE {part}")
