"""Which days an archive has whole, by the number of their rows; see decision 0017."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import asyncpg

from binance_proxy.adapters.timescale.columns import trade_columns
from binance_proxy.adapters.timescale.errors import port_errors
from binance_proxy.adapters.timescale.partitions import DAY_US, parts_of
from binance_proxy.adapters.timescale.registry import Recorded, instruments_by_id
from binance_proxy.adapters.timescale.rows import TABLES
from binance_proxy.adapters.timescale.session import Session
from binance_proxy.application.ports import ArchivedDay, HeldDay, StoreError, StoreRejected
from binance_proxy.application.trade_columns import TradeColumns

ARCHIVE_LOCK = 0x6172_6368_6976
"""Key of the advisory lock under which one process at a time archives."""
IS_OURS = "SELECT pg_try_advisory_lock($1)"
UNLOCK = "SELECT pg_advisory_unlock($1)"
IS_GUARDED = """
SELECT EXISTS (SELECT FROM archived_days) OR EXISTS (
    SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (classid::bigint << 32 | objid::bigint) = $1
)
"""
UNARCHIVED = """
SELECT held.instrument_id, held.rows
FROM (
    SELECT instrument_id, count(*) AS rows FROM {table}
    WHERE ts_event >= $3 AND ts_event < $4 GROUP BY instrument_id
) held
LEFT JOIN archived_days a
    ON a.relation = $1 AND a.instrument_id = held.instrument_id AND a.day = date '1970-01-01' + $2::integer
WHERE a.rows IS DISTINCT FROM held.rows
"""
"""Both bounds are handed in, as only what is known beforehand spares the other days."""
HAS_ROWS = "SELECT EXISTS (SELECT FROM {table} WHERE ts_event >= $1 AND ts_event < $2)"
IS_KNOWN = """
SELECT EXISTS (
    SELECT FROM archived_days WHERE relation = $1 AND day = date '1970-01-01' + $2::integer AND rows > 0
)
"""
ARCHIVED = """
INSERT INTO archived_days (relation, instrument_id, day, rows, checksum)
SELECT $1, instrument_id, date '1970-01-01' + $5::integer, $6, $7
FROM instruments WHERE (venue, market, symbol) = ($2, $3, $4)
ON CONFLICT (relation, instrument_id, day) DO UPDATE SET
    rows = excluded.rows, checksum = excluded.checksum, archived_at = excluded.archived_at
RETURNING instrument_id
"""
FORGET = """
UPDATE archived_days SET rows = 0
WHERE relation = $1 AND day >= date '1970-01-01' + $2::integer AND day < date '1970-01-01' + $3::integer
"""

MARKS = """
SELECT relation, instrument_id, venue, market, symbol, day - date '1970-01-01' AS number, rows, checksum
FROM archived_days JOIN instruments USING (instrument_id)
ORDER BY day, relation, venue, market, symbol
"""
DOUBT = """
UPDATE archived_days SET rows = -1
WHERE relation = $1 AND instrument_id = $2 AND day = date '1970-01-01' + $3::integer AND rows > 0
"""
"""No day has less than no row, so that none is whole with this."""


class TimescaleDays:
    """The `ClosedDays` of a database."""

    def __init__(self, session: Session, *, hypertables: bool) -> None:
        self._session = session
        self._hypertables = hypertables
        self._alone: asyncpg.Connection | None = None

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Be the only one who archives the database, in any process, until the context is left.

        A connection is kept for it, which is in no transaction, and with which the server lets go.

        Raises:
            StoreUnavailable: The store is away.
            StoreRejected: Another run archives it.
        """
        opened = AsyncExitStack()  # what goes wrong inside is none of the database's errors
        connection = await opened.enter_async_context(self._session.alone())
        try:
            with port_errors():
                is_ours = await connection.fetchval(IS_OURS, ARCHIVE_LOCK, timeout=self._session.limit_s)
            if not is_ours:
                raise StoreRejected(
                    "Another archive run is under way on this database: wait for its end, or stop it."
                )
            self._alone = connection
            try:
                yield
            finally:
                self._alone = None
                await self._unlock(connection)
        finally:
            await opened.aclose()

    async def _unlock(self, connection: asyncpg.Connection) -> None:
        """Let go now, as the server may notice a little later that a connection was cut."""
        try:
            with port_errors():
                await connection.execute(UNLOCK, ARCHIVE_LOCK, timeout=self._session.limit_s)
        except StoreError:
            pass  # then it goes with the connection

    async def unarchived(self, before: int, there: Sequence[ArchivedDay] | None = None) -> Sequence[HeldDay]:
        """Return the days before a day of which a tick may not be archived, oldest first.

        With ``there`` a day that was said to be archived and is not among these with its checksum counts as
        unarchived from now on, for retention too.

        Each day of a table is counted by a statement of its own, which may take as long as it takes.

        Raises:
            StoreUnavailable: The store is away.
        """
        found = []
        async with self._session.statements() as connection:
            if there is not None:
                for mark in await _not_there(connection, there):
                    await connection.execute(DOUBT, mark["relation"], mark["instrument_id"], mark["number"])
            for kind, table in TABLES.items():
                parts = await parts_of(connection, table.name, hypertables=self._hypertables)
                for day in sorted({day for part in parts for day in part.days if day < before}):
                    rows = await unarchived_rows(connection, table.name, day)
                    found += [(day, kind, instrument_id, count) for instrument_id, count in rows]
            instruments = await instruments_by_id(connection)
        held = [
            HeldDay(kind=kind, instrument=instruments[instrument_id], day=day, rows=rows)
            for day, kind, instrument_id, rows in found
        ]
        return sorted(held, key=lambda one: (one.day, list(TABLES).index(one.kind), one.instrument.name))

    async def dropped(self, there: Sequence[ArchivedDay]) -> Sequence[HeldDay]:
        """Return the days that were dropped because an archive had them, and that are not among these.

        Raises:
            StoreUnavailable: The store is away.
        """
        kinds = {table.name: kind for kind, table in TABLES.items()}
        async with self._session.statements() as connection:
            marks = await _not_there(connection, there)
            instruments = await instruments_by_id(connection)
        return [
            HeldDay(
                kind=kinds[mark["relation"]],
                instrument=instruments[mark["instrument_id"]],
                day=mark["number"],
                rows=0,
            )
            for mark in marks
            if mark["rows"] == 0
        ]

    async def archived(self, held: HeldDay, checksum: str) -> None:
        """Learn that an archive has these rows of a day; only days that it has whole are dropped from now on.

        It goes over the connection of `alone`, if that is held: lost with it is the right to say so.

        Raises:
            StoreUnavailable: The store is away, or the `alone` was lost.
            StoreRejected: The store holds nothing of such an instrument.
        """
        row = TABLES[held.kind].name, *_name(held), held.day, held.rows, checksum
        if self._alone is not None:
            with port_errors():
                known = await self._alone.fetchval(ARCHIVED, *row, timeout=self._session.limit_s)
        else:
            async with self._session.transaction() as connection:
                known = await connection.fetchval(ARCHIVED, *row)
        if known is None:
            raise StoreRejected(f"{held.instrument.name} is not in this database, and so is no day of it.")

    async def trades(self, held: HeldDay) -> AsyncGenerator[TradeColumns]:
        """Yield the trades of a day by time and then by id, many at a time.

        Raises:
            StoreUnavailable: The store is away.
        """
        async with self._session.transaction() as connection:
            instruments = await instruments_by_id(connection)
        for number, instrument in instruments.items():
            if instrument.name == held.instrument.name:
                pages = trade_columns(self._session, Recorded(number, instrument), *_bounds(held.day))
                async with aclosing(pages):
                    async for page in pages:
                        yield page


async def _not_there(connection: asyncpg.Connection, there: Sequence[ArchivedDay]) -> list[asyncpg.Record]:
    """Return what was said to be archived, and is not among these with its checksum."""
    sound = {(TABLES[day.kind].name, *_name(day), day.day): day.checksum for day in there}
    return [
        mark
        for mark in await connection.fetch(MARKS)
        if sound.get((mark["relation"], mark["venue"], mark["market"], mark["symbol"], mark["number"]))
        != mark["checksum"]
    ]


async def unarchived_rows(connection: asyncpg.Connection, table: str, day: int) -> list[tuple[int, int]]:
    """Count the rows of a day; return each instrument, by id, of which not exactly so many are archived.

    Args:
        connection: Of the pool.
        table: ``trades``, ``quotes`` or ``book_snapshots``.
        day: Counted from 1970.
    """
    rows = await connection.fetch(UNARCHIVED.format(table=table), table, day, *_bounds(day))
    return [(row["instrument_id"], row["rows"]) for row in rows]


async def is_guarded(connection: asyncpg.Connection) -> bool:
    """Say whether days have to be archived before they are dropped: once one is, or a run is under way."""
    return bool(await connection.fetchval(IS_GUARDED, ARCHIVE_LOCK))


async def is_archived(connection: asyncpg.Connection, table: str, days: range) -> bool:
    """Say whether every row of some days is archived. A day of which nothing is archived costs no count."""
    for day in days:
        if not await connection.fetchval(IS_KNOWN, table, day):
            if await connection.fetchval(HAS_ROWS.format(table=table), *_bounds(day)):
                return False
        elif await unarchived_rows(connection, table, day):
            return False
    return True


async def forget(connection: asyncpg.Connection, table: str, days: range) -> None:
    """Note that the rows of some days are dropped: what comes for them from now on is archived by nobody."""
    await connection.execute(FORGET, table, days.start, days.stop)


def _bounds(day: int) -> tuple[int, int]:
    return day * DAY_US, (day + 1) * DAY_US


def _name(held: HeldDay) -> tuple[str, str, str]:
    return held.instrument.venue, held.instrument.market.value, held.instrument.symbol
