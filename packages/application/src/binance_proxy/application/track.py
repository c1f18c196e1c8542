"""What happens to the events of one instrument while it is recorded."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from binance_proxy.application.buffer import StoreBuffer
from binance_proxy.application.continuity import Continuity, OpenGap
from binance_proxy.application.dropped import DroppedRange
from binance_proxy.application.missing import matches_of
from binance_proxy.application.ports import MarketFeed, Publisher
from binance_proxy.application.report import Report
from binance_proxy.application.seam import Seam
from binance_proxy.domain.book_sync import BookSync, Passed
from binance_proxy.domain.candle import SECOND_NS, Candle, CandleFold, Timeframe
from binance_proxy.domain.errors import BookStale
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Instrument, Stream
from binance_proxy.domain.order_book import OrderBook
from binance_proxy.domain.sequence import covered_ids
from binance_proxy.domain.tick import BadFrame, BookSnapshot, QuoteTick, StaleBook, TradeTick

log = logging.getLogger(__name__)

SILENT_BOOK_NS = 10 * SECOND_NS
"""A trade that happened so much later than the newest update proves that updates are missing."""
CANDLE_GRACE_NS = 2 * SECOND_NS
"""How far the venue's clock must be past the end of a candle that no later trade has closed.

Messages of different streams overtake each other by up to a second or two.
"""

MOST_GAPS = 1_000
"""Of each stream that somebody new is told of."""


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
    goes_on: bool = False
    """Whether what is missed of a stream in a pause is looked for; else it is lost."""
    seams: Mapping[Stream, Seam] = field(default_factory=dict)
    """Where the streams of a feed that cannot be asked join what is stored."""


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
        on_gap: Callable[[Gap], None] = lambda _: None,
    ) -> None:
        """Begin with nothing: no book until a snapshot comes, no candle until a trade does.

        ``on_step`` is called whenever the book got into step or fell out of it, ``on_gap`` with each gap as
        it is told.
        """
        self.instrument = instrument
        self._feed = feed
        self._publish = publisher.publish
        self._put = buffer.put
        self._report = report
        self._on_step = on_step
        self._goes_on = plan.goes_on
        self.takes_trades = Stream.TRADES in plan.streams
        """False while trades are passed over."""
        self.newest_trade: TradeTick | None = None
        """Of this run, by its id."""
        self.newest_ts = 0
        """``ts_event`` of the tick of this run that was handed on last, in ns; 0 before any."""
        self._takes_book = Stream.ORDERBOOK in plan.streams
        self._on_gap = on_gap
        self._trade_ids = self._fresh_ids(Stream.TRADES, plan.seams.get(Stream.TRADES))
        self._update_ids = self._fresh_ids(Stream.ORDERBOOK, plan.seams.get(Stream.ORDERBOOK))
        self._missing_updates = False
        self._stale: StaleBook | None = None
        self._sync = BookSync()
        self._reached_ts = 0  # when the newest snapshot was true
        self._folds = [CandleFold(instrument, timeframe) for timeframe in plan.timeframes]
        self._aggregated = plan.aggregated
        self._candle_interval_ns = int(plan.candle_s * SECOND_NS)
        self._publish_snapshot_ns = int(plan.publish_snapshot_s * SECOND_NS)
        self._store_snapshot_ns = int(plan.store_snapshot_s * SECOND_NS)
        self._candles_due = self._candles_close = self._publish_due = self._store_due = 0
        self._due_from = self._due = 0  # a whole book is taken once a receipt lies outside of these
        self._silent_since = 0  # since then trades have proved that updates are missing

    @property
    def in_step(self) -> bool:
        """True while the book is right."""
        return self._sync.book is not None

    @property
    def book(self) -> OrderBook:
        """The book as it is until the next event: what was published of it up to now, and nothing else.

        Raises:
            BookStale: There is none that is right.
        """
        if not self._takes_book:
            raise BookStale(f"the order book of {self.instrument.name} is not recorded")
        if self._sync.book is None:
            why = self._stale.reason if self._stale else "no snapshot has come yet"
            raise BookStale(f"the book of {self.instrument.name} is out of step: {why}")
        return self._sync.book

    @property
    def open_candles(self) -> Sequence[Candle]:
        """The candles that are still open."""
        candles = (fold.current() for fold in self._folds)
        return [candle for candle in candles if candle is not None]

    @property
    def open_gaps(self) -> int:
        """Gaps that may still be filled."""
        return self._trade_ids.open_gaps + self._update_ids.open_gaps

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

    @property
    def streams(self) -> frozenset[Stream]:
        """What is taken of the instrument at the moment."""
        taken = {Stream.TRADES: self.takes_trades, Stream.ORDERBOOK: self._takes_book}
        return frozenset(stream for stream, takes in taken.items() if takes)

    def take_only(self, streams: frozenset[Stream], ts_recv: int) -> None:
        """Take these streams from now on, and pass the others over; what stays is not disturbed.

        A book that is taken no more is said to be stale; one that is taken again waits for a snapshot. Open
        candles are published when their trades stop. What was missed when a stream comes again is a gap, as
        it is behind a restart, if the plan says that it is looked for.
        """
        takes_trades, takes_book = Stream.TRADES in streams, Stream.ORDERBOOK in streams
        if self.takes_trades and not takes_trades:
            self.publish_open_candles()
        elif takes_trades and not self.takes_trades and not self._goes_on:
            self._trade_ids = self._fresh_ids(Stream.TRADES, self._trade_ids.paused())
        self.takes_trades = takes_trades
        if self._takes_book and not takes_book:
            self._sync = BookSync()
            self._silent_since = 0
            self._tell_stale(ts_recv, f"the order book of {self.instrument.name} is not recorded any more")
            self._give_up_updates()
        elif takes_book and not self._takes_book:
            if not self._goes_on:
                self._update_ids = self._fresh_ids(Stream.ORDERBOOK, self._update_ids.paused())
            self._feed.resync(self.instrument)
        self._takes_book = takes_book
        self._on_step()

    def resume_trades(self, newest: TradeTick, gaps: Iterable[OpenGap], recent: Sequence[TradeTick]) -> None:
        """Go on where an earlier run ended, so that trades that were missed since are found.

        Args:
            newest: What is stored last.
            gaps: Open and lost gaps. Those that are open may still be filled.
            recent: The newest stored trades, at least all of the candles that are still open.
        """
        self._trade_ids.resume(matches_of(newest)[1], newest.ts_event, gaps, recent)
        for fold in self._folds:
            start, _ = fold.timeframe.period(newest.ts_event)
            for one in recent:
                if one.ts_event >= start:
                    fold.feed(one)
                else:  # of an older candle only a part may be here
                    fold.precede(one)

    def resume_book(self, newest: QuoteTick, gaps: Iterable[Gap], recent: Sequence[QuoteTick]) -> None:
        """Go on where an earlier run ended, so that updates that were missed since are found.

        What an earlier run has missed is lost: nobody gives updates again, and its book is no more.

        Args:
            newest: What is stored last.
            gaps: Open and lost ones.
            recent: The newest stored updates.
        """
        known = []
        for gap in gaps:
            known.append(OpenGap(replace(gap, state=GapState.LOST), ()))
            if gap.state is GapState.OPEN:
                self._report.lost += 1
                self._tell(known[-1].gap)
        self._update_ids.resume(newest.last_update_id, newest.ts_event, known, recent)
        self._update_ids.give_up_all()

    @property
    def traded_until(self) -> int:
        """When the newest trade happened; 0 if there was none."""
        return self._trade_ids.ts_event

    @property
    def late_trades(self) -> int:
        """How many trades came out of a hole, by themselves or because the exchange was asked."""
        return self._trade_ids.late

    @property
    def last_trade_id(self) -> int | None:
        """The highest trade id so far; `None` before any."""
        return self._trade_ids.last_id

    def venue_has(self, trade: TradeTick) -> None:
        """Learn from a trade that the exchange gave how far it has got; what did not come is a gap."""
        self._trade_ids.reach(matches_of(trade)[1], trade)

    def stored_by_others(self, first_id: int, last_id: int) -> None:
        """Learn that trades of a gap are in the store, though this recording did not put them there."""
        self._trade_ids.came(first_id, last_id)

    def late_trade(self, trade: TradeTick) -> None:
        """Take a stored trade, single or aggregated, that the exchange gave when it was asked for a gap."""
        if self._trade_ids.take(*matches_of(trade), trade, is_past=True):
            self._report.fetched += 1
            self._publish(trade)
            for fold in self._folds:
                fold.feed(trade)
            self._trade_ids.tell_repaired()

    def missing_of(self, gap: Gap) -> Sequence[tuple[int, int]]:
        """Return the trade ids of a gap that have not come yet, as ranges, lowest first."""
        return self._trade_ids.missing_of(gap)

    def give_up(self, gap: Gap) -> None:
        """Call what is still missing of a gap lost, for the exchange does not have it."""
        self._trade_ids.give_up(gap)

    def dropped(self, stream: Stream, dropped: DroppedRange) -> None:
        """Tell of ticks that were checked and published, and that nobody had room for."""
        (self._trade_ids if stream is Stream.TRADES else self._update_ids).lose(dropped)

    def publish_candles(self, candles: Iterable[Candle]) -> None:
        """Publish candles that were summed up anew."""
        for candle in candles:
            self._publish(candle)

    def trade(self, trade: TradeTick) -> None:
        """Take a trade."""
        if not self.takes_trades:
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
        if not self._trade_ids.take(trade.trade_id, trade.trade_id, trade):
            return
        self._report.trades += 1
        if self.newest_trade is None or trade.trade_id > self.newest_trade.trade_id:
            self.newest_trade = trade
        self.newest_ts = trade.ts_event
        self._publish(trade)
        self._put(trade)
        self._trade_ids.tell_repaired()
        for fold in self._folds:
            for candle in fold.feed(trade):
                self._publish(candle)
        if trade.ts_event >= self._candles_due:
            self._candles_due = trade.ts_event + self._candle_interval_ns
            self.publish_open_candles()
        if trade.ts_event - self._update_ids.ts_event > SILENT_BOOK_NS and self._takes_book:
            self._miss_updates(trade)

    def quote(self, quote: QuoteTick) -> None:
        """Take an update of the book."""
        if not self._takes_book:
            return
        first_id, last_id = covered_ids(quote)
        if not (self._update_ids.has_begun or self._update_ids.join(first_id, quote)):
            self._begin_updates(first_id)
        numbering = self._update_ids.numbering
        if not self._update_ids.take(first_id, last_id, quote):
            return
        self._report.quotes += 1
        self.newest_ts = quote.ts_event
        self._put(quote)
        self._update_ids.tell_repaired()
        if self._update_ids.numbering != numbering:  # to the book all new updates would look old
            self._sync = BookSync()
            self.disconnect(quote.ts_recv, "the venue numbers its updates anew")
        try:
            passed = self._sync.update(quote)
        except BookStale as error:
            self._resync(str(error), quote.ts_recv)
            return
        if passed:
            self._pass_on(passed)
            if not self._due_from <= quote.ts_recv < self._due:
                self._take_snapshots(quote.ts_recv)
        if quote.ts_event >= self._candles_close:
            self._close_candles(quote.ts_event)

    def snapshot(self, snapshot: BookSnapshot) -> None:
        """Take a whole book from the feed."""
        if not self._takes_book:
            return
        self._reached_ts = snapshot.ts_event
        try:
            self._pass_on(self._sync.snapshot(snapshot))
        except BookStale as error:
            self._resync(str(error), snapshot.ts_recv)

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
            self._schedule(one.ts_recv)
            self._silent_since = 0
            if self._stale is not None:
                log.info("%s: the book is in step again", self.instrument.name)
            self._stale = None
            self._on_step()
        if passed:  # no venue gives what is missing again, and the book goes on without it
            self._give_up_updates()

    def _give_up_updates(self) -> None:
        if self._missing_updates:
            self._missing_updates = False
            self._update_ids.give_up_all()

    def disconnect(self, ts_recv: int, reason: str) -> None:
        """Give the book up: anything may have been missed."""
        if not self._takes_book:
            return
        self._sync.lose_step()
        self._tell_stale(ts_recv, reason)
        self._on_step()
        self._feed.resync(self.instrument)

    def publish_book(self) -> None:
        """Publish the whole book, or that it is out of step."""
        if self._sync.book is not None:
            self._publish(self._sync.book.snapshot())
        elif self._stale is not None:
            self._publish(self._stale)

    def publish_open_candles(self) -> None:
        """Publish the candles that are still open."""
        for candle in self.open_candles:
            self._publish(candle)

    def publish_gaps(self) -> None:
        """Publish the gaps that are open or lost, the newest `MOST_GAPS` of each stream."""
        for ids in (self._trade_ids, self._update_ids):
            for gap in ids.lacking[-MOST_GAPS:]:
                self._publish(gap)

    def conclude(self) -> None:
        """Tell what has become of the gaps that were there before the run, once no more ticks come."""
        self._trade_ids.conclude()
        self._update_ids.conclude()

    def _fresh_ids(self, stream: Stream, seam: Seam | None) -> Continuity:
        return Continuity(self.instrument, stream, self._report, self._tell, seam)

    def _begin_updates(self, first_id: int) -> None:
        """Let a hole between a snapshot and the very first update be found."""
        reached = self._sync.reached
        if reached is not None and first_id > reached + 1:
            self._update_ids.begin_at(reached, self._reached_ts)

    def _tell(self, gap: Gap) -> None:
        if gap.stream is Stream.ORDERBOOK and gap.state is GapState.OPEN:
            self._missing_updates = True
        self._publish(gap)
        self._put(gap)
        self._on_gap(gap)

    def _resync(self, why: str, ts_recv: int) -> None:
        self._report.resyncs += 1
        self._tell_stale(ts_recv, why)
        self._on_step()
        log.warning("the book is out of step and waits for a snapshot: %s", why)
        self._feed.resync(self.instrument)

    def _miss_updates(self, trade: TradeTick) -> None:
        """Give up a book that trades go on without. Each trade changes the book, so updates are missing."""
        if self._sync.book is None and not self._silent_since:
            return
        if trade.ts_event - self._silent_since > SILENT_BOOK_NS:
            self._silent_since = trade.ts_event
            self._sync.lose_step()
            self._resync(f"{self.instrument.name}: trades go on, and no update comes", trade.ts_recv)

    def _tell_stale(self, ts_recv: int, why: str) -> None:
        """Publish that the book does not hold any more, once until it does again."""
        if self._stale is None:
            ts_event = self._update_ids.ts_event or ts_recv
            self._stale = StaleBook(
                instrument=self.instrument, ts_event=ts_event, ts_recv=ts_recv, reason=why
            )
            self._publish(self._stale)

    def _take_snapshots(self, ts_recv: int) -> None:
        """Publish or store the whole book where its interval has passed, in the time of the feed."""
        assert self._sync.book is not None  # noqa: S101  an update was just applied to it
        snapshot = self._sync.book.snapshot()
        if ts_recv < self._due_from:  # the clock was set back
            self._publish_due = self._store_due = ts_recv
        if ts_recv >= self._publish_due:
            self._publish_due = ts_recv + self._publish_snapshot_ns
            self._publish(snapshot)
        if ts_recv >= self._store_due:
            self._store_due = ts_recv + self._store_snapshot_ns
            self._report.snapshots += 1
            self._put(snapshot)
        self._schedule(ts_recv)

    def _schedule(self, ts_recv: int) -> None:
        self._due = min(self._publish_due, self._store_due)
        self._due_from = ts_recv - SECOND_NS

    def _close_candles(self, ts_event: int) -> None:
        """Close candles that no trade has closed, though the venue's clock is well past their end."""
        self._candles_close = ts_event + SECOND_NS
        if not self.takes_trades:
            return  # a candle may have trades that were passed over
        for fold in self._folds:
            for candle in fold.advance(ts_event - CANDLE_GRACE_NS):
                self._publish(candle)
