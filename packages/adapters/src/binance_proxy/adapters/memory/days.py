"""Which days of a store in memory an archive has."""

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from binance_proxy.adapters.memory.registry import MemoryRegistry
from binance_proxy.application.ports import ArchivedDay, HeldDay, StoredEvent, StoreRejected
from binance_proxy.application.trade_columns import TradeColumns, columns_of
from binance_proxy.domain.candle import DAY_NS
from binance_proxy.domain.gap import Gap
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, TradeTick

KINDS = (TradeTick, QuoteTick, BookSnapshot)


class MemoryDays:
    """A `ClosedDays` of events in memory, of which none is ever dropped."""

    def __init__(self, registry: MemoryRegistry, kept: Mapping[tuple[Any, ...], StoredEvent]) -> None:
        """Count what is in ``kept``, which may grow."""
        self._registry = registry
        self._kept = kept
        self._archived: dict[tuple[type, str, int], tuple[HeldDay, str]] = {}
        self._is_taken = False

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Be the only one who archives the store until the context is left.

        Raises:
            StoreRejected: Another run archives it.
        """
        if self._is_taken:
            raise StoreRejected(
                "Another archive run is under way on this store: wait for its end, or stop it."
            )
        self._is_taken = True
        try:
            yield
        finally:
            self._is_taken = False

    async def unarchived(self, before: int, there: Sequence[ArchivedDay] | None = None) -> Sequence[HeldDay]:
        """Return the days before a day of which a tick may not be archived, oldest first."""
        if there is not None:
            sound = {_place(day): day.checksum for day in there}
            for key in [key for key, mark in self._archived.items() if sound.get(key) != mark[1]]:
                del self._archived[key]
        counts: Counter[tuple[type, str, int]] = Counter()
        instruments: dict[str, Instrument] = {}
        for event in self._kept.values():
            day = event.ts_event // DAY_NS
            if not isinstance(event, Gap) and day < before:
                counts[type(event), event.instrument.name, day] += 1
                instruments[event.instrument.name] = event.instrument
        held = [
            HeldDay(kind=kind, instrument=instruments[name], day=day, rows=rows)
            for (kind, name, day), rows in counts.items()
            if (kind, name, day) not in self._archived or self._archived[kind, name, day][0].rows != rows
        ]
        return sorted(held, key=lambda one: (one.day, KINDS.index(one.kind), one.instrument.name))

    async def trades(self, held: HeldDay) -> AsyncGenerator[TradeColumns]:
        """Yield the trades of a day by time and then by id, many at a time."""
        found = [
            event
            for event in self._kept.values()
            if isinstance(event, TradeTick)
            and (event.instrument.name, event.ts_event // DAY_NS) == (held.instrument.name, held.day)
        ]
        found.sort(key=lambda one: (one.ts_event, one.trade_id))
        for at in range(0, len(found), 1_000):
            yield columns_of(found[at : at + 1_000])

    async def archived(self, held: HeldDay, checksum: str) -> None:
        """Learn that an archive has these rows of a day.

        Raises:
            StoreRejected: The store holds nothing of such an instrument.
        """
        name = held.instrument.name
        if name not in {one.name for one in await self._registry.instruments()}:
            raise StoreRejected(f"{name} is not in this store, and so is no day of it.")
        self._archived[_place(held)] = held, checksum

    async def dropped(self, there: Sequence[ArchivedDay]) -> Sequence[HeldDay]:
        """Return nothing: a store in memory drops no day."""
        return []


def _place(day: HeldDay) -> tuple[type, str, int]:
    return day.kind, day.instrument.name, day.day
