"""The servers that a bench of the store runs on: the embedded PostgreSQL, and TimescaleDB if there is one."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import asyncpg

from binance_proxy.adapters.embedded.postgres import open_postgres
from servers import VARIABLE, timescale_url

NAME = f"bench_{os.getpid()}"


class Database(NamedTuple):
    """An empty database of our own, and a folder beside it."""

    url: str
    folder: Path
    has_timescale: bool


@asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[Database]:
    async with open_postgres(folder / "postgres", owner="just bench") as server:
        yield Database(server.url, folder, has_timescale=False)


@asynccontextmanager
async def _timescale(folder: Path) -> AsyncIterator[Database]:
    admin = await asyncpg.connect(timescale_url())
    try:
        await admin.execute(f"CREATE DATABASE {NAME}")
        yield Database(f"{timescale_url().rpartition('/')[0]}/{NAME}", folder, has_timescale=True)
    finally:
        await admin.execute(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")
        await admin.close()


async def on_each_server(act: Callable[[Database], Awaitable[None]]) -> None:
    """Do something with an empty database on either kind of server, and say on which versions."""
    for opened in (embedded, _timescale):
        if opened is _timescale and VARIABLE not in os.environ:
            print(f"  TimescaleDB: skipped, {VARIABLE} names no server")
            return
        with TemporaryDirectory(prefix="bench-") as folder:
            async with opened(Path(folder)) as database:
                print(f"  {await _versions(database)}")
                await act(database)


async def _versions(database: Database) -> str:
    connection = await asyncpg.connect(database.url)
    try:
        version: str = await connection.fetchval("SELECT split_part(version(), ' ', 2)")
        if not database.has_timescale:
            return f"PostgreSQL {version}, the embedded one"
        timescale: str = await connection.fetchval(
            "SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb'"
        )
        return f"PostgreSQL {version} with TimescaleDB {timescale}"
    finally:
        await connection.close()
