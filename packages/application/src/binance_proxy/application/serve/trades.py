"""Trades of a range, page by page, and what is missing in them."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import NamedTuple

from msgspec.structs import replace

from binance_proxy.application.ends import END_OF_TIME, newest
from binance_proxy.application.ledger import read_gaps
from binance_proxy.application.missing import outside
from binance_proxy.application.ports import MarketStore
from binance_proxy.application.serve.asked import MOST_ROWS, AskedRows, Fetch, limit_of, range_of
from binance_proxy.application.serve.cursor import Place, cursor_of, place_of
from binance_proxy.application.serve.failures import WrongParams
from binance_proxy.application.serve.page import LongTrades, TradesPage
from binance_proxy.application.serve.rows import holes_of, trade_rows
from binance_proxy.application.serve.sources import Sources, goes_on, question_of
from binance_proxy.application.serve.turns import TURN, made_in_turns, read_in_turns
from binance_proxy.application.unrecorded import Part, runs_of, unrecorded_between
from binance_proxy.domain.candle import SECOND_NS
from binance_proxy.domain.gap import Gap
from binance_proxy.domain.instrument import Instrument, Stream
from binance_proxy.domain.ledger import Absent, Recorded, Skipped, Unrecorded, absent, ids_of, is_numbered
from binance_proxy.domain.tick import TradeTick

BESIDE_NS = SECOND_NS
"""How far beside a page an id is looked for that was skipped in it: times do not always rise with ids."""
BESIDE = 1_000
"""Trades that are looked at for that, on each side."""


class AskedTrades(AskedRows, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """List trades of a range, oldest first; without `start` the newest ones."""

    fetch: Fetch = False


class Found(NamedTuple):
    """Trades of a part of a range."""

    trades: Sequence[TradeTick]
    """Oldest first."""
    skipped: Sequence[Absent]
    """What is missing between them by their ids."""
    missing: Sequence[Absent]
    """The same, and what is missing at the ends by what is known."""
    next: Place | None
    """Where the next part begins; `None` if there is none."""


async def list_trades(sources: Sources, asked: AskedTrades, deadline: int) -> TradesPage | LongTrades:
    """Answer ``trades.list``."""
    limit, (start, end) = limit_of(asked), range_of(asked.start, asked.end)
    if asked.fetch and start is None:
        raise WrongParams("start", "is missing: `fetch` needs to know from when on")
    instrument = await sources.instrument(asked)
    question = question_of("trades.list", instrument, start, end, asked.fetch)
    place = None if asked.cursor is None else place_of(asked.cursor, question)

    async def make() -> TradesPage:
        page, trades = await found_page()
        return replace(page, rows=await made_in_turns(trade_rows, trades))

    async def found_page() -> tuple[TradesPage, Sequence[TradeTick]]:
        as_of = sources.clock.now()
        fetch = range_to_fetch(start, min(end, as_of)) if asked.fetch and place is None else None
        caught = await sources.caught_up(instrument, end, deadline, fetch)
        if start is None:
            found = await newest_trades(sources.store, instrument, 0, end, limit)
        else:
            found = await trades_from(sources.store, instrument, start, end, limit, place)
        part = Part(
            start=start,
            end=end,
            after=None if place is None else place.ts,
            until=None if found.next is None else found.next.ts,
            now=as_of,
            goes_on=goes_on(caught),
        )
        page = TradesPage(
            rows=None,
            next=None if found.next is None else cursor_of(found.next, question),
            holes=holes_of(
                Stream.TRADES,
                found.missing,
                await unrecorded_trades(sources.store, instrument, part, found.trades, place),
            ),
            as_of=as_of,
            stored=caught.stored,
            fetched=caught.fetched if asked.fetch and place is None else None,
            not_fetched=caught.not_fetched,
        )
        return page, found.trades

    if limit > MOST_ROWS:  # only Arrow has so many, and needs no text
        return LongTrades(*await found_page())
    return await sources.page(asked, instrument, question, end, TradesPage, make)


async def unrecorded_trades(
    store: MarketStore,
    instrument: Instrument,
    part: Part,
    trades: Sequence[TradeTick],
    place: Place | None = None,
) -> Sequence[Unrecorded]:
    """Return when nothing was recorded in a part of a range whose trades are known.

    Raises:
        StoreUnavailable: The store is away.
    """
    before = None
    if place is not None and place.reached is not None:
        before = Recorded(place.reached[0], place.ts, place.reached[0], place.ts)
    elif part.start:
        last = await newest(store, TradeTick, instrument, part.start if place is None else place.ts + 1)
        before = runs_of([last])[0] if last is not None else None
    return await unrecorded_between(store, instrument, part, runs_of(trades), before)


def range_to_fetch(start: int | None, end: int) -> tuple[int, int] | None:
    """Return a range of which trades may be fetched; `None` if there is nothing in it yet."""
    return (start, end) if start is not None and start < end else None


async def newest_trades(
    store: MarketStore, instrument: Instrument, start: int, end: int, limit: int
) -> Found:
    """Return the newest so many trades of a range; all with a limit of 0.

    Raises:
        StoreUnavailable: The store is away.
    """
    newest: list[TradeTick] = []
    async with aclosing(store.scan(TradeTick, instrument, start, end, newest_first=True)) as found:
        async for one in read_in_turns(found):
            newest.append(one)
            if len(newest) == limit:
                break
    trades = newest[::-1]
    is_cut = bool(limit) and len(trades) == limit
    skipped = await _skipped(store, instrument, trades, Skipped())
    after = (trades[0].ts_event, trades[0].trade_id) if is_cut else None
    gaps = await _gaps(store, instrument, (start, end), (after, None), skipped)
    return Found(trades, skipped, absent(skipped, gaps), None)


async def trades_from(
    store: MarketStore, instrument: Instrument, start: int, end: int, limit: int, place: Place | None = None
) -> Found:
    """Return the first so many trades of a range, or the next ones behind a place.

    A hole between two pages is told with the later one. Memory grows with the limit, not with the range.

    Raises:
        StoreUnavailable: The store is away.
    """
    passed = (place.ts, place.id) if place else None
    trades: list[TradeTick] = []
    is_last = True
    async with aclosing(store.scan(TradeTick, instrument, place.ts if place else start, end)) as found:
        async for one in read_in_turns(found):
            if passed is not None and (one.ts_event, one.trade_id) <= passed:
                continue
            if len(trades) == limit:
                is_last = False
                break
            trades.append(one)
    ids = Skipped()
    if place is not None and place.reached is not None:
        ids.begin_at(place.reached)
    skipped = await _skipped(store, instrument, trades, ids)
    last = (trades[-1].ts_event, trades[-1].trade_id) if trades and not is_last else None
    gaps = await _gaps(store, instrument, (start, end), (passed, last), skipped)
    if place is not None and place.reached is not None:
        reached_id, reached_ts = place.reached
        gaps = [gap for gap in gaps if gap.last_id > reached_id or gap.start > reached_ts]  # else: told
    following = Place(*last, reached=ids.reached) if last else None
    return Found(trades, skipped, absent(skipped, gaps), following)


async def _skipped(
    store: MarketStore, instrument: Instrument, trades: Sequence[TradeTick], ids: Skipped
) -> Sequence[Absent]:
    """Return what is missing between trades by their ids, and does not stand just beside them."""
    if not is_numbered(instrument, Stream.TRADES):
        return []
    for at, trade in enumerate(trades, 1):
        ids.take(trade)
        if at % TURN == 0:
            await asyncio.sleep(0)
    holes = ids.holes
    if not holes:
        return holes
    first, last = trades[0].ts_event, trades[-1].ts_event
    beside = [
        *await _ids_within(store, instrument, max(first - BESIDE_NS, 0), first + 1, newest_first=True),
        *await _ids_within(store, instrument, last, min(last + BESIDE_NS, END_OF_TIME)),
    ]
    beside.sort()
    return [
        Absent(first_id, last_id, hole.state, hole.start, hole.end)
        for hole in holes
        for first_id, last_id in outside(beside, hole.first_id, hole.last_id)
    ]


async def _ids_within(
    store: MarketStore, instrument: Instrument, start: int, end: int, *, newest_first: bool = False
) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    async with aclosing(store.scan(TradeTick, instrument, start, end, newest_first=newest_first)) as trades:
        async for trade in trades:
            found.append(ids_of(trade))
            if len(found) == BESIDE:
                break
    return found


async def _gaps(
    store: MarketStore,
    instrument: Instrument,
    within: tuple[int, int],
    part: tuple[tuple[int, int] | None, tuple[int, int] | None],
    skipped: Sequence[Absent],
) -> list[Gap]:
    """Return the known gaps of a range of time, or of a part of it.

    A gap belongs to the part that has the tick behind it: so it is told once, whatever the parts are.

    Args:
        store: Holds them.
        instrument: Whose trades are missing.
        within: The range, in ns.
        part: Time and id of the trade before the part, `None` if it begins with the range; and of its last
            one, `None` if it ends with the range.
        skipped: What was seen to be missing; gaps that tell of these belong to it too.
    """
    (after, until), found = part, []
    for gap in await read_gaps(store, instrument, *within, missing_only=True):
        if gap.stream is not Stream.TRADES:
            continue
        behind = (gap.end, gap.last_id + 1)
        is_here = (after is None or after < behind) and (until is None or behind <= until)
        is_seen = any(gap.first_id <= hole.last_id and hole.first_id <= gap.last_id for hole in skipped)
        if is_here or is_seen:
            found.append(gap)
    return found
