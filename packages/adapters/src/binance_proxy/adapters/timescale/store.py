"""The store: what the bridge keeps for good, in PostgreSQL."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import cast

from binance_proxy.adapters.timescale.candles import fetch_candles
from binance_proxy.adapters.timescale.days import TimescaleDays
from binance_proxy.adapters.timescale.pages import Pages
from binance_proxy.adapters.timescale.partitions import Partitions, timescaledb_version
from binance_proxy.adapters.timescale.registry import TimescaleRegistry
from binance_proxy.adapters.timescale.schema import migrate
from binance_proxy.adapters.timescale.session import Session, open_session
from binance_proxy.adapters.timescale.settings import Upkeep
from binance_proxy.adapters.timescale.upkeep import FINISH_S, Caretaker
from binance_proxy.adapters.timescale.writer import Writer
from binance_proxy.application.ports import Stored, StoredEvent
from binance_proxy.domain.candle import Candle, Timeframe
from binance_proxy.domain.instrument import Instrument

log = logging.getLogger(__name__)


class TimescaleStore:
    """A `MarketStore` in PostgreSQL, and the registry beside it."""

    def __init__(
        self, session: Session, partitions: Partitions | None, *, timescaledb: str | None = None
    ) -> None:
        """Keep ticks in our own partitions, or, without any, in hypertables."""
        self.registry = TimescaleRegistry(session)
        """Tracked pairs and instruments of the same database."""
        self.closed_days = TimescaleDays(session, hypertables=partitions is None)
        """Which of its days an archive has."""
        self.timescaledb = timescaledb
        """The version of TimescaleDB that the hypertables are of, for people."""
        self._session = session
        self._writer = Writer(session, self.registry, partitions)

    async def append(self, events: Sequence[StoredEvent]) -> int:
        """Keep the events, each once, however often it is given; return how many were new.

        Several calls may be under way at once, from several processes too.

        Raises:
            StoreUnavailable: Try again with the same events; nothing is kept twice.
            EventsRejected: A time is finer than the instrument's resolution, units are not the recorded ones,
                or a number is over 64 bits long.
            StoreRejected: The store will not take them, nor others: a right is lacking, say.
        """
        return await self._writer.append(events)

    async def identity(self) -> str:
        """Return what tells this database from every other one.

        Raises:
            StoreUnavailable: The store is away.
        """
        async with self._session.transaction() as connection:
            return str(await connection.fetchval("SELECT id FROM database_id"))

    async def scan(
        self, kind: type[Stored], instrument: Instrument, start: int, end: int, *, newest_first: bool = False
    ) -> AsyncGenerator[Stored]:
        """Yield what is kept with ``start <= ts_event < end``, ordered by ``ts_event`` and then by id.

        Rows are fetched page by page, so that a slow reader, or a replay that merges many scans, occupies no
        connection between two pages.

        Raises:
            StoreUnavailable: The store is away.
        """
        recorded = await self.registry.find(instrument)
        if recorded is None:
            return
        pages = Pages(kind, start, end, newest_first=newest_first)
        while pages.more:
            async with self._session.transaction() as connection:
                events = await pages.fetch(connection, recorded)
            for event in events:
                yield cast("Stored", event)

    async def candles(
        self, instrument: Instrument, timeframe: Timeframe, start: int, end: int
    ) -> Sequence[Candle]:
        """Return the candles of all kept trades, oldest first, whose period starts in ``[start, end)``.

        Raises:
            StoreUnavailable: The store is away.
        """
        recorded = await self.registry.find(instrument)
        if recorded is None:
            return []
        async with self._session.transaction() as connection:
            return await fetch_candles(connection, recorded, timeframe, start, end)


@asynccontextmanager
async def open_timescale(
    url: str,
    *,
    upkeep: Upkeep | None = None,
    connections: int = 8,
    connect_s: float = 10.0,
    limit_s: float = 60.0,
) -> AsyncIterator[TimescaleStore]:
    """Open the store, after bringing its schema to the newest revision.

    Args:
        url: As libpq takes it: ``postgresql://user:password@host:port/database``.
        upkeep: How to look after the tables for as long as the store is open; `None` leaves that to others.
        connections: How many statements may be under way at once; further ones wait for a connection.
        connect_s: How long a connection may take to open.
        limit_s: How long a transaction may take, and how long it may wait for a connection. Then the server
            counts as away.

    Raises:
        StoreUnavailable: The server is away.
        StoreRejected: The server refuses the url or lacks a right, or the schema is newer than this program.
    """
    await migrate(url, connect_s=connect_s)
    async with open_session(url, connections=connections, connect_s=connect_s, limit_s=limit_s) as session:
        async with session.transaction() as connection:
            timescaledb = await timescaledb_version(connection)
        partitions = None if timescaledb else Partitions(session)
        async with _looked_after(session, upkeep, partitions):
            yield TimescaleStore(session, partitions, timescaledb=timescaledb)


@asynccontextmanager
async def _looked_after(
    session: Session, upkeep: Upkeep | None, partitions: Partitions | None
) -> AsyncIterator[None]:
    if upkeep is None:
        yield
        return
    caretaker = Caretaker(session, upkeep, partitions)
    working = asyncio.create_task(caretaker.run())
    working.add_done_callback(_tell_mistake)
    try:
        yield
    finally:
        working.cancel()
        await asyncio.wait([working], timeout=FINISH_S)
        await caretaker.finish()


def _tell_mistake(working: asyncio.Task[None]) -> None:
    if not working.cancelled() and (mistake := working.exception()):
        log.error("candles and old ticks are not looked after any more", exc_info=mistake)
