"""What is stored of an instrument, day by day."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TypeVar

from msgspec import Struct

from binance_proxy.application.covered import Covered, IdDay
from binance_proxy.application.ends import END_OF_TIME
from binance_proxy.application.ports import ArchivedDay, MarketStore, StoredTick
from binance_proxy.domain.candle import DAY_NS
from binance_proxy.domain.instrument import Instrument, Stream
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, TradeTick

Numbered = TypeVar("Numbered", TradeTick, QuoteTick)

EVERY = 50_000
"""Ticks between two words about the progress."""


class DayStats(Struct, gc=False, kw_only=True):
    """One day of one instrument."""

    instrument: Instrument
    day: int
    """Days since 1970, UTC; a tick lies on the day of its ``ts_event``."""
    trades: int = 0
    quotes: int = 0
    snapshots: int = 0
    first: int | None = None
    """``ts_event`` of the first tick, in ns; `None` if the day lies in a hole."""
    last: int | None = None
    trade_ids: IdDay | None = None
    """`None` if there are no trades, or the venue's ids do not rise by one."""
    update_ids: IdDay | None = None
    size_bytes: int | None = None
    """In the archive, if it has exactly these ticks; else `None`."""

    @property
    def share(self) -> float | None:
        """The share of ids that are there, of trades or of updates, whichever is lower."""
        shares = [ids.share for ids in (self.trade_ids, self.update_ids) if ids is not None]
        return min((share for share in shares if share is not None), default=None)

    @property
    def holes(self) -> int:
        """Ranges of ids that are missing, of trades and of updates."""
        return sum(ids.holes for ids in (self.trade_ids, self.update_ids) if ids is not None)


async def stats(
    store: MarketStore,
    instrument: Instrument,
    start: int,
    end: int,
    *,
    archived: Sequence[ArchivedDay] = (),
    on_progress: Callable[[int, int], None] = lambda _, __: None,
) -> Sequence[DayStats]:
    """Read everything with ``start <= ts_event < end``, and return the days that have or miss ticks.

    Memory grows with the days and the holes, not with the ticks.

    Args:
        store: What to read.
        instrument: Of which instrument.
        start: In ns.
        end: In ns.
        archived: Days of which the size is known.
        on_progress: Is given the ticks that were read, and the ``ts_event`` that was reached.

    Raises:
        StoreUnavailable: The store is away.
    """
    days: dict[int, DayStats] = {}
    read = 0

    def day_of(day: int) -> DayStats:
        return days.setdefault(day, DayStats(instrument=instrument, day=day))

    def count(tick: StoredTick) -> DayStats:
        nonlocal read
        read += 1
        if read % EVERY == 0:
            on_progress(read, tick.ts_event)
        one = day_of(tick.ts_event // DAY_NS)
        one.first = tick.ts_event if one.first is None else min(one.first, tick.ts_event)
        one.last = tick.ts_event if one.last is None else max(one.last, tick.ts_event)
        return one

    trades = Covered(instrument, Stream.TRADES, start, end)
    async with aclosing(with_ends(store, TradeTick, instrument, start, end, trades)) as ticks:
        async for trade in ticks:
            count(trade).trades += 1
    updates = Covered(instrument, Stream.ORDERBOOK, start, end)
    async with aclosing(with_ends(store, QuoteTick, instrument, start, end, updates)) as changes:
        async for quote in changes:
            count(quote).quotes += 1
    async with aclosing(store.scan(BookSnapshot, instrument, start, end)) as snapshots:
        async for snapshot in snapshots:
            count(snapshot).snapshots += 1
    for day, ids in trades.finish().items():
        day_of(day).trade_ids = ids
    for day, ids in updates.finish().items():
        day_of(day).update_ids = ids
    for one in days.values():
        one.size_bytes = _size(one, archived)
    on_progress(read, end)
    return [days[day] for day in sorted(days)]


async def with_ends(
    store: MarketStore,
    kind: type[Numbered],
    instrument: Instrument,
    start: int,
    end: int,
    covered: Covered,
) -> AsyncGenerator[Numbered]:
    """Yield the ticks of a range, and have their ids counted with those right before and right behind it."""
    async with aclosing(store.scan(kind, instrument, 0, start, newest_first=True)) as before:
        async for tick in before:
            covered.take(tick)
            break
    async with aclosing(store.scan(kind, instrument, start, end)) as within:
        async for tick in within:
            covered.take(tick)
            yield tick
    async with aclosing(store.scan(kind, instrument, end, END_OF_TIME)) as behind:
        async for tick in behind:
            covered.take(tick)
            break


def _size(one: DayStats, archived: Sequence[ArchivedDay]) -> int | None:
    rows = {TradeTick: one.trades, QuoteTick: one.quotes, BookSnapshot: one.snapshots}
    known = [each for each in archived if each.day == one.day and each.instrument.name == one.instrument.name]
    if {each.kind: each.rows for each in known if each.rows} != {k: n for k, n in rows.items() if n}:
        return None
    return sum(each.size_bytes for each in known) if known else None
