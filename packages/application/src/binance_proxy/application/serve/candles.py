"""Candles of a range, page by page."""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

from msgspec import Meta

from binance_proxy.application.ends import newest, oldest
from binance_proxy.application.ledger import read_gaps
from binance_proxy.application.ports import MarketStore
from binance_proxy.application.serve.asked import AskedRows, Fetch, limit_of, range_of, timeframe_of
from binance_proxy.application.serve.cursor import Place, cursor_of, place_of
from binance_proxy.application.serve.failures import WrongParams
from binance_proxy.application.serve.page import CandlesPage
from binance_proxy.application.serve.rows import candle_rows, holes_of
from binance_proxy.application.serve.sources import Sources, goes_on, question_of
from binance_proxy.application.serve.trades import range_to_fetch
from binance_proxy.application.serve.turns import made_in_turns
from binance_proxy.application.unrecorded import Part, read_unrecorded
from binance_proxy.domain.candle import DAY_NS, Candle, Timeframe
from binance_proxy.domain.instrument import Instrument, Stream
from binance_proxy.domain.ledger import Absent, absent
from binance_proxy.domain.tick import TradeTick

WIDEST = 16
"""So many times the periods of a page are asked of the store at once, where few of them have a trade."""


class AskedCandles(AskedRows, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """List candles whose period starts in a range, oldest first, the open one too; or the newest ones."""

    timeframe: Annotated[
        str, Meta(min_length=1, max_length=8, description="Such as 1s, 1m, 15m, 4h, 1d, 1w or 1mo")
    ]
    fetch: Fetch = False


class Found(NamedTuple):
    """Candles of a part of a range."""

    candles: Sequence[Candle]
    """Oldest first."""
    next: Place | None
    """Where the next part begins; `None` if there is none."""


async def list_candles(sources: Sources, asked: AskedCandles, deadline: int) -> CandlesPage:
    """Answer ``candles.list``."""
    limit, (start, end) = limit_of(asked), range_of(asked.start, asked.end)
    timeframe = timeframe_of(asked.timeframe)
    if asked.fetch and start is None:
        raise WrongParams("start", "is missing: `fetch` needs to know from when on")
    instrument = await sources.instrument(asked)
    question = question_of("candles.list", instrument, timeframe.name, start, end, asked.fetch)
    place = None if asked.cursor is None else place_of(asked.cursor, question)
    behind = timeframe.period(end - 1)[1] if asked.end is not None else end  # its last period reaches so far

    async def make() -> CandlesPage:
        as_of = sources.clock.now()
        fetch = None
        if asked.fetch and start is not None and place is None:
            fetch = range_to_fetch(max(timeframe.period(start)[0], 0), min(behind, as_of))
        caught = await sources.caught_up(instrument, behind, deadline, fetch)
        if start is None:
            candles = (await newest_candles(sources.store, instrument, timeframe, end, limit))[-limit:]
            found = Found(candles, None)
        else:
            found = await candles_from(sources.store, instrument, timeframe, start, end, limit, place)
        first = start if place is None else place.ts
        if first is None:
            first = found.candles[0].start if len(found.candles) == limit else 0
        until = None if found.next is None else found.next.ts
        holes = await missing_trades(sources.store, instrument, first, behind, until)
        after = None if place is None else place.ts - 1
        if start is None and first:
            after = first - 1  # without a start nothing lacks before the first row
        part = Part(
            start=start,
            end=behind,
            after=after,
            until=None if until is None else until - 1,
            now=as_of,
            goes_on=goes_on(caught),
        )
        unrecorded = await read_unrecorded(sources.store, instrument, part, sources.runs)
        return CandlesPage(
            rows=await made_in_turns(candle_rows, found.candles),
            next=None if found.next is None else cursor_of(found.next, question),
            holes=holes_of(Stream.TRADES, holes, unrecorded),
            as_of=as_of,
            stored=caught.stored,
            fetched=caught.fetched if asked.fetch and place is None else None,
            not_fetched=caught.not_fetched,
        )

    return await sources.page(asked, instrument, question, behind, CandlesPage, make)


async def newest_candles(
    store: MarketStore, instrument: Instrument, timeframe: Timeframe, end: int, limit: int
) -> Sequence[Candle]:
    """Return at least the newest ``limit`` candles before ``end``, if there are so many; 0: all.

    Raises:
        StoreUnavailable: The store is away.
    """
    if not limit:
        return await store.candles(instrument, timeframe, 0, end)
    found: list[Candle] = []
    before = end
    while len(found) < limit:  # each turn goes on behind a stretch without a trade, if there is one
        last = await _last_traded(store, instrument, timeframe, before)
        if last is None:
            break
        start = min(timeframe.back(last[0], limit - 1), last[1])
        found = [*await store.candles(instrument, timeframe, start, before), *found]
        if start >= before:
            break
        before = start
    return found


async def _last_traded(
    store: MarketStore, instrument: Instrument, timeframe: Timeframe, before: int
) -> tuple[int, int] | None:
    """Return the time of the last trade before a time, and from when on to look for its candle.

    A store may have candles of days whose trades it has dropped: then the day is all that is known.
    """
    trade = await newest(store, TradeTick, instrument, before)
    if trade is not None:
        return trade.ts_event, trade.ts_event
    days = await store.candles(instrument, Timeframe("1d"), 0, before) if timeframe.part_ns else ()
    return (min(days[-1].end, before) - 1, days[-1].start) if days else None


async def candles_from(
    store: MarketStore,
    instrument: Instrument,
    timeframe: Timeframe,
    start: int,
    end: int,
    limit: int,
    place: Place | None = None,
) -> Found:
    """Return the first so many candles that start in a range, or the next ones behind a place.

    Memory grows with the limit, not with the range.

    Raises:
        StoreUnavailable: The store is away.
    """
    found: list[Candle] = []
    at, periods = start if place is None else place.ts, limit + 1
    while at < end and len(found) <= limit:
        first, behind = timeframe.period(at)
        until = min(first + periods * (behind - first), end)
        some = await store.candles(instrument, timeframe, at, until)
        found += some
        if not some:
            following = await _next_traded(store, instrument, timeframe, until, end)
            if following is None:
                break
            until = max(following, until)
        is_sparse = len(some) * 2 < periods
        periods = min(periods * 2, WIDEST * limit + 1) if is_sparse else limit + 1
        at = until
    is_last = len(found) <= limit
    del found[limit:]
    return Found(found, None if is_last else Place(found[-1].end))


async def _next_traded(
    store: MarketStore, instrument: Instrument, timeframe: Timeframe, start: int, end: int
) -> int | None:
    """Return a time from which on the next candle of a range is found soon; `None` if there is none.

    A store may have candles of days whose trades it has dropped, so a day that has one is looked for too.
    """
    if start >= end:
        return None
    trade = await oldest(store, TradeTick, instrument, start)
    traded = min(trade.ts_event, end) if trade else end
    day, day_of_trade = start - start % DAY_NS, traded - traded % DAY_NS if trade else end
    if timeframe.part_ns and day < day_of_trade:
        days = await store.candles(instrument, Timeframe("1d"), day, min(day_of_trade, end))
        if days:
            return timeframe.period(max(days[0].start, start))[0]
    return timeframe.period(traded)[0] if traded < end else None


async def missing_trades(
    store: MarketStore, instrument: Instrument, start: int, end: int, until: int | None = None
) -> Sequence[Absent]:
    """Return what is known to be missing in a range, or in a part of it; of several parts each once.

    Args:
        store: Holds it.
        instrument: Whose trades are missing.
        start: Of the range, or of the part, in ns: what ends before was told with the part before.
        end: Of the range, in ns.
        until: Where the next part begins, in ns; `None` if there is none.
    """
    gaps = await read_gaps(store, instrument, start, end, missing_only=True)
    here = [gap for gap in gaps if gap.stream is Stream.TRADES and (until is None or gap.end < until)]
    return absent([], here)
