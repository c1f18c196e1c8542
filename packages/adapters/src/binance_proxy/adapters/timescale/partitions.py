"""A partition for each UTC day, on a server without TimescaleDB."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import asyncpg
from msgspec import Struct

from binance_proxy.adapters.timescale.session import Session

DAY_NS = 86_400 * 1_000_000_000
PARTITION_LOCK = 0x7061_7274_6974
"""Key of the advisory lock under which one process at a time makes partitions."""
DAY_US = DAY_NS // 1000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
IS_HYPERTABLE = "SELECT relkind <> 'p' FROM pg_class WHERE oid = 'trades'::regclass"
"""From revision 0003 on: what is not partitioned by us is by TimescaleDB."""

PARTITIONS = """
SELECT inhrelid::regclass::text AS name,
    to_timestamp(right(inhrelid::regclass::text, 8), 'YYYYMMDD') AS start,
    to_timestamp(right(inhrelid::regclass::text, 8), 'YYYYMMDD') + interval '24 hours' AS "end"
FROM pg_inherits WHERE inhparent = $1::text::regclass
"""
CHUNKS = """
SELECT format('%I.%I', chunk_schema, chunk_name) AS name, range_start AS start, range_end AS "end"
FROM timescaledb_information.chunks
WHERE hypertable_schema = current_schema() AND hypertable_name = $1
"""


class Part(Struct, frozen=True, order=True):
    """A partition, or a chunk of a hypertable; times in us since 1970."""

    start: int
    end: int
    """Behind its last moment. A day after its start, unless somebody has changed the interval of chunks."""
    name: str

    @property
    def days(self) -> range:
        """The UTC days that it has a share in, counted from 1970."""
        return range(self.start // DAY_US, -(-self.end // DAY_US))

    @property
    def has_whole_days(self) -> bool:
        """Whether nothing of these days can lie elsewhere."""
        return self.start % DAY_US == self.end % DAY_US == 0


async def parts_of(connection: asyncpg.Connection, table: str, *, hypertables: bool) -> list[Part]:
    """Return what the rows of a tick table lie in, the oldest first."""
    rows = await connection.fetch(CHUNKS if hypertables else PARTITIONS, table)
    return sorted(Part(row["start"], row["end"], row["name"]) for row in rows)


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
