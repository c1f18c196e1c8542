"""The schema's revision: where a database stands, and whether that is the newest."""

from pathlib import Path

import asyncpg

from binance_proxy.adapters.timescale.errors import port_errors

MIGRATIONS = Path(__file__).parent / "migrations"
NEWEST = max(path.name.partition("_")[0] for path in MIGRATIONS.glob("[0-9]*.py"))
"""The revision that this program works with; each file of a migration begins with its own."""


async def revision(url: str, *, connect_s: float = 10.0) -> str | None:
    """Return the revision that the database is at; `None` before the first migration.

    Raises:
        StoreUnavailable: The server is away.
        StoreRejected: The server refuses the url.
    """
    with port_errors():
        connection = await asyncpg.connect(url, timeout=connect_s, command_timeout=connect_s)
        try:
            if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
                return None
            current: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
            return current
        finally:
            await connection.close()


async def migrate(url: str, *, to: str = NEWEST, connect_s: float = 10.0) -> None:
    """Bring the database to a revision, the newest if none is named, all or nothing.

    Does nothing if it is there. Goes back too, where that loses nothing.

    Several processes may call it at once: one migrates, the others wait for it.

    Raises:
        StoreUnavailable: The server is away.
        StoreRejected: The server refuses the url or lacks a right, the schema is newer than this program, or
            there is no such revision.
    """
    if await revision(url, connect_s=connect_s) == to:
        return
    # Alembic and SQLAlchemy take half a second to import, and nearly every start needs neither.
    from binance_proxy.adapters.timescale.upgrade import bring_to  # noqa: PLC0415

    await bring_to(to, url, MIGRATIONS, connect_s=connect_s)
