"""A partition for each UTC day, on a server without TimescaleDB."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import asyncpg

from binance_proxy.adapters.timescale.session import Session

DAY_NS = 86_400 * 1_000_000_000
PARTITION_LOCK = 0x7061_7274_6974
"""Key of the advisory lock under which one process at a time makes partitions."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
IS_HYPERTABLE = "SELECT relkind <> 'p' FROM pg_class WHERE oid = 'trades'::regclass"
"""From revision 0003 on: what is not partitioned by us is by TimescaleDB."""


async def has_hypertables(connection: asyncpg.Connection) -> bool:
    """Return whether the ticks lie in hypertables of TimescaleDB, which needs no partitions of ours."""
    return bool(await connection.fetchval(IS_HYPERTABLE))


async def timescaledb_version(connection: asyncpg.Connection) -> str | None:
    """Return the version of TimescaleDB whose hypertables hold the ticks; `None` if our partitions do."""
    if not await has_hypertables(connection):
        return None
    version: str = await connection.fetchval(
        "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"
    )
    return version


class Partitions:
    """The days that a table is known to have a partition for."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: set[tuple[str, int]] = set()

    async def ensure(self, table: str, days: Iterable[int]) -> None:
        """Make the partitions that a table still lacks; days are counted from 1970.

        Raises:
            StoreUnavailable: The store is away.
            StoreRejected: The user may not make tables.
        """
        for day in sorted(days):
            if (table, day) not in self._known:
                await self._make(table, day)
                self._known.add((table, day))

    def forget(self) -> None:
        """Look again for every partition: somebody has dropped one."""
        self._known.clear()

    async def _make(self, table: str, day: int) -> None:
        """Make a partition unless it is there.

        It is made apart and then attached, which locks out neither readers nor writers of the table, as
        ``CREATE TABLE ... PARTITION OF`` would.
        """
        start = EPOCH + timedelta(days=day)
        end = start + timedelta(days=1)
        name = f"{table}_p{start:%Y%m%d}"
        async with self._session.transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock($1)", PARTITION_LOCK)
            if await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", name):
                return
            await connection.execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)")
            await connection.execute(
                f"ALTER TABLE {table} ATTACH PARTITION {name}"
                f" FOR VALUES FROM ('{start:%Y-%m-%d}T00:00Z') TO ('{end:%Y-%m-%d}T00:00Z')"
            )
