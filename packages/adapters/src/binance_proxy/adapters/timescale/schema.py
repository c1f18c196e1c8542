"""The schema's revisions: where a database stands, and how it gets to the newest one."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, MigrationStep
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from binance_proxy.adapters.timescale.errors import port_errors
from binance_proxy.application.ports import StoreRejected

FOLDER = Path(__file__).parent / "migrations"
MIGRATION_LOCK = 0x6272_6964_6765
"""Key of the advisory lock under which one bridge at a time migrates."""
STATEMENT_LIMIT_S = 900.0
"""How long one statement of a migration may take, waiting for another bridge included."""


async def revision(url: str, *, connect_s: float = 10.0) -> str | None:
    """Return the revision that the database is at; `None` before the first migration.

    Raises:
        StoreUnavailable: The server is away.
        StoreRejected: The server refuses the url.
    """
    with port_errors():
        async with _connection(url, connect_s) as connection:
            return await connection.run_sync(_current)


async def migrate(url: str, *, connect_s: float = 10.0) -> None:
    """Bring the database to the newest revision, all or nothing; do nothing if it is there.

    Several processes may call it at once: one migrates, the others wait for it.

    Raises:
        StoreUnavailable: The server is away.
        StoreRejected: The server refuses the url or lacks a right, or the schema is newer than this program.
    """
    with port_errors():
        async with _connection(url, connect_s) as connection:
            await connection.run_sync(_upgrade)


@asynccontextmanager
async def _connection(url: str, connect_s: float) -> AsyncIterator[AsyncConnection]:
    """Open one connection and one transaction for Alembic; the driver reads the url, as for the pool."""

    async def connect() -> asyncpg.Connection:
        return await asyncpg.connect(url, timeout=connect_s, command_timeout=STATEMENT_LIMIT_S)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    async with engine.begin() as connection:
        yield connection


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _upgrade(connection: Connection) -> None:
    script = ScriptDirectory(str(FOLDER), version_locations=[str(FOLDER)])
    newest = script.get_current_head()
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
    current = _current(connection)
    if current == newest:
        return
    if current is not None and current not in {known.revision for known in script.walk_revisions()}:
        raise StoreRejected(
            f"The database's schema is at revision {current} and this bridge knows none later than {newest}:"
            " run a newer bridge, or use another database."
        )

    def steps(_at: str | tuple[str, ...], _context: MigrationContext) -> Iterable[MigrationStep]:
        missing = reversed(list(script.iterate_revisions(newest, current, implicit_base=True)))
        return [MigrationStep.upgrade_from_script(script.revision_map, one) for one in missing]

    with EnvironmentContext(Config(), script, fn=steps) as environment:
        environment.configure(connection=connection)
        with environment.begin_transaction():
            environment.run_migrations()
