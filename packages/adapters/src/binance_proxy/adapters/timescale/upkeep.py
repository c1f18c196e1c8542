"""What has to be done beside reading and writing, for as long as a bridge runs."""

import asyncio
import logging

from binance_proxy.adapters.timescale.partitions import DAY_NS, Partitions
from binance_proxy.adapters.timescale.policies import ensure_policies
from binance_proxy.adapters.timescale.retention import Retention
from binance_proxy.adapters.timescale.rollups import ContinuousAggregates, RolledTables, locked, refresh
from binance_proxy.adapters.timescale.rows import TABLES
from binance_proxy.adapters.timescale.session import Session
from binance_proxy.adapters.timescale.settings import Upkeep
from binance_proxy.application.ports import StoreError

log = logging.getLogger(__name__)

ADVANCE_S = 60.0
RETENTION_S = 600.0
WORTH_SAYING = 3
"""Failures in a row; one or two come of a policy of TimescaleDB that is at the same sums."""
FINISH_S = 10.0
"""How long a stop waits for candles to be summed up; the rest is done by the next run."""


class Caretaker:
    """Sums up candles, makes partitions ahead, and drops what is too old."""

    def __init__(self, session: Session, settings: Upkeep, partitions: Partitions | None) -> None:
        """Look after the tables of a session's database; without ``partitions`` they are hypertables."""
        self._session = session
        self._settings = settings
        self._partitions = partitions
        self._rollups = RolledTables() if partitions else ContinuousAggregates()
        self._retention = Retention(self._rollups, hypertables=partitions is None)
        books = settings.keep_books_days
        self._kept_days = {"trades": settings.keep_trades_days, "quotes": books, "book_snapshots": books}
        self._advance_at = self._drop_at = 0.0  # by the loop's clock
        self._failures = 0  # in a row

    async def run(self) -> None:
        """Work until cancelled. What goes wrong is logged, and tried again."""
        while True:
            try:
                await refresh(self._session, self._rollups)
                await self._advance()
                await self._drop_old()
                self._failures = 0
            except StoreError as error:
                self._failures += 1
                if self._failures == WORTH_SAYING:
                    log.warning("candles and old ticks are looked after later: %s", error)
            await asyncio.sleep(self._settings.pause_s)

    async def finish(self) -> None:
        """Sum up what is stale, for a while; the next run does the rest."""
        try:
            async with asyncio.timeout(FINISH_S):
                await refresh(self._session, self._rollups)
        except (StoreError, TimeoutError) as error:
            log.info("some candles will be summed up later: %s", error or "there are many")

    async def _advance(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._advance_at:
            return
        async with locked(self._session) as connection:
            if connection is None:
                return  # whoever has the lock does it
            if self._partitions is None:
                await ensure_policies(connection, self._settings, self._kept_days)
            await self._rollups.advance(connection)
        if self._partitions is not None:
            today = await self._today()
            days = range(today, today + self._settings.partitions_ahead + 1)
            for table in TABLES.values():
                await self._partitions.ensure(table.name, days)
        self._advance_at = now + ADVANCE_S

    async def _today(self) -> int:
        """Return the day that it is by the server's clock, counted from 1970 in UTC."""
        async with self._session.transaction() as connection:
            now_us: int = await connection.fetchval("SELECT now()")
        return now_us * 1000 // DAY_NS

    async def _drop_old(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._drop_at or not any(self._kept_days.values()):
            return
        self._drop_at = now + ADVANCE_S  # a day that somebody reads is not asked for again and again
        async with locked(self._session) as connection:
            if connection is None:
                return
            if self._partitions is None:  # another bridge may have set windows that reach further back
                await ensure_policies(connection, self._settings, self._kept_days)
            for table, days in self._kept_days.items():
                if days:
                    await self._retention.drop(connection, table, days)
        if self._partitions is not None:
            self._partitions.forget()
        self._drop_at = now + RETENTION_S
