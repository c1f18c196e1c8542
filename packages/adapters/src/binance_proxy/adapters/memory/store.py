"""A store in memory: plain and slow, the model that others are compared with."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from msgspec import structs

from binance_proxy.adapters.memory.days import MemoryDays
from binance_proxy.adapters.memory.registry import MemoryRegistry
from binance_proxy.application.ports import EventsRejected, Stored, StoredEvent
from binance_proxy.domain.candle import Candle, CandleFold, Timeframe
from binance_proxy.domain.gap import FORWARD, Gap
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import TradeTick


class MemoryStore:
    """A `MarketStore` that lasts as long as the object."""

    def __init__(self, registry: MemoryRegistry | None = None) -> None:
        self.registry = registry or MemoryRegistry()
        """Tracked pairs, and the instruments of everything that is kept."""
        self._kept: dict[tuple[Any, ...], StoredEvent] = {}
        self.closed_days = MemoryDays(self.registry, self._kept)
        """Which of its days an archive has."""

    async def append(self, events: Sequence[StoredEvent]) -> int:
        """Keep the events, each once, however often it is given; return how many were new.

        Raises:
            EventsRejected: A time is finer than the instrument's resolution, or an event is in other units
                than its instrument is recorded in.
        """
        accepted = [await self._as_recorded(event) for event in events]
        before = len(self._kept)
        for event in accepted:
            kept = self._kept.setdefault(_key(event), event)
            if isinstance(event, Gap) and isinstance(kept, Gap):
                state = max(event.state, kept.state, key=FORWARD.index)
                last_id = min(event.last_id, kept.last_id)
                self._kept[_key(event)] = structs.replace(kept, state=state, last_id=last_id)
        return len(self._kept) - before

    async def scan(
        self, kind: type[Stored], instrument: Instrument, start: int, end: int, *, newest_first: bool = False
    ) -> AsyncGenerator[Stored]:
        """Yield what is kept with ``start <= ts_event < end``, ordered by ``ts_event`` and then by id."""
        found = [
            event
            for event in self._kept.values()
            if type(event) is kind and start <= event.ts_event < end and _same(event.instrument, instrument)
        ]
        for event in sorted(found, key=_order, reverse=newest_first):
            yield event

    async def candles(
        self, instrument: Instrument, timeframe: Timeframe, start: int, end: int
    ) -> Sequence[Candle]:
        """Return the candles of all kept trades, oldest first, whose period starts in ``[start, end)``."""
        trades = [
            event
            for event in self._kept.values()
            if isinstance(event, TradeTick) and _same(event.instrument, instrument)
        ]
        if not trades:
            return []
        fold = CandleFold(trades[0].instrument, timeframe)
        candles = [candle for trade in sorted(trades, key=_order) for candle in fold.feed(trade)]
        newest = fold.current()
        if newest is not None:
            candles.append(newest)
        return [candle for candle in candles if start <= candle.start < end]

    async def _as_recorded(self, event: StoredEvent) -> StoredEvent:
        recorded = await self.registry.register(event.instrument)
        if event.instrument.units != recorded.units:
            raise EventsRejected(
                f"{recorded.name} is recorded with other precisions or another time resolution: give its"
                " events in the units that `register` returned."
            )
        times = (event.ts_event, event.start, event.end) if isinstance(event, Gap) else (event.ts_event,)
        for ts in times:
            if ts % recorded.time_resolution_ns:
                raise EventsRejected(
                    f"{recorded.name}: the time {ts} is no whole multiple of the instrument's"
                    f" {recorded.time_resolution_ns} ns."
                )
        return structs.replace(event, instrument=recorded)


def _key(event: StoredEvent) -> tuple[Any, ...]:
    """Return what tells the event from every other one."""
    instrument = event.instrument
    where = (type(event), instrument.venue, instrument.market, instrument.symbol)
    if isinstance(event, Gap):
        return (*where, event.stream, event.first_id)
    return (*where, event.ts_event, _id(event))


def _order(event: StoredEvent) -> tuple[int, int, str]:
    return event.ts_event, _id(event), event.stream if isinstance(event, Gap) else ""


def _id(event: StoredEvent) -> int:
    if isinstance(event, TradeTick):
        return event.trade_id
    return event.first_id if isinstance(event, Gap) else event.last_update_id


def _same(one: Instrument, other: Instrument) -> bool:
    return (one.venue, one.market, one.symbol) == (other.venue, other.market, other.symbol)
