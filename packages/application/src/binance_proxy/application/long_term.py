"""Archive and database, read as one."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from msgspec import structs

from binance_proxy.application.candles import candles_of_trades
from binance_proxy.application.ends import newest, oldest
from binance_proxy.application.ports import (
    Archive,
    ArchivedDay,
    MarketStore,
    Stored,
    StoredEvent,
    StoreRejected,
)
from binance_proxy.domain.candle import DAY_NS, Candle, Timeframe
from binance_proxy.domain.gap import FORWARD, Gap
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import TradeTick


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
        order: Callable[[Any], tuple[Any, ...]] = _gap_order if kind is Gap else _tick_order
        sign = -1 if newest_first else 1

        def archived(first: int, behind: int) -> AsyncGenerator[Stored]:
            found = self._archive.scan(kind, instrument, first, behind, newest_first=newest_first)
            return _in_units(instrument, found)

        recent = self._recent.scan(kind, instrument, start, end, newest_first=newest_first)
        async with aclosing(recent):
            head = await anext(recent, None)
            while start < end:
                first, behind = _stretch(head, start, end, newest_first=newest_first)
                last: Stored | None = None
                async with aclosing(archived(first, behind)) as archive:
                    other = await anext(archive, None)
                    while True:
                        here = head if head is not None and first <= head.ts_event < behind else None
                        if here is None and other is None:
                            break
                        side = _which(here, other, order, sign)
                        if here is not None and side <= 0:
                            last = here if side or other is None else _newer(here, other)
                            head = await anext(recent, None)
                        else:
                            last = other
                        if side >= 0:
                            other = await anext(archive, None)
                        assert last is not None  # noqa: S101  one of the two was there
                        yield last
                # Meanwhile the database may have dropped the rest of a day, and that is archived by now.
                if last is not None:
                    rest = (last.ts_event, behind) if sign > 0 else (first, last.ts_event + 1)
                    async with aclosing(archived(*rest)) as left:
                        async for one in left:
                            if (order(one) > order(last)) if sign > 0 else (order(one) < order(last)):
                                yield one
                start, end = (behind, end) if sign > 0 else (start, first)

    async def candles(
        self, instrument: Instrument, timeframe: Timeframe, start: int, end: int
    ) -> Sequence[Candle]:
        """Return the candles of all kept trades, oldest first, whose period starts in ``[start, end)``.

        The database keeps what it has summed up when it drops trades, down to a minute. Candles of an
        archived day are made of its trades, which takes longer, if the timeframe is in seconds, or if the day
        in the database has another number of trades or another volume than in the archive, or late trades.

        Raises:
            StoreUnavailable: The database or the archive is away.
            StoreRejected: A file of the archive is damaged or foreign, or in other units than were asked for.
        """
        candles = {one.start: one for one in await self._recent.candles(instrument, timeframe, start, end)}
        parts = await self._unknown(instrument, timeframe, start, end)
        for first, behind in [*parts, *_beside(parts, candles)]:
            for at in [at for at in candles if first <= at < behind]:
                del candles[at]
            for one in await candles_of_trades(self, instrument, timeframe, first, behind):
                candles[one.start] = one
        return [candles[at] for at in sorted(candles)]

    async def _unknown(
        self, instrument: Instrument, timeframe: Timeframe, start: int, end: int
    ) -> Sequence[tuple[int, int]]:
        """Return the parts of a range, as times, whose candles the database cannot give."""
        # The day before is looked at too: whether the first candle is complete, its last trade says.
        from_day = timeframe.period(start)[0] - 1
        to_day = timeframe.period(end - 1)[1] if end > start else start
        archived = await self._days.days(instrument, TradeTick, start=from_day, end=to_day)
        if not archived:
            return []
        known = await self._recent.candles(
            instrument, Timeframe("1d"), archived[0].day * DAY_NS, (archived[-1].day + 1) * DAY_NS
        )
        sums = {one.start: (one.trades, one.volume) for one in known}
        overtaken = await self._overtaken(instrument, archived)
        parts: list[tuple[int, int]] = []
        for day in archived:
            at = day.day * DAY_NS
            is_known = sums.get(at) == (day.matches, day.volume) and day.day not in overtaken
            if (is_known or not day.matches) and not timeframe.name.endswith("s"):
                continue
            first = max(timeframe.period(at)[0], start)
            behind = min(timeframe.period(at + DAY_NS - 1)[1], end)
            if parts and parts[-1][1] >= first:
                first = parts.pop()[0]
            parts.append((first, behind))
        return parts

    async def _overtaken(self, instrument: Instrument, archived: Sequence[ArchivedDay]) -> set[int]:
        """Return the archived days for which the database has trades that its own sums may not contain.

        They are late ones, come after the day was dropped. A day that it has whole begins and ends as the
        archived one does.
        """
        found = set()
        by_day = {day.day: day for day in archived}
        at, behind = archived[0].day * DAY_NS, (archived[-1].day + 1) * DAY_NS
        while (first := await oldest(self._recent, TradeTick, instrument, at)) and first.ts_event < behind:
            number = first.ts_event // DAY_NS
            at = (number + 1) * DAY_NS
            if day := by_day.get(number):
                last = await newest(self._recent, TradeTick, instrument, at)
                if last is None or (first.ts_event, last.ts_event) != (day.first, day.last):
                    found.add(number)
        return found


def _beside(parts: Sequence[tuple[int, int]], candles: Mapping[int, Candle]) -> Sequence[tuple[int, int]]:
    """Return the periods of the candles next to each part: whether they are complete, its trades say too."""
    found = []
    for first, behind in parts:
        before = [at for at in candles if at < first]
        after = [at for at in candles if at >= behind]
        found += [(candles[at].start, candles[at].end) for at in (*before[-1:], *after[:1])]
    return found


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


def _stretch(head: Stored | None, start: int, end: int, *, newest_first: bool) -> tuple[int, int]:
    """Return the next part of a range: up to the end of the day that the database goes on with.

    What it has dropped before that day is archived by now, so that each part of an archive is looked at only
    once the database has told what it has.
    """
    if head is None:
        return start, end
    day = head.ts_event - head.ts_event % DAY_NS
    return (max(start, day), end) if newest_first else (start, min(end, day + DAY_NS))


def _which(
    here: Stored | None, other: Stored | None, order: Callable[[Any], tuple[Any, ...]], sign: int
) -> int:
    """Say which comes first: -1 the database's, 1 the archive's, 0 if they are the same."""
    if here is None or other is None:
        return 1 if here is None else -1
    at, there = order(here), order(other)
    return 0 if at == there else sign if at > there else -sign


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
