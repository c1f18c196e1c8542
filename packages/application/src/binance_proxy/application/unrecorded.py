"""When trades were not recorded at all, so that no id tells what is missing."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing

from msgspec import Struct

from binance_proxy.application.ends import END_OF_TIME, newest, oldest
from binance_proxy.application.ledger import read_gaps, read_runs
from binance_proxy.application.ports import MarketStore
from binance_proxy.domain.candle import Timeframe
from binance_proxy.domain.instrument import Instrument, Stream
from binance_proxy.domain.ledger import Recorded, Unrecorded, ids_of, is_numbered
from binance_proxy.domain.sequence import ANOTHER_RUN, is_another_run
from binance_proxy.domain.tick import TradeTick

ReadRuns = Callable[[MarketStore, Instrument, int, int], Awaitable[Sequence[Recorded]]]


class Part(Struct, frozen=True, kw_only=True):
    """A part of a range that is answered: of several parts each stretch belongs to the one it ends in."""

    start: int | None
    """Of the range, in ns; `None` if only what follows on its first tick is of interest."""
    end: int
    """Behind the range, in ns."""
    after: int | None = None
    """The last moment of the part before; `None` if there is none."""
    until: int | None = None
    """The last moment of this part; `None` if it ends with the range."""
    now: int
    """In ns. Behind it nothing can have been recorded."""
    goes_on: bool
    """Whether the instrument is being recorded: what is behind its newest tick is still to come then."""


async def trade_runs(store: MarketStore, instrument: Instrument, start: int, end: int) -> Sequence[Recorded]:
    """Return what is stored of the trades of a range, each run of a simulated venue for itself."""
    return await read_runs(store, instrument, Stream.TRADES, start, end)


def runs_of(trades: Sequence[TradeTick]) -> Sequence[Recorded]:
    """Return the runs of trades in the order of their times, likewise."""
    if not trades:
        return []
    found, begun = [], 0
    (first_id, _), (_, last_id) = ids_of(trades[0]), ids_of(trades[-1])
    if last_id - first_id > ANOTHER_RUN:  # else there is no room for another
        for at in range(1, len(trades)):
            before, one = trades[at - 1], trades[at]
            if is_another_run(one.instrument.venue, ids_of(before)[1], ids_of(one)[0]):
                found.append(_recorded(trades[begun], before))
                begun = at
    return [*found, _recorded(trades[begun], trades[-1])]


def _recorded(first: TradeTick, last: TradeTick) -> Recorded:
    return Recorded(ids_of(first)[0], first.ts_event, ids_of(last)[1], last.ts_event)


async def unrecorded_between(
    store: MarketStore,
    instrument: Instrument,
    part: Part,
    runs: Sequence[Recorded],
    before: Recorded | None,
    *,
    by_candles: bool = False,
) -> Sequence[Unrecorded]:
    """Return when nothing was recorded in a part of a range, oldest first.

    That is before the very first tick, between two runs of a venue whose ids do not go on from one to the
    other, and behind the last tick of what is not being recorded.

    Args:
        store: Holds the trades.
        instrument: Whose they are.
        part: Which part.
        runs: What is stored of it.
        before: What is stored just before it; `None` if nothing is.
        by_candles: What a store has candles of was recorded, though it may have dropped the trades.

    Raises:
        StoreUnavailable: The store is away.
    """
    found: list[Unrecorded] = []

    def add(start: int, end: int) -> None:
        is_here = (part.after is None or end > part.after) and (part.until is None or end <= part.until)
        if start < end and is_here:
            found.append(Unrecorded(start, end))

    def lacks(first_id: int) -> bool:
        if reached is None:
            return part.start is not None
        return is_another_run(instrument.venue, reached, first_id)

    reached = None if before is None else before.last_id
    at = max(part.start or 0, 0 if before is None else before.end)
    for run in runs:
        if lacks(run.first_id):
            if reached is None and by_candles:
                add(at, await _first_candle(store, instrument, run.start))
            else:
                add(at, run.start)
        reached, at = run.last_id, run.end
    if part.until is None:
        following = None
        if part.end < END_OF_TIME:
            following = await oldest(store, TradeTick, instrument, part.end)
        if following is not None:
            if lacks(ids_of(following)[0]):
                add(at, part.end)
        elif not part.goes_on or (reached is None and part.start is not None):
            add(at, min(part.end, part.now))
    if not is_numbered(instrument, Stream.TRADES):
        for one in await _silences(store, instrument, part):
            add(one.start, one.end)
    return sorted(found, key=lambda one: one.start)


async def read_unrecorded(
    store: MarketStore, instrument: Instrument, part: Part, read: ReadRuns = trade_runs
) -> Sequence[Unrecorded]:
    """Return when nothing was recorded in a part of a range of candles, or of sums. See above."""
    first = (part.start or 0) if part.after is None else part.after + 1
    runs = await read(store, instrument, first, part.end if part.until is None else part.until + 1)
    last = await newest(store, TradeTick, instrument, first) if first else None
    before = None if last is None else _recorded(last, last)
    return await unrecorded_between(store, instrument, part, runs, before, by_candles=True)


async def _first_candle(store: MarketStore, instrument: Instrument, before: int) -> int:
    """Return since when there are candles, at most that time: trades may have been dropped."""
    days = await store.candles(instrument, Timeframe("1d"), 0, before)
    return min(days[0].start, before) if days and days[0].end <= before else before


async def _silences(store: MarketStore, instrument: Instrument, part: Part) -> Sequence[Unrecorded]:
    """Return when the book was not recorded and no trade was either, of trades without numbers of their own.

    Its updates are numbered by us: a hole in them is a link that was lost, or the time between two runs.
    """
    found, start = [], part.start or 0
    for gap in await read_gaps(store, instrument, start, part.end, missing_only=True):
        if gap.stream is not Stream.ORDERBOOK:
            continue
        async with aclosing(store.scan(TradeTick, instrument, gap.start + 1, gap.end)) as trades:
            if await anext(trades, None) is None:
                found.append(Unrecorded(max(gap.start, start), min(gap.end, part.end)))
    return found
