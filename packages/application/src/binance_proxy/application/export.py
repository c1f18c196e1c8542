"""Ticks on their way to other programs: as they are stored, or as a book that is right at every moment."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

from msgspec import Struct
from msgspec.structs import replace

from binance_proxy.application.covered import ANEW_NS, Covered
from binance_proxy.application.ends import newest
from binance_proxy.application.ports import BookEvent, MarketStore, StoredTick
from binance_proxy.application.rebuild import BookUnknown, book_at
from binance_proxy.application.stats import with_ends
from binance_proxy.domain.instrument import Instrument, Stream
from binance_proxy.domain.order_book import OrderBook
from binance_proxy.domain.sequence import BookSequence, Step, book_sequence
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, StaleBook, TradeTick


class Tally(Struct, kw_only=True):
    """What was read for an export, and what of it was left out."""

    trades: int = 0
    quotes: int = 0
    snapshots: int = 0
    missing_trade_ids: int = 0
    missing_update_ids: int = 0
    off_book: int = 0
    """Trades that hit no resting order, left out."""
    without_book: int = 0
    """Updates left out as there was no book that they could be applied to."""
    stale: int = 0
    """How often the book fell out of step."""
    read: int = 0
    reached: int = 0
    """``ts_event`` of what was read last."""


async def recorded(
    store: MarketStore, instrument: Instrument, start: int, end: int, tally: Tally
) -> AsyncGenerator[StoredTick]:
    """Yield the trades of a range, then its updates, then its snapshots, each as it is stored."""
    async with aclosing(_trades(store, instrument, start, end, tally)) as trades:
        async for trade in trades:
            yield trade
    updates = Covered(instrument, Stream.ORDERBOOK, start, end)
    async with aclosing(with_ends(store, QuoteTick, instrument, start, end, updates)) as quotes:
        async for quote in quotes:
            _read(tally, quote)
            tally.quotes += 1
            yield quote
    updates.finish()
    tally.missing_update_ids = updates.missing
    async with aclosing(store.scan(BookSnapshot, instrument, start, end)) as snapshots:
        async for snapshot in snapshots:
            _read(tally, snapshot)
            tally.snapshots += 1
            yield snapshot


async def in_step(
    store: MarketStore, instrument: Instrument, start: int, end: int, tally: Tally
) -> AsyncGenerator[TradeTick | BookEvent]:
    """Yield the trades of a range, then its book in the order of its update ids.

    The book begins with a snapshot: as it was at ``start``, if a snapshot from before is stored. Later ones
    are left out as long as the updates lead there. Where an update is missing a `StaleBook` stands, and then
    nothing until the next snapshot. Trades that hit no resting order are left out.
    """
    async with aclosing(_trades(store, instrument, start, end, tally)) as trades:
        async for trade in trades:
            if trade.off_book:
                tally.trades -= 1
                tally.off_book += 1
            else:
                yield trade
    async with aclosing(book_from(store, instrument, start, end, tally)) as events:
        async for event in events:
            tally.quotes += isinstance(event, QuoteTick)
            tally.snapshots += isinstance(event, BookSnapshot)
            tally.stale += isinstance(event, StaleBook)
            yield event


async def book_from(
    store: MarketStore, instrument: Instrument, start: int, end: int, tally: Tally
) -> AsyncGenerator[BookEvent]:
    """Yield the book of a range, as `in_step` does."""
    first = await _book_before(store, instrument, start)
    begin = start
    if first is None:  # what is stored from before may lead into the range nevertheless
        earlier = await newest(store, BookSnapshot, instrument, start)
        begin = start if earlier is None else earlier.ts_event
    before: OrderBook | None = None
    has_begun = False  # ids rule, not times: what follows is due, even if its time is before the start
    async with aclosing(_stepped(store, instrument, begin, end, start, tally, first)) as events:
        async for event in events:
            if event.ts_event < start and not has_begun:
                before = _applied(before, event)
                continue
            if before is not None:
                yield _from(start, before)
                before = None
            has_begun = True
            yield event
    if before is not None:
        yield _from(start, before)


async def _book_before(store: MarketStore, instrument: Instrument, start: int) -> BookSnapshot | None:
    """Return the book that a range begins with; `None` if it is not known."""
    try:
        return _from(start, await book_at(store, instrument, start - 1)) if start else None
    except BookUnknown:
        return None


def _from(start: int, book: OrderBook) -> BookSnapshot:
    return replace(book.snapshot(), ts_event=start, ts_recv=max(start, book.ts_recv))


def _applied(book: OrderBook | None, event: BookEvent) -> OrderBook | None:
    if isinstance(event, BookSnapshot):
        return OrderBook(event)
    if isinstance(event, StaleBook) or book is None:
        return None
    book.apply(event)
    return book


async def _stepped(
    store: MarketStore,
    instrument: Instrument,
    begin: int,
    end: int,
    start: int,
    tally: Tally,
    first: BookSnapshot | None,
) -> AsyncGenerator[BookEvent]:
    """Bring updates and snapshots into one order, that of their ids, and leave out what is not in step."""
    steps = _Steps(instrument)
    if first is not None:
        for event in steps.snapshot(first):
            yield event
    covered = Covered(instrument, Stream.ORDERBOOK, start, end)
    async with (
        aclosing(store.scan(BookSnapshot, instrument, begin, end)) as snapshots,
        aclosing(with_ends(store, QuoteTick, instrument, begin, end, covered)) as quotes,
    ):
        next_one = await anext(snapshots, None)
        async for quote in quotes:
            _read(tally, quote)
            while next_one is not None and _is_due(next_one, quote):
                for event in steps.snapshot(next_one):
                    yield event
                next_one = await anext(snapshots, None)
            for event in steps.quote(quote):
                yield event
            if not steps.is_in_step and quote.ts_event >= start:
                tally.without_book += 1
        while next_one is not None:
            for event in steps.snapshot(next_one):
                yield event
            next_one = await anext(snapshots, None)
    for event in steps.end():
        yield event
    covered.finish()
    tally.missing_update_ids = covered.missing


def _is_due(snapshot: BookSnapshot, quote: QuoteTick) -> bool:
    """Return whether a snapshot comes before an update: by their ids, if they are of one numbering."""
    if abs(snapshot.ts_event - quote.ts_event) > ANEW_NS:
        return snapshot.ts_event < quote.ts_event
    return snapshot.last_update_id < quote.last_update_id


class _Steps:
    """Fed updates and snapshots by id, it gives those that make up a book that is right at every moment."""

    def __init__(self, instrument: Instrument) -> None:
        self.is_in_step = False
        self._instrument = instrument
        self._sequence: BookSequence = book_sequence(instrument.market, 0)
        self._ahead: BookSnapshot | None = None
        self._ts = 0

    def snapshot(self, snapshot: BookSnapshot) -> Iterator[BookEvent]:
        anew = (
            snapshot.last_update_id < self._sequence.last_update_id
            and snapshot.ts_event > self._ts + ANEW_NS  # the venue has begun to number anew
        )
        if not self.is_in_step or anew:
            yield self._begin(snapshot)
        elif snapshot.last_update_id > self._sequence.last_update_id:
            self._ahead = snapshot  # of use if no update leads there

    def quote(self, quote: QuoteTick) -> Iterator[BookEvent]:
        if not self.is_in_step:
            return
        step = self._sequence.feed(quote)
        if step is Step.GAP and self._ahead is not None:
            yield self._begin(self._ahead)
            step = self._sequence.feed(quote)
        if step is Step.APPLY:
            self._ahead = None
            self._ts = quote.ts_event
            yield quote
        elif step is Step.GAP:
            self.is_in_step = False
            yield StaleBook(
                instrument=self._instrument,
                ts_event=quote.ts_event,
                ts_recv=quote.ts_recv,
                reason=f"an update behind {self._sequence.last_update_id} is missing",
            )

    def end(self) -> Iterator[BookEvent]:
        if self._ahead is not None and self.is_in_step:
            yield self._begin(self._ahead)

    def _begin(self, snapshot: BookSnapshot) -> BookSnapshot:
        self.is_in_step = True
        self._ahead = None
        self._sequence = book_sequence(self._instrument.market, snapshot.last_update_id)
        self._ts = snapshot.ts_event
        return snapshot


async def _trades(
    store: MarketStore, instrument: Instrument, start: int, end: int, tally: Tally
) -> AsyncGenerator[TradeTick]:
    covered = Covered(instrument, Stream.TRADES, start, end)
    async with aclosing(with_ends(store, TradeTick, instrument, start, end, covered)) as trades:
        async for trade in trades:
            _read(tally, trade)
            tally.trades += 1
            yield trade
    covered.finish()
    tally.missing_trade_ids = covered.missing


def _read(tally: Tally, tick: StoredTick) -> None:
    tally.read += 1
    tally.reached = tick.ts_event
