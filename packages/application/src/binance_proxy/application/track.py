"""What happens to the events of one instrument while it is recorded."""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec.structs import replace

from binance_proxy.application.buffer import StoreBuffer
from binance_proxy.application.ports import MarketFeed, Publisher
from binance_proxy.domain.book_sync import BookSync, Passed
from binance_proxy.domain.candle import SECOND_NS, CandleFold, Timeframe
from binance_proxy.domain.errors import BookStale
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Instrument, Stream
from binance_proxy.domain.sequence import Arrival, Hole, IdSequence, covered_ids
from binance_proxy.domain.tick import BadFrame, BookSnapshot, QuoteTick, Tick, TradeTick

log = logging.getLogger(__name__)

CANDLE_GRACE_NS = 2 * SECOND_NS
"""How far the venue's clock must be past the end of a candle that no later trade has closed.

Messages of different streams overtake each other by up to a second or two.
"""


@dataclass
class Report:
    """What a recording has done so far."""

    trades: int = 0
    quotes: int = 0
    applied: int = 0
    """Updates that were applied to a book. The others were older than the snapshot, or waited for one."""
    snapshots: int = 0
    """Whole books that were stored: those that the feed gave, and our own at intervals."""
    duplicates: int = 0
    """Ticks that had come before; they were not passed on again."""
    late_for_candles: int = 0
    """Trades that came too late to correct a published candle; the store's own candles have them."""
    gaps: int = 0
    repaired: int = 0
    """Gaps that late ticks have filled."""
    resyncs: int = 0
    """Times that a book fell out of step because an update was missing."""
    disconnects: int = 0
    """Times that the source was lost; the books of its instruments fell out of step too."""
    stored: int = 0
    """Rows that are in the store now."""
    new: int = 0
    """Rows that the store did not have before."""
    unstored: int = 0
    """Events that could not be stored before the end."""
    bad: Counter[str] = field(default_factory=Counter)
    """Frames that were skipped, by what was wrong with them."""

    def skip(self, bad: BadFrame) -> None:
        """Count a frame that cannot be used; the first of its kind is logged."""
        self.bad[bad.kind] += 1
        if self.bad[bad.kind] == 1:
            log.warning("skipped a frame, %s: %s (%s); more of this kind are only counted",
                        bad.kind, bad.detail, bad.where)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What is made of the ticks of an instrument. Times are those of the feed, in seconds."""

    streams: frozenset[Stream]
    """What is taken of the instrument; the rest is passed over."""
    timeframes: tuple[Timeframe, ...]
    """Which candles are kept and published."""
    candle_s: float
    """Between two messages about a candle that is open."""
    publish_snapshot_s: float
    """Between two whole books on the topic."""
    store_snapshot_s: float
    """Between two whole books in the store."""
    aggregated: bool | None = None
    """Whether the trades that are stored are aggregated ones; the other kind would count matches twice."""


class Track:
    """Checks the ticks of one instrument, keeps its book and candles, and hands everything on."""

    def __init__(
        self,
        instrument: Instrument,
        feed: MarketFeed,
        publisher: Publisher,
        buffer: StoreBuffer,
        report: Report,
        *,
        plan: Plan,
        on_step: Callable[[], None],
    ) -> None:
        """Begin with nothing: no book until a snapshot comes, no candle until a trade does.

        ``on_step`` is called whenever the book got into step or fell out of it.
        """
        self.instrument = instrument
        self._feed = feed
        self._publish = publisher.publish
        self._put = buffer.put
        self._report = report
        self._on_step = on_step
        self._takes_trades = Stream.TRADES in plan.streams
        self._takes_book = Stream.ORDERBOOK in plan.streams
        self._trade_ids, self._update_ids = IdSequence(), IdSequence()
        self._ts_event = {Stream.TRADES: 0, Stream.ORDERBOOK: 0}
        self._gaps: dict[tuple[Stream, Hole], Gap] = {}
        self._missing_updates = False
        self._sync = BookSync()
        self._folds = [CandleFold(instrument, timeframe) for timeframe in plan.timeframes]
        self._aggregated = plan.aggregated
        self._candle_interval_ns = int(plan.candle_s * SECOND_NS)
        self._publish_snapshot_ns = int(plan.publish_snapshot_s * SECOND_NS)
        self._store_snapshot_ns = int(plan.store_snapshot_s * SECOND_NS)
        self._candles_due = self._candles_close = self._publish_due = self._store_due = 0

    @property
    def in_step(self) -> bool:
        """True while the book is right."""
        return self._sync.book is not None

    @property
    def late_for_candles(self) -> int:
        """Trades that came too late to correct a published candle."""
        return sum(fold.too_late for fold in self._folds)

    @property
    def state(self) -> str:
        """Say how the book is: ``in step``, ``stale``, or ``not tracked``."""
        if not self._takes_book:
            return "not tracked"
        return "in step" if self.in_step else "stale"

    def trade(self, trade: TradeTick) -> None:
        """Take a trade."""
        if not self._takes_trades:
            return
        aggregated = trade.first_match_id is not None
        if aggregated is not self._aggregated:
            if self._aggregated is not None:
                self._report.skip(
                    BadFrame(
                        kind="second trade stream",
                        where=self.instrument.name,
                        detail=f"trade {trade.trade_id}: single and aggregated trades would be counted twice",
                        ts_recv=trade.ts_recv,
                    )
                )
                return
            self._aggregated = aggregated
        if not self._is_new(self._trade_ids, trade.trade_id, trade.trade_id, Stream.TRADES, trade):
            return
        self._report.trades += 1
        self._publish(trade)
        self._put(trade)
        for fold in self._folds:
            for candle in fold.feed(trade):
                self._publish(candle)
        if trade.ts_event >= self._candles_due:
            self._candles_due = trade.ts_event + self._candle_interval_ns
            self.publish_open_candles()

    def quote(self, quote: QuoteTick) -> None:
        """Take an update of the book."""
        if not self._takes_book:
            return
        first_id, last_id = covered_ids(quote)
        if self._update_ids.last_id is None:
            self._begin_updates(first_id)
        if not self._is_new(self._update_ids, first_id, last_id, Stream.ORDERBOOK, quote):
            return
        self._report.quotes += 1
        self._put(quote)
        try:
            passed = self._sync.update(quote)
        except BookStale as error:
            self._resync(str(error))
            return
        if passed:
            self._pass_on(passed)
            if quote.ts_recv >= min(self._publish_due, self._store_due):
                self._take_snapshots(quote.ts_recv)
        if quote.ts_event >= self._candles_close:
            self._close_candles(quote.ts_event)

    def snapshot(self, snapshot: BookSnapshot) -> None:
        """Take a whole book from the feed."""
        if not self._takes_book:
            return
        if self._update_ids.last_id is None:
            self._ts_event[Stream.ORDERBOOK] = snapshot.ts_event
        try:
            self._pass_on(self._sync.snapshot(snapshot))
        except BookStale as error:
            self._resync(str(error))

    def _pass_on(self, passed: Passed) -> None:
        """Publish what is right: an update, or a snapshot that got the book into step and what follows it."""
        for one in passed:
            self._publish(one)
            if isinstance(one, QuoteTick):
                self._report.applied += 1
                continue
            self._report.snapshots += 1
            self._put(one)
            self._publish_due = one.ts_recv + self._publish_snapshot_ns
            self._store_due = one.ts_recv + self._store_snapshot_ns
            self._on_step()
        if passed and self._missing_updates:
            self._give_up_missing_updates()

    def disconnect(self) -> None:
        """Give the book up: anything may have been missed."""
        self._sync.lose_step()
        self._on_step()
        self._feed.resync(self.instrument)

    def publish_snapshot(self) -> None:
        """Publish the whole book as it is, if it is in step."""
        if self._sync.book is not None:
            self._publish(self._sync.book.snapshot())

    def publish_open_candles(self) -> None:
        """Publish the candles that are still open."""
        for fold in self._folds:
            candle = fold.current()
            if candle is not None:
                self._publish(candle)

    def _begin_updates(self, first_id: int) -> None:
        """Let a hole between a snapshot and the very first update be found."""
        reached = self._sync.reached
        if reached is not None and first_id > reached + 1:
            self._update_ids.feed(reached, reached)

    def _is_new(self, ids: IdSequence, first_id: int, last_id: int, stream: Stream, tick: Tick) -> bool:
        """Take the ids of a tick, tell of holes they show or fill, and return whether the tick is new."""
        arrival = ids.feed(first_id, last_id)
        if arrival is Arrival.SEEN:
            self._report.duplicates += 1
            return False
        if arrival is Arrival.LATE:
            for hole in ids.closed:
                self._repaired(stream, hole)
            return True
        if arrival is Arrival.SKIPPED and ids.opened is not None:
            self._open_gap(stream, ids.opened, tick)
        self._ts_event[stream] = tick.ts_event
        return True

    def _open_gap(self, stream: Stream, hole: Hole, tick: Tick) -> None:
        self._report.gaps += 1
        log.warning(
            "%s %s: ids %d to %d are missing", self.instrument.name, stream, hole.first_id, hole.last_id
        )
        start, end = sorted((self._ts_event[stream], tick.ts_event))
        gap = Gap(
            instrument=self.instrument,
            ts_event=tick.ts_event,
            ts_recv=tick.ts_recv,
            stream=stream,
            first_id=hole.first_id,
            last_id=hole.last_id,
            start=start,
            end=end,
        )
        self._tell(hole, gap)
        self._missing_updates = self._missing_updates or stream is Stream.ORDERBOOK
        if len(self._gaps) > 2 * IdSequence.MAX_HOLES:
            del self._gaps[next(iter(self._gaps))]

    def _give_up_missing_updates(self) -> None:
        """Call missing updates lost: no venue gives them again, and the book goes on without them."""
        self._missing_updates = False
        for (stream, hole), gap in list(self._gaps.items()):
            if stream is Stream.ORDERBOOK and gap.state is GapState.OPEN:
                self._tell(hole, replace(gap, state=GapState.LOST))

    def _repaired(self, stream: Stream, hole: Hole) -> None:
        gap = self._gaps.get((stream, hole))
        if gap is not None:
            self._report.repaired += 1
            self._tell(hole, replace(gap, state=GapState.REPAIRED))
            del self._gaps[stream, hole]

    def _tell(self, hole: Hole, gap: Gap) -> None:
        self._gaps[gap.stream, hole] = gap
        self._publish(gap)
        self._put(gap)

    def _resync(self, why: str) -> None:
        self._report.resyncs += 1
        self._on_step()
        log.warning("the book is out of step and waits for a snapshot: %s", why)
        self._feed.resync(self.instrument)

    def _take_snapshots(self, ts_recv: int) -> None:
        """Publish or store the whole book where its interval has passed, in the time of the feed."""
        assert self._sync.book is not None  # noqa: S101  an update was just applied to it
        snapshot = self._sync.book.snapshot()
        if ts_recv >= self._publish_due:
            self._publish_due = ts_recv + self._publish_snapshot_ns
            self._publish(snapshot)
        if ts_recv >= self._store_due:
            self._store_due = ts_recv + self._store_snapshot_ns
            self._report.snapshots += 1
            self._put(snapshot)

    def _close_candles(self, ts_event: int) -> None:
        """Close candles that no trade has closed, though the venue's clock is well past their end."""
        self._candles_close = ts_event + SECOND_NS
        for fold in self._folds:
            for candle in fold.advance(ts_event - CANDLE_GRACE_NS):
                self._publish(candle)
