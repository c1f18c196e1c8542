"""Connections to PostgreSQL, and transactions that end in time whatever becomes of the server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TypeAlias

import asyncpg

from binance_proxy.adapters.timescale.errors import port_errors
from binance_proxy.application.ports import StoreError

EPOCH_2000_US = 946_684_800_000_000
"""PostgreSQL counts microseconds from the year 2000."""

Open: TypeAlias = Callable[[], AbstractAsyncContextManager[asyncpg.Connection]]


class Session:
    """A pool of connections, used one transaction at a time.

    Times go in and out as whole microseconds since 1970, so that none passes through a `datetime` or a float.
    """

    def __init__(self, pool: asyncpg.Pool, limit_s: float, alone: Open, arrivals: list[int]) -> None:
        self.alone = alone
        """Opens a connection outside of the pool, for whoever keeps one for himself."""
        self.limit_s = limit_s
        """How long a transaction may take."""
        self._arrivals = arrivals
        self._pool = pool

    @property
    def arrivals(self) -> int:
        """How many connections were made so far. With each the database may be another, from a backup."""
        return self._arrivals[0]

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[asyncpg.Connection]:
        """Commit what is done inside, or none of it. Its limit in seconds holds for all of it together.

        A connection whose transaction did not end well is cut, not asked to roll back: the server does that
        by itself, and a dead one would never answer. Only a statement that the server refused leaves the
        connection in order.

        Raises:
            StoreUnavailable: No connection or no answer in time; a commit may or may not have happened.
            StoreRejected: The server refuses.
        """
        with port_errors():
            async with self._connection() as connection, asyncio.timeout(self.limit_s):
                await connection.execute("BEGIN")
                try:
                    yield connection
                    await connection.execute("COMMIT")
                except asyncpg.PostgresError:
                    if not connection.is_closed():
                        await connection.execute("ROLLBACK")
                    raise

    @asynccontextmanager
    async def statements(self) -> AsyncIterator[asyncpg.Connection]:
        """Lend a connection on which each statement commits by itself, and may take as long as it takes.

        Meanwhile another connection is asked now and then whether the server is there at all; if it does not
        answer, this one is cut.

        Raises:
            StoreUnavailable: No connection, or it was lost.
            StoreRejected: The server refuses.
        """
        with port_errors():
            async with self._connection() as connection:
                watching = asyncio.create_task(self._cut_when_away(connection))
                try:
                    yield connection
                finally:
                    watching.cancel()

    async def _cut_when_away(self, connection: asyncpg.Connection) -> None:
        while True:
            await asyncio.sleep(self.limit_s / 4)
            try:
                async with self.transaction() as other:
                    await other.fetchval("SELECT 1")
            except StoreError:
                connection.terminate()
                return

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        """Lend a connection, and cut it if it comes back in the middle of something."""
        connection = await self._pool.acquire(timeout=self.limit_s)
        try:
            yield connection
        except asyncpg.PostgresError:
            raise
        except BaseException:
            connection.terminate()
            raise
        finally:
            await self._pool.release(connection, timeout=self.limit_s)


@asynccontextmanager
async def open_session(
    url: str, *, connections: int, connect_s: float, limit_s: float
) -> AsyncIterator[Session]:
    """Open a pool of at most so many connections.

    Raises:
        StoreUnavailable: The server is away.
        StoreRejected: The server refuses the url.
    """
    arrivals = [0]

    async def arrive(connection: asyncpg.Connection) -> None:
        arrivals[0] += 1
        await _count_time_from_1970(connection)

    with port_errors():
        pool = await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=connections,
            timeout=connect_s,
            init=arrive,
            server_settings=_server_settings("binance-proxy"),
        )
    try:
        yield Session(pool, limit_s, partial(_open_alone, url, connect_s), arrivals)
    finally:
        pool.terminate()


@asynccontextmanager
async def _open_alone(url: str, connect_s: float) -> AsyncIterator[asyncpg.Connection]:
    """Open one connection, and cut it at the end.

    Raises:
        StoreUnavailable: The server is away, or does not answer in time.
        StoreRejected: The server refuses.
    """
    with port_errors():
        connection = await asyncpg.connect(
            url, timeout=connect_s, server_settings=_server_settings("binance-proxy-alone")
        )
        try:
            yield connection
        finally:
            connection.terminate()


def _server_settings(name: str) -> dict[str, str]:
    return {"application_name": name, "timezone": "UTC", "jit": "off"}  # compiling takes longer than we ask


async def _count_time_from_1970(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec(
        "timestamptz",
        schema="pg_catalog",
        format="tuple",
        encoder=lambda us: (us - EPOCH_2000_US,),
        decoder=lambda since_2000: since_2000[0] + EPOCH_2000_US,
    )
