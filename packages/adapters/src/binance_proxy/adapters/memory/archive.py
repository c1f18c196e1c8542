"""An archive in memory: plain, the model that others are compared with."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from hashlib import sha256
from typing import cast

from msgspec import structs

from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.application.ports import (
    ArchivedDay,
    AuditedDay,
    HeldDay,
    StoredTick,
    StoreRejected,
)
from binance_proxy.application.trade_columns import TradeColumns
from binance_proxy.domain.candle import DAY_NS
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, TradeTick

KINDS: tuple[type[StoredTick], ...] = (TradeTick, QuoteTick, BookSnapshot)


class MemoryArchive(MemoryStore):
    """An `Archive`, and the `MarketStore` of what is in it."""

    async def days(
        self,
        instrument: Instrument | None = None,
        kind: type[StoredTick] | None = None,
        *,
        start: int = 0,
        end: int = 2**63 - 1,
    ) -> Sequence[ArchivedDay]:
        """Return what is archived, of all or of one instrument and kind; by instrument, kind and day."""
        found = []
        for one in await self.registry.instruments():
            if instrument is None or one.name == instrument.name:
                for each in KINDS if kind is None else (kind,):
                    found += await self._days(one, each)
        return [day for day in found if start < (day.day + 1) * DAY_NS and day.day * DAY_NS < end]

    async def keep(self, held: HeldDay, ticks: AsyncGenerator[StoredTick | TradeColumns]) -> ArchivedDay:
        """Keep the ticks of a day, given in order, beside those that are there; return what is there now.

        Raises:
            EventsRejected: The instrument is archived in other units.
            StoreRejected: There is nothing to keep.
        """
        given: list[StoredTick] = []
        async with aclosing(ticks):
            async for part in ticks:
                given += part.trades() if isinstance(part, TradeColumns) else [part]
        await self.append(given)
        for day in await self.days(held.instrument, held.kind):
            if day.day == held.day:
                return day
        raise StoreRejected("there is nothing to keep of this day")

    async def audit(self) -> AsyncGenerator[AuditedDay]:
        """Tell everything, in which nothing can be wrong."""
        for day in await self.days():
            yield AuditedDay(path="memory", day=day, fault=None)

    async def _days(self, instrument: Instrument, kind: type[StoredTick]) -> list[ArchivedDay]:
        by_day: dict[int, list[StoredTick]] = {}
        any_kind = cast("type[TradeTick]", kind)
        async with aclosing(self.scan(any_kind, instrument, 0, 2**63 - 1)) as ticks:
            async for tick in ticks:
                by_day.setdefault(tick.ts_event // DAY_NS, []).append(tick)
        return [
            ArchivedDay(
                kind=kind,
                instrument=instrument,
                day=day,
                rows=len(found),
                first=found[0].ts_event,
                last=found[-1].ts_event,
                matches=sum(one.matches for one in _in_candles(found)),
                volume=sum(one.size for one in _in_candles(found)),
                checksum=sha256(repr([structs.astuple(one)[1:] for one in found]).encode()).hexdigest(),
                size_bytes=0,
            )
            for day, found in sorted(by_day.items())
        ]


def _in_candles(ticks: Sequence[StoredTick]) -> list[TradeTick]:
    return [one for one in ticks if isinstance(one, TradeTick) and not one.off_book]
