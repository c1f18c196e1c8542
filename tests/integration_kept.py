"""A store in PostgreSQL, and what has to be done to it by hand where no bridge looks after it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from binance_proxy.adapters.timescale.partitions import Partitions, has_hypertables
from binance_proxy.adapters.timescale.rollups import ContinuousAggregates, RolledTables, locked, refresh
from binance_proxy.adapters.timescale.session import Session, open_session
from binance_proxy.adapters.timescale.store import TimescaleStore
from binance_proxy.domain.candle import Candle, Timeframe
from binance_proxy.domain.tick import TradeTick
from contract.market_store import ETH, FOREVER, scan


class Kept:
    """A store, and what has to be done to it by hand here."""

    def __init__(self, session: Session, sql: asyncpg.Connection, *, hypertables: bool) -> None:
        self.store = TimescaleStore(session, None if hypertables else Partitions(session))
        self.session, self.sql, self.hypertables = session, sql, hypertables
        self.rollups = ContinuousAggregates() if hypertables else RolledTables()

    async def refresh(self) -> int:
        return await refresh(self.session, self.rollups)

    async def stale(self) -> int:
        return await self.sql.fetchval("SELECT count(*) FROM stale_candles")

    async def summed_up(self, name: str = "1m") -> int:
        """Say how many candles of a timeframe lie there summed up."""
        rolled = f"rolled_{name}"
        if isinstance(self.rollups, ContinuousAggregates):
            rolled = await self.sql.fetchval(
                "SELECT format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)"
                " FROM timescaledb_information.continuous_aggregates WHERE view_name = $1",
                f"rollup_{name}",
            )
        return await self.sql.fetchval(f"SELECT count(*) FROM {rolled}")

    async def candles(self, name: str) -> list[Candle]:
        return list(await self.store.candles(ETH, Timeframe(name), *FOREVER))

    async def shown(self, name: str) -> list[tuple[object, ...]]:
        rows = await self.sql.fetch(f"SELECT * FROM candles_{name} ORDER BY symbol, start")
        return [tuple(row) for row in rows]

    async def advance(self) -> None:
        async with locked(self.session) as connection:
            assert connection is not None
            await self.rollups.advance(connection)

    async def store_anew_trades(self) -> list[TradeTick]:
        """Return what a store finds that remembers nothing."""
        anew = TimescaleStore(self.session, None if self.hypertables else Partitions(self.session))
        return await scan(anew, TradeTick)


@asynccontextmanager
async def open_kept(database_url: str) -> AsyncIterator[Kept]:
    """Open a store that nobody looks after."""
    sql = await asyncpg.connect(database_url)
    async with open_session(database_url, connections=4, connect_s=10, limit_s=60) as session:
        yield Kept(session, sql, hypertables=await has_hypertables(sql))
    await sql.close()
