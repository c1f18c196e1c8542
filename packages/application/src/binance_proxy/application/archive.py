"""Move closed days out of a database into an archive, so that retention may drop them."""

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import cast

from msgspec import Struct

from binance_proxy.application.ends import END_OF_TIME
from binance_proxy.application.ports import (
    Archive,
    ArchivedDay,
    ClosedDays,
    HeldDay,
    MarketStore,
    StoredTick,
    StoreRejected,
)
from binance_proxy.application.trade_columns import TradeColumns
from binance_proxy.domain.candle import DAY_NS
from binance_proxy.domain.gap import Gap
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, TradeTick

log = logging.getLogger(__name__)


class Refused(Struct, frozen=True):
    """A day that could not be archived, and stays where it is."""

    held: HeldDay
    why: str


class ArchiveReport(Struct):
    """What a run of `Archiving` did."""

    days: int = 0
    """How many are to be archived; each is one kind of tick of one instrument."""
    rows: int = 0
    """How many ticks they are."""
    rows_done: int = 0
    archived: list[ArchivedDay] = []
    refused: list[Refused] = []
    gaps_refused: dict[str, str] = {}
    """Why, by the name of each instrument whose gaps could not be copied."""
    lost: list[HeldDay] = []
    """Days that were dropped because an archive had them, and that are not in this one."""
    now: HeldDay | None = None
    """What is being archived."""


class Archiving:
    """Copies each day that is over from a store into an archive, and tells the store what is there for good.

    It can be stopped at any moment and run again: a day is in the archive as a whole or as it was before,
    and is told to the store only after it was read back.
    """

    def __init__(self, store: MarketStore, closed: ClosedDays, archive: Archive, keeper: MarketStore) -> None:
        """Take the store, what tells its days, and the archive with what its gaps are appended to."""
        self._store = store
        self._closed = closed
        self._archive = archive
        self._keeper = keeper

    async def run(
        self,
        before: int,
        on_progress: Callable[[ArchiveReport], None] = lambda _: None,
        *,
        only: Callable[[HeldDay], bool] = lambda _: True,
    ) -> ArchiveReport:
        """Archive the days before a day, counted from 1970 in UTC; a day that is refused is left out.

        Raises:
            StoreUnavailable: The store or the archive is away. What was archived so far stays.
            StoreFull: There is no room in the archive. What was archived so far stays.
            StoreRejected: Another run is at it.
        """
        report = ArchiveReport()
        async with self._closed.alone():
            there = await self._there()
            if there is not None:
                report.lost = [one for one in await self._closed.dropped(there) if only(one)]
            held = [one for one in await self._closed.unarchived(before, there) if only(one)]
            report.days, report.rows = len(held), sum(one.rows for one in held)
            # First of all, as a run that is killed behind the last day finds nothing more to do.
            await self._keep_gaps({day.instrument.name: day.instrument for day in held}, report)
            for day in held:
                report.now = day
                on_progress(report)
                try:
                    archived = await self._keep(day, report, on_progress)
                except StoreRejected as error:
                    log.warning("%s of %s stay in the database: %s", _name(day), day.instrument.name, error)
                    report.refused.append(Refused(day, str(error)))
                    continue
                await self._closed.archived(day, archived.checksum)
                report.archived.append(archived)
            report.now = None
            on_progress(report)
        return report

    async def _there(self) -> Sequence[ArchivedDay] | None:
        """Return what the archive has; `None` if a damaged day keeps that from being told."""
        try:
            return await self._archive.days()
        except StoreRejected as error:
            log.warning("what was archived before is not compared with the archive: %s", error)
            return None

    async def _keep(
        self, day: HeldDay, report: ArchiveReport, on_progress: Callable[[ArchiveReport], None]
    ) -> ArchivedDay:
        """Copy a day, with what has come since it was counted: that makes it unarchived again."""
        read = 0

        async def ticks() -> AsyncGenerator[StoredTick | TradeColumns]:
            nonlocal read
            told = 0
            async with aclosing(self._read(day)) as found:
                async for one in found:
                    yield one
                    count = len(one) if isinstance(one, TradeColumns) else 1
                    read += count
                    report.rows_done += count
                    if read - told >= 50_000:
                        told = read
                        on_progress(report)

        archived = await self._archive.keep(day, ticks())
        if read < day.rows or archived.rows < day.rows:
            raise StoreRejected(
                f"{day.rows:,} ticks were counted, {read:,} read and {archived.rows:,} archived: the day is"
                " being changed meanwhile; run it again"
            )
        return archived

    def _read(self, day: HeldDay) -> AsyncGenerator[StoredTick | TradeColumns]:
        if day.kind is TradeTick:
            return self._closed.trades(day)
        kind = cast("type[QuoteTick]", day.kind)  # or snapshots, which no type variable says
        start = day.day * DAY_NS
        return self._store.scan(kind, day.instrument, start, start + DAY_NS)

    async def _keep_gaps(self, instruments: dict[str, Instrument], report: ArchiveReport) -> None:
        """Copy the gaps too, so that an archive tells its own holes. They stay in the database as well."""
        for instrument in instruments.values():
            async with aclosing(self._store.scan(Gap, instrument, 0, END_OF_TIME)) as found:
                gaps = [gap async for gap in found]
            if not gaps:
                continue
            try:
                await self._keeper.append(gaps)
            except StoreRejected as error:
                log.warning("the gaps of %s stay in the database: %s", instrument.name, error)
                report.gaps_refused[instrument.name] = str(error)


KIND_NAMES = {TradeTick: "trades", QuoteTick: "updates", BookSnapshot: "snapshots"}


def _name(day: HeldDay) -> str:
    return KIND_NAMES[day.kind]
