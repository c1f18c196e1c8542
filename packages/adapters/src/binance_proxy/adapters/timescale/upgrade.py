"""How a database gets to a revision of the schema: Alembic, driven by the program."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, MigrationStep
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from binance_proxy.adapters.timescale.errors import port_errors
from binance_proxy.application.ports import StoreRejected

MIGRATION_LOCK = 0x6272_6964_6765
"""Key of the advisory lock under which one bridge at a time migrates."""
STATEMENT_LIMIT_S = 900.0
"""How long one statement of a migration may take, waiting for another bridge included."""


async def bring_to(goal: str, url: str, migrations: Path, *, connect_s: float) -> None:
    """Bring the database up or down to a revision, all or nothing; do nothing if it is there.

    Raises:
        StoreUnavailable: The server is away.
        StoreRejected: The server refuses the url or lacks a right, the schema is newer than this program,
            there is no such revision, or going back to it would lose something.
    """
    with port_errors():
        try:
            async with _connection(url, connect_s) as connection:
                await connection.run_sync(_bring_to, goal, migrations)
        except SQLAlchemyError as error:
            raise _driver_error(error) from error


def _driver_error(error: BaseException) -> BaseException:
    """Find the driver's own error behind SQLAlchemy's wrappers; Alembic's connection has two of them."""
    while type(error).__module__.startswith("sqlalchemy."):
        if error.__cause__ is None:
            return StoreRejected(f"The schema cannot be brought up to date: {error}")
        error = error.__cause__
    return error


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


def _bring_to(connection: Connection, goal: str, migrations: Path) -> None:
    script = ScriptDirectory(str(migrations), version_locations=[str(migrations)])
    known = [one.revision for one in script.walk_revisions()]  # the newest first
    if goal not in known:
        raise StoreRejected(f"there is no revision {goal}; there are {', '.join(reversed(known))}")
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
    current = _current(connection)
    if current == goal:
        return
    if current is not None and current not in known:
        raise StoreRejected(
            f"The database's schema is at revision {current} and this bridge knows none later than"
            f" {known[0]}: run a newer bridge, or use another database."
        )

    def steps(_at: str | tuple[str, ...], _context: MigrationContext) -> Iterable[MigrationStep]:
        if current is None or known.index(goal) < known.index(current):
            missing = reversed(list(script.iterate_revisions(goal, current, implicit_base=True)))
            return [MigrationStep.upgrade_from_script(script.revision_map, one) for one in missing]
        surplus = script.iterate_revisions(current, goal, implicit_base=True)
        return [MigrationStep.downgrade_from_script(script.revision_map, one) for one in surplus]

    with EnvironmentContext(Config(), script, fn=steps) as environment:
        environment.configure(connection=connection)
        with environment.begin_transaction():
            environment.run_migrations()
