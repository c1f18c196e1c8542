"""Dropping days of ticks that are older than what is kept, once they are summed up, and archived."""

import logging
from datetime import timedelta

import asyncpg

from binance_proxy.adapters.timescale.days import forget, is_archived, is_guarded
from binance_proxy.adapters.timescale.partitions import DAY_US, EPOCH, Part, parts_of
from binance_proxy.adapters.timescale.rollups import DROPPED, Rollups, Slice

log = logging.getLogger(__name__)

DROP_CHUNK = """
SELECT drop_chunks($1::text::regclass, older_than => $2::timestamptz, newer_than => $3::timestamptz)
"""
MARKED = """
SELECT EXISTS (SELECT FROM stale_candles WHERE start < $2 AND "end" > $1)
"""
REMEMBER = """
INSERT INTO dropped_days SELECT $1, date '1970-01-01' + day FROM unnest($2::integer[]) AS day
ON CONFLICT DO NOTHING
"""
PATIENCE = "SET LOCAL lock_timeout = '100ms'"
"""A drop waits for whoever reads the table, and everybody else for the drop: not longer than this."""


class Retention:
    """Drops whole UTC days of one kind of tick after another."""

    def __init__(self, rollups: Rollups, *, hypertables: bool) -> None:
        self._rollups = rollups
        self._hypertables = hypertables
        self._waiting: set[tuple[str, int]] = set()  # days that were said to wait for the archive
        self._odd: set[str] = set()  # chunks that were said not to be made of days

    async def drop(self, connection: asyncpg.Connection, table: str, keep_days: int) -> list[str]:
        """Drop the days that lie ``keep_days`` back or more; return them, as ``2024-08-08``.

        A day of trades goes only after all its candles were summed up; while some of them are stale it waits.
        Once the database has been archived from, a day goes only if all rows of it are archived.

        Args:
            connection: Outside of a transaction, and under the lock of `rollups.locked`.
            table: ``trades``, ``quotes`` or ``book_snapshots``.
            keep_days: Above zero.

        Raises:
            asyncpg.LockNotAvailableError: Somebody reads the day. Try again later.
        """
        dropped: list[str] = []
        waiting: list[int] = []
        today = await connection.fetchval("SELECT date_bin('24 hours', now(), timestamptz 'epoch')")
        for part in await parts_of(connection, table, hypertables=self._hypertables):
            if part.end > today - keep_days * DAY_US:
                break
            if not part.has_whole_days:
                self._tell_odd(part)
                continue
            # First without a lock, so that nobody who reads or writes is held up for nothing.
            if not await _may_go(connection, table, part):
                waiting += part.days
                continue
            if table == "trades" and not await self._is_summed_up(connection, part):
                continue
            if await self._drop(connection, table, part):
                days = [_text(day) for day in part.days]
                log.info(
                    "dropped the %s of %s, which were older than %d days", table, ", ".join(days), keep_days
                )
                dropped += days
        self._tell_waiting(table, waiting, keep_days)
        return dropped

    async def _is_summed_up(self, connection: asyncpg.Connection, part: Part) -> bool:
        """Sum up a day for the last time; say whether all of it is summed up now."""
        if await connection.fetchval(DROPPED, part.start):
            return True  # a late trade has made the day anew, and its candles must stay as they are
        if await connection.fetchval(MARKED, part.start, part.end):
            return False
        await self._rollups.advance(connection)
        if self._hypertables:
            instruments = [row[0] for row in await connection.fetch("SELECT instrument_id FROM instruments")]
            await self._rollups.sum_up(connection, Slice(instruments, part.start, part.end, ()))
            return True
        return bool(await connection.fetchval("SELECT min(until) >= $1 FROM rolled_until", part.end))

    async def _drop(self, connection: asyncpg.Connection, table: str, part: Part) -> bool:
        async with connection.transaction():
            await connection.execute(PATIENCE)
            guarded = await is_guarded(connection)
            if guarded:
                # From here on nobody writes, and whoever reads is not held up while the rows are counted.
                await connection.execute(f"LOCK TABLE {part.name} IN SHARE MODE")
                if not await is_archived(connection, table, part.days):
                    return False
            # Who writes a late trade has the table until the trade and its mark are committed.
            await connection.execute(f"LOCK TABLE {part.name} IN ACCESS EXCLUSIVE MODE")
            if not guarded and await is_guarded(connection):
                return False  # a run has begun, and may have counted the day already
            if table == "trades" and await connection.fetchval(MARKED, part.start, part.end):
                return False
            if self._hypertables:
                await connection.execute(DROP_CHUNK, table, part.end, part.start)
            else:
                await connection.execute(f"DROP TABLE {part.name}")
            await connection.execute(REMEMBER, table, list(part.days))
            await forget(connection, table, part.days)
            return True

    def _tell_waiting(self, table: str, days: list[int], keep_days: int) -> None:
        """Say once of each day that it waits."""
        new = [day for day in days if (table, day) not in self._waiting]
        self._waiting = {one for one in self._waiting if one[0] != table} | {(table, day) for day in days}
        if new:
            log.warning(
                "the %s of %s are older than %d days, and stay until they are archived:"
                " run `bridge archive run`",
                table,
                _text(new[0]) if len(new) == 1 else f"{len(new)} days from {_text(new[0])} on",
                keep_days,
            )

    def _tell_odd(self, part: Part) -> None:
        if part.name not in self._odd:
            self._odd.add(part.name)
            log.warning(
                "the chunk %s is not made of whole days, and stays: somebody has changed the interval",
                part.name,
            )


async def _may_go(connection: asyncpg.Connection, table: str, part: Part) -> bool:
    """Say whether a day is archived, or need not be."""
    return not await is_guarded(connection) or await is_archived(connection, table, part.days)


def _text(day: int) -> str:
    return f"{EPOCH + timedelta(days=day):%Y-%m-%d}"
