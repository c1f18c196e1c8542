"""Dropping days of ticks that are older than what is kept, once their candles are summed up."""

import logging

import asyncpg

from binance_proxy.adapters.timescale.rollups import DAY_US, DROPPED, Rollups, Slice

log = logging.getLogger(__name__)

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
REMEMBER = """
INSERT INTO dropped_days VALUES ($1, ($2::timestamptz AT TIME ZONE 'UTC')::date) ON CONFLICT DO NOTHING
"""
PATIENCE = "SET LOCAL lock_timeout = '100ms'"
"""A drop waits for whoever reads the table, and everybody else for the drop: not longer than this."""


class Retention:
    """Drops whole UTC days of one kind of tick after another."""

    def __init__(self, rollups: Rollups, *, hypertables: bool) -> None:
        self._rollups = rollups
        self._hypertables = hypertables

    async def drop(self, connection: asyncpg.Connection, table: str, keep_days: int) -> list[str]:
        """Drop the days that lie ``keep_days`` back or more; return them, as ``2024-08-08``.

        A day of trades goes only after all its candles were summed up; while some of them are stale it waits.

        Args:
            connection: Outside of a transaction, and under the lock of `rollups.locked`.
            table: ``trades``, ``quotes`` or ``book_snapshots``.
            keep_days: Above zero.

        Raises:
            asyncpg.LockNotAvailableError: Somebody reads the day. Try again later.
        """
        dropped = []
        today = await connection.fetchval("SELECT date_bin('24 hours', now(), timestamptz 'epoch')")
        parts = await connection.fetch(CHUNKS if self._hypertables else PARTITIONS, table)
        for start, part in sorted((row["start"], row["part"]) for row in parts):
            if start + DAY_US > today - keep_days * DAY_US:
                break
            if table == "trades" and not await self._is_summed_up(connection, start):
                continue
            if await self._drop(connection, table, part, start):
                day = await connection.fetchval(
                    "SELECT ($1::timestamptz AT TIME ZONE 'UTC')::date::text", start
                )
                log.info("dropped the %s of %s, which were older than %d days", table, day, keep_days)
                dropped.append(day)
        return dropped

    async def _is_summed_up(self, connection: asyncpg.Connection, start: int) -> bool:
        """Sum up a day for the last time; say whether all of it is summed up now."""
        if await connection.fetchval(DROPPED, start):
            return True  # a late trade has made the day anew, and its candles must stay as they are
        if await connection.fetchval(MARKED, start, start + DAY_US):
            return False
        await self._rollups.advance(connection)
        if self._hypertables:
            instruments = [row[0] for row in await connection.fetch("SELECT instrument_id FROM instruments")]
            await self._rollups.sum_up(connection, Slice(instruments, start, start + DAY_US, ()))
            return True
        return bool(await connection.fetchval("SELECT min(until) >= $1 FROM rolled_until", start + DAY_US))

    async def _drop(self, connection: asyncpg.Connection, table: str, part: str, start: int) -> bool:
        async with connection.transaction():
            await connection.execute(PATIENCE)
            # Who writes a late trade has the table until the trade and its mark are committed.
            await connection.execute(f"LOCK TABLE {part} IN ACCESS EXCLUSIVE MODE")
            if table == "trades" and await connection.fetchval(MARKED, start, start + DAY_US):
                return False
            if self._hypertables:
                await connection.execute(DROP_CHUNK, table, start + DAY_US, start)
            else:
                await connection.execute(f"DROP TABLE {part}")
            await connection.execute(REMEMBER, table, start)
            return True
