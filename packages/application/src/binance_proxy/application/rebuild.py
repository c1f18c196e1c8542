"""What is newest in a store, and the order book as it was at any moment, rebuilt from it."""

import heapq
from collections.abc import AsyncGenerator
from contextlib import aclosing

from binance_proxy.application.continuity import ANEW_NS
from binance_proxy.application.ends import END_OF_TIME, newest, oldest
from binance_proxy.application.ports import MarketStore
from binance_proxy.domain.candle import SECOND_NS
from binance_proxy.domain.errors import BookStale, BridgeError
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.order_book import OrderBook
from binance_proxy.domain.sequence import covered_ids
from binance_proxy.domain.tick import BookSnapshot, QuoteTick

BEHIND_NS = 2 * SECOND_NS
"""How far our clock may be behind the venue's. A snapshot without a time of its own carries that of its
receipt; it was true no later than so long after it."""
LATE_NS = 10 * SECOND_NS
"""How long after a moment a snapshot of before it is looked for: requests take their time."""
HELD = 1_000
"""Updates that wait for one that was stored with a later time."""


class BookUnknown(BridgeError):
    """What is stored does not say how the book was at that moment."""

    def __init__(
        self,
        why: str,
        *,
        missing: tuple[int, int] | None = None,
        since: int | None = None,
        again: int | None = None,
    ) -> None:
        """Say why; which update ids are missing, since when, and when the book is right again, in ns."""
        super().__init__(why)
        self.why = why
        self.missing = missing
        self.since = since
        self.again = again


async def book_at(store: MarketStore, instrument: Instrument, ts: int) -> OrderBook:
    """Return the book as every update with ``ts_event <= ts`` left it; with `END_OF_TIME` the newest one.

    The nearest usable snapshot is taken, and the updates behind it are applied as they are read, so memory
    does not grow with their number. Ids, not times, tell what a snapshot contains: a venue gives it no time,
    and it may have been received long after it was true.

    Raises:
        BookUnknown: No snapshot reaches the moment, an update before or around it is missing, or nothing was
            recorded any more.
        StoreUnavailable: The store is away.
    """
    last = await newest(store, QuoteTick, instrument, min(ts + 1, END_OF_TIME))
    following = None if ts >= END_OF_TIME else await oldest(store, QuoteTick, instrument, ts + 1)
    if ts < END_OF_TIME and following is None and last is not None and ts > last.ts_event:
        raise _not_recorded(instrument, last.ts_event)
    async with aclosing(_usable(store, instrument, ts, last, following)) as snapshots:
        async for snapshot in snapshots:
            try:
                book = OrderBook(snapshot)
            except BookStale:
                continue  # it contradicts itself; an older one may do
            if last is None and following is None and snapshot.ts_event + BEHIND_NS < ts < END_OF_TIME:
                raise _not_recorded(instrument, snapshot.ts_event)
            await _go_on(store, book, snapshot, ts)
            await _refuse_gap(store, book, following)
            return book
    raise await _too_early(store, instrument)


async def _usable(
    store: MarketStore, instrument: Instrument, ts: int, last: QuoteTick | None, following: QuoteTick | None
) -> AsyncGenerator[BookSnapshot]:
    """Yield the snapshots that were true at a moment or before, nearest first.

    Args:
        store: Holds them.
        instrument: Whose they are.
        ts: The moment.
        last: The last update up to it.
        following: The first update behind it.
    """
    found = store.scan(BookSnapshot, instrument, 0, min(ts + LATE_NS, END_OF_TIME), newest_first=True)
    async with aclosing(found) as snapshots:
        async for one in snapshots:
            reached = one.last_update_id
            if last is not None and reached <= last.last_update_id:
                yield one
                continue
            # It contains changes that no stored update has, so its time has to tell that they were before.
            is_past = one.ts_event + BEHIND_NS <= ts
            is_behind = last is None or one.ts_event >= last.ts_event - BEHIND_NS  # else: other numbers
            if is_past and is_behind and (following is None or reached < covered_ids(following)[0]):
                yield one


async def _go_on(store: MarketStore, book: OrderBook, snapshot: BookSnapshot, ts: int) -> None:
    """Apply every update behind the snapshot up to a moment.

    Raises:
        BookUnknown: One of them is missing, or they do not fit.
    """
    held: list[tuple[int, int, int, QuoteTick]] = []  # by id; the time tells doubles apart
    start = await _place_of(store, snapshot, ts)
    reached_ts = snapshot.ts_event + BEHIND_NS  # when the ids that the book has were given, at the latest
    behind = store.scan(QuoteTick, snapshot.instrument, start, min(ts + 1, END_OF_TIME))
    async with aclosing(behind) as quotes:
        async for quote in quotes:
            if quote.last_update_id <= book.last_update_id:
                if quote.ts_event > reached_ts + ANEW_NS:
                    raise await _broken(store, book, "the venue numbers its updates anew", quote.ts_event)
                continue
            heapq.heappush(held, (covered_ids(quote)[0], quote.last_update_id, quote.ts_event, quote))
            while held and held[0][0] <= book.last_update_id + 1:
                ready = heapq.heappop(held)[3]
                try:
                    book.apply(ready)
                except BookStale as error:
                    raise await _broken(store, book, str(error), ready.ts_event) from error
                reached_ts = max(reached_ts, ready.ts_event)
            if len(held) > HELD:
                break
    if held:
        raise await _gap(store, book, held[0][0] - 1)


async def _refuse_gap(store: MarketStore, book: OrderBook, following: QuoteTick | None) -> None:
    """Raise `BookUnknown` if the moment lies in a gap: the missing updates may have been before it."""
    if following is None:
        return
    first_id = covered_ids(following)[0]
    if first_id > book.last_update_id + 1:
        raise await _gap(store, book, first_id - 1)
    if following.last_update_id <= book.last_update_id:
        raise await _broken(store, book, "the venue numbers its updates anew", following.ts_event)


async def _place_of(store: MarketStore, snapshot: BookSnapshot, ts: int) -> int:
    """Return a time from which a scan gives every stored update behind a snapshot, and few before it."""
    newest_id = place = None
    end = min(ts, snapshot.ts_event + BEHIND_NS, END_OF_TIME - 1) + 1
    found = store.scan(QuoteTick, snapshot.instrument, 0, end, newest_first=True)
    async with aclosing(found) as quotes:
        async for quote in quotes:
            if newest_id is not None and place is not None and quote.last_update_id > newest_id:
                if quote.ts_event < place - ANEW_NS:
                    break  # higher numbers well before: the venue numbers anew between them
                continue
            newest_id, place = quote.last_update_id, quote.ts_event
            if newest_id <= snapshot.last_update_id:
                break
    return max((place or 0) - ANEW_NS, 0)  # times may run backwards a little


async def true_from(store: MarketStore, snapshot: BookSnapshot) -> int:
    """Return the first moment of which `book_at` can use a snapshot, in ns.

    Raises:
        StoreUnavailable: The store is away.
    """
    reached = snapshot.last_update_id
    found = None
    end = min(snapshot.ts_event + BEHIND_NS + 1, END_OF_TIME)
    before = store.scan(QuoteTick, snapshot.instrument, 0, end, newest_first=True)
    async with aclosing(before) as quotes:
        async for quote in quotes:
            if quote.last_update_id < reached:
                break
            found = quote.ts_event
    return snapshot.ts_event + BEHIND_NS if found is None else found


async def _right_again(store: MarketStore, instrument: Instrument, since: int, behind_id: int) -> int | None:
    """Return when the next snapshot makes the book right, in ns; `None` if none is stored."""
    async with aclosing(store.scan(BookSnapshot, instrument, since, END_OF_TIME)) as snapshots:
        async for one in snapshots:
            if one.last_update_id >= behind_id:
                return await true_from(store, one)
    return None


async def _gap(store: MarketStore, book: OrderBook, last_id: int) -> BookUnknown:
    first_id, since = book.last_update_id + 1, book.ts_event
    return BookUnknown(
        f"updates {first_id} to {last_id} of {book.instrument.name} are missing",
        missing=(first_id, last_id),
        since=since,
        again=await _right_again(store, book.instrument, since - BEHIND_NS, last_id),
    )


async def _broken(store: MarketStore, book: OrderBook, why: str, since: int) -> BookUnknown:
    name = book.instrument.name
    return BookUnknown(
        why if why.startswith(name) else f"{name}: {why}",
        since=since,
        again=await _right_again(store, book.instrument, since, 0),
    )


def _not_recorded(instrument: Instrument, since: int) -> BookUnknown:
    return BookUnknown(
        f"what became of the book of {instrument.name} behind what is newest of it is not recorded",
        since=since,
    )


async def _too_early(store: MarketStore, instrument: Instrument) -> BookUnknown:
    first = await oldest(store, BookSnapshot, instrument)
    if first is None:
        return BookUnknown(f"no snapshot of the book of {instrument.name} was stored yet")
    return BookUnknown(
        f"no snapshot of the book of {instrument.name} reaches back so far",
        again=await true_from(store, first),
    )
