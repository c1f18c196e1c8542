"""Archive and database, read as one."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from msgspec import structs

from binance_proxy.application.candles import candles_of_trades
from binance_proxy.application.ports import Archive, MarketStore, Stored, StoredEvent, StoreRejected
from binance_proxy.domain.candle import SECOND_NS, Candle, Timeframe
from binance_proxy.domain.gap import FORWARD, Gap
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import TradeTick

DAY_NS = 86_400 * SECOND_NS


class LongTermStore:
    """A `MarketStore` that answers from a database and an archive at once, and writes to the database.

    A tick that both have is given once. What the database has dropped comes from the archive, and what is
    not archived yet comes from the database: a reader sees no seam, and needs not know where it lies.
    """

    def __init__(self, recent: MarketStore, archive: MarketStore, days: Archive) -> None:
        """Take the database, and the archive by what it is read with and what tells its days."""
        self._recent = recent
        self._archive = archive
        self._days = days

    async def append(self, events: Sequence[StoredEvent]) -> int:
        """Keep the events in the database, each once, however often it is given; return how many were new.

        Raises what the database raises.
        """
        return await self._recent.append(events)

    async def scan(
        self, kind: type[Stored], instrument: Instrument, start: int, end: int, *, newest_first: bool = False
    ) -> AsyncGenerator[Stored]:
        """Yield what is kept with ``start <= ts_event < end``, ordered by ``ts_event`` and then by id.

        Raises:
            StoreUnavailable: The database or the archive is away.
            StoreRejected: A file of the archive is damaged or foreign, or in other units than were asked for.
        """
        order = _gap_order if kind is Gap else _tick_order
        recent = self._recent.scan(kind, instrument, start, end, newest_first=newest_first)
        archive = _in_units(
            instrument, self._archive.scan(kind, instrument, start, end, newest_first=newest_first)
        )
        async with aclosing(recent), aclosing(archive):
            async for one in _merged(recent, archive, order, newest_first=newest_first):
                yield one

    async def candles(
        self, instrument: Instrument, timeframe: Timeframe, start: int, end: int
    ) -> Sequence[Candle]:
        """Return the candles of all kept trades, oldest first, whose period starts in ``[start, end)``.

        The database keeps what it has summed up when it drops trades, down to a minute. Candles of an
        archived day are made of its trades, which takes longer, if the timeframe is in seconds, or if the day
        in the database has another number of trades or another volume than in the archive.

        Raises:
            StoreUnavailable: The database or the archive is away.
            StoreRejected: A file of the archive is damaged or foreign, or in other units than were asked for.
        """
        candles = {one.start: one for one in await self._recent.candles(instrument, timeframe, start, end)}
        for first, behind in await self._unknown(instrument, timeframe, start, end):
            for at in [at for at in candles if first <= at < behind]:
                del candles[at]
            for one in await candles_of_trades(self, instrument, timeframe, first, behind):
                candles[one.start] = one
        return [candles[at] for at in sorted(candles)]

    async def _unknown(
        self, instrument: Instrument, timeframe: Timeframe, start: int, end: int
    ) -> Sequence[tuple[int, int]]:
        """Return the parts of a range, as times, whose candles the database cannot give."""
        archived = [
            day
            for day in await self._days.days(instrument, TradeTick)
            if timeframe.period(day.day * DAY_NS)[0] < end and timeframe.period(day.last)[1] > start
        ]
        if not archived:
            return []
        first, behind = archived[0].day * DAY_NS, (archived[-1].day + 1) * DAY_NS
        known = await self._recent.candles(instrument, Timeframe("1d"), first, behind)
        sums = {one.start: (one.trades, one.volume) for one in known}
        parts: list[tuple[int, int]] = []
        for day in archived:
            at = day.day * DAY_NS
            if sums.get(at, (0, 0)) == (day.matches, day.volume) and not timeframe.name.endswith("s"):
                continue
            first = max(timeframe.period(at)[0], start)
            behind = min(timeframe.period(at + DAY_NS - 1)[1], end)
            if parts and parts[-1][1] >= first:
                first = parts.pop()[0]
            parts.append((first, behind))
        return parts


async def _in_units(instrument: Instrument, archive: AsyncGenerator[Stored]) -> AsyncGenerator[Stored]:
    """Pass on what is archived; refuse numbers that mean something else than those of the database."""
    known = None
    async with aclosing(archive):
        async for one in archive:
            if one.instrument is not known:
                known = one.instrument
                if known.units != instrument.units:
                    raise StoreRejected(
                        f"{known.name} is archived with other precisions or another time resolution than it"
                        " is recorded with: this archive belongs to another database, so set archive.url to"
                        " another place"
                    )
            yield one


async def _merged(
    recent: AsyncGenerator[Stored],
    archive: AsyncGenerator[Stored],
    order: Callable[[Any], tuple[Any, ...]],
    *,
    newest_first: bool,
) -> AsyncGenerator[Stored]:
    """Merge two streams in their order, what is in both once."""
    one, other = await anext(recent, None), await anext(archive, None)
    while one is not None and other is not None:
        at, behind = order(one), order(other)
        if at == behind:
            yield _newer(one, other)
            one, other = await anext(recent, None), await anext(archive, None)
        elif (at < behind) is not newest_first:
            yield one
            one = await anext(recent, None)
        else:
            yield other
            other = await anext(archive, None)
    for left, rest in ((one, recent), (other, archive)):
        if left is not None:
            yield left
            async for event in rest:
                yield event


def _tick_order(tick: Any) -> tuple[int, int]:  # noqa: ANN401  any kind of tick
    return tick.ts_event, tick.trade_id if isinstance(tick, TradeTick) else tick.last_update_id


def _gap_order(gap: Gap) -> tuple[int, int, str]:
    return gap.ts_event, gap.first_id, gap.stream


def _newer(recent: Stored, archived: Stored) -> Stored:
    """Return the one that knows more, of two that are the same: of a gap the state that has got further."""
    if isinstance(recent, Gap) and isinstance(archived, Gap):
        state = max(recent.state, archived.state, key=FORWARD.index)
        return structs.replace(recent, state=state, last_id=min(recent.last_id, archived.last_id))
    return recent
