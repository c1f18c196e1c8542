"""Which ids of one stream have come, and what is told about those that have not."""

import logging
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from binance_proxy.application.dropped import DroppedRange
from binance_proxy.application.missing import matches_of, outside
from binance_proxy.application.report import Report
from binance_proxy.application.seam import Seam
from binance_proxy.domain.candle import SECOND_NS
from binance_proxy.domain.gap import Gap, GapState, settle
from binance_proxy.domain.instrument import Instrument, Stream
from binance_proxy.domain.ledger import Recorded
from binance_proxy.domain.sequence import NUMBERED_BY_ONE, Arrival, Hole, IdSequence, KnownIds, covered_ids
from binance_proxy.domain.tick import Tick, TradeTick

log = logging.getLogger(__name__)

_SAID = {
    GapState.OPEN: (logging.WARNING, "are missing"),
    GapState.REPAIRED: (logging.INFO, "are here now"),
    GapState.LOST: (logging.WARNING, "are lost"),
}
ANEW_NS = SECOND_NS
"""A tick that happened so much later than all before, though its id is none of the next, comes neither twice
nor late: the venue has begun to number anew."""


class OpenGap(NamedTuple):
    """A gap of an earlier run that was not filled, as far as was told."""

    gap: Gap
    missing: Sequence[tuple[int, int]]
    """The id ranges in it of which nothing is stored, lowest first."""


class Continuity:
    """Feeds on the ids of one stream of one instrument, and tells of every gap as it opens and closes."""

    def __init__(
        self,
        instrument: Instrument,
        stream: Stream,
        report: Report,
        tell: Callable[[Gap], None],
        seam: Seam | None = None,
    ) -> None:
        """Begin with no ids. ``tell`` is given each gap, and again whenever something became of it.

        With a ``seam`` what is stored may lie anywhere beside what comes.
        """
        self.numbering = 0
        """How often the venue has begun to number anew."""
        self.late = 0
        """How many ticks came out of a hole."""
        self._instrument = instrument
        self._stream = stream
        self._report = report
        self._tell_of = tell
        self._ids = self._fresh_ids()
        self._gaps: dict[Hole, Gap] = {}
        self._filled: list[Gap] = []
        self._ts_event = 0  # of the newest tick
        self._seam = seam
        self._joined_at: int | None = None  # the first id of the run, once the seam was looked at
        self._newest: Tick | None = None  # kept for the seam only
        self._earlier: list[Gap] = list(seam.gaps) if seam else []

    @property
    def has_begun(self) -> bool:
        """True once there was any id."""
        return self._ids.last_id is not None

    @property
    def last_id(self) -> int | None:
        """The highest id so far; `None` before any."""
        return self._ids.last_id

    @property
    def open_gaps(self) -> int:
        """Gaps that are neither repaired nor lost."""
        return sum(gap.state is GapState.OPEN for gap in self._gaps.values())

    @property
    def lacking(self) -> Sequence[Gap]:
        """The gaps that are open or lost, as far as they are known, those of earlier runs first."""
        return [*self._earlier, *self._gaps.values()]

    @property
    def ts_event(self) -> int:
        """When the newest tick happened; 0 if there was none."""
        return self._ts_event

    def begin_at(self, last_id: int, ts_event: int) -> None:
        """Take an id as having come: what is missing behind it will be found."""
        self._ids.feed(last_id, last_id)
        self._ts_event = max(self._ts_event, ts_event)

    def resume(
        self, last_id: int, ts_event: int, gaps: Iterable[OpenGap] = (), recent: Sequence[Tick] = ()
    ) -> None:
        """Go on behind the newest id of an earlier run; all others before it have come or are known to lack.

        Args:
            last_id: Of the newest tick that is stored.
            ts_event: Of the same tick.
            gaps: What an earlier run has left open. They are told of again when they close.
            recent: The newest stored ticks. A hole in them is told of, for a run that was killed may have
                stored what lay behind a hole and not that it was there.
        """
        self._ids.feed(min(0, last_id), last_id)
        self._ts_event = max(self._ts_event, ts_event)
        if not isinstance(self._ids, IdSequence):
            return
        known = [one for one in gaps if one.gap.first_id <= last_id + 1]  # others are of another numbering
        self._earlier = [one.gap for one in known if one.gap.state is GapState.LOST]
        recent = sorted((one for one in recent if _ids_of(one)[1] <= last_id), key=_ids_of)
        stored_or_known = IdSequence()
        for tick in recent:
            stored_or_known.feed(*_ids_of(tick))
        for one in known if recent else ():
            stored_or_known.feed(one.gap.first_id, one.gap.last_id)
        for first, last in stored_or_known.missing if recent else ():
            behind = bisect_right(recent, last, key=lambda tick: _ids_of(tick)[0])
            if 0 < behind < len(recent):
                hole = self._ids.expect(first, last)
                self._open(hole, recent[behind], recent[behind - 1].ts_event)
        reached = -1
        for one in sorted(known, key=lambda one: one.gap.first_id):
            # Of two that overlap, as two bridges on one store tell them, the second waits for the next run.
            if one.gap.state is GapState.OPEN and one.gap.first_id > reached:
                self._adopt(self._ids, one)
                reached = one.gap.last_id
        self.tell_repaired()

    def _adopt(self, ids: IdSequence, one: OpenGap) -> None:
        """Take over a gap, and what of it has come since it was told."""
        gap = one.gap
        self._ts_event = max(self._ts_event, gap.end)
        self._gaps[ids.expect(gap.first_id, gap.last_id)] = gap
        for came in outside(one.missing, gap.first_id, gap.last_id):
            ids.feed(*came)
            self._fill(ids.closed)

    def take(self, first_id: int, last_id: int, tick: Tick, *, is_past: bool = False) -> bool:
        """Take the ids of a tick, tell of a hole they show, and return whether the tick is new.

        Of holes that they fill `tell_repaired` tells, once the tick itself is on its way to the store. With
        ``is_past`` the tick was asked for, and says nothing about how the venue numbers now.
        """
        if self._seam is not None:
            self.join(first_id, tick)
        if not is_past and self._is_anew(first_id, last_id, tick):
            self._begin_anew(first_id)
        arrival = self._ids.feed(first_id, last_id)
        if arrival is Arrival.SEEN:
            self._report.duplicates += 1
            return False
        if arrival is Arrival.LATE:
            self.late += 1
            self._fill(self._ids.closed)
        elif arrival is Arrival.SKIPPED and self._ids.opened is not None:
            self._open(self._ids.opened, tick, self._ts_event or tick.ts_event)
        self._ts_event = max(self._ts_event, tick.ts_event)
        return True

    def join(self, first_id: int, tick: Tick) -> bool:
        """Look at the seam before the first tick; tell of what is lost there, and return whether any is."""
        if self._seam is None:
            return False
        if self._newest is None or tick.ts_event >= self._newest.ts_event:
            self._newest = tick
        if self._joined_at is not None:
            return False
        self._joined_at = first_id
        gap = self._seam.before(self._stream, first_id, tick)
        if gap is None:
            return False
        self._report.gaps += 1
        self._report.lost += 1
        self._earlier.append(gap)
        self._log(gap)
        self._tell_of(gap)
        return True

    def conclude(self) -> None:
        """Tell what the run has made of the gaps that it found in the store, and of those that it leaves."""
        ids, first_id = self._ids, self._joined_at
        if self._seam is None or self._newest is None or first_id is None or not isinstance(ids, IdSequence):
            return
        assert ids.last_id is not None  # noqa: S101  there was a tick
        came = outside(ids.missing, first_id, ids.last_id) if first_id <= ids.last_id else []
        known = {(gap.first_id, gap.last_id): gap.state for gap in self._seam.gaps}
        for gap in self._seam.behind(self._stream, came, self._newest):
            if (gap.first_id, gap.last_id) not in known:
                self._report.gaps += 1
            if gap.state is GapState.LOST:
                self._report.lost += 1
            else:
                self._report.repaired += 1
            self._log(gap)
            self._tell_of(gap)

    def paused(self) -> Seam | None:
        """Return where the stream is to be joined when it goes on after a pause that nobody looks into."""
        ids = self._ids
        if isinstance(ids, KnownIds) or ids.first_id is None or ids.last_id is None:
            return self._seam
        earlier = self._seam.recorded if self._seam else None
        start, first_id = (
            (self._ts_event, ids.first_id) if earlier is None else (earlier.start, earlier.first_id)
        )
        end, last_id = self._ts_event, ids.last_id
        if earlier is not None and earlier.last_id > last_id:
            end, last_id = earlier.end, earlier.last_id
        return Seam(Recorded(min(first_id, ids.first_id), start, last_id, end), self.lacking)

    def tell_repaired(self) -> None:
        """Tell of the gaps that were filled. What filled them must have been handed to the store before."""
        filled, self._filled = self._filled, []
        for gap in filled:
            self._report.repaired += 1
            repaired = replace(gap, state=GapState.REPAIRED)
            self._log(repaired)
            self._tell_of(repaired)

    def reach(self, last_id: int, tick: Tick) -> None:
        """Learn that the venue has got as far as an id, by a tick that it gave when it was asked.

        What is missing up to there, the tick itself too, is a gap.
        """
        reached = self._ids.last_id
        if isinstance(self._ids, IdSequence) and reached is not None and last_id > reached:
            self._open(self._ids.expect(reached + 1, last_id), tick, self._ts_event or tick.ts_event)

    def came(self, first_id: int, last_id: int) -> None:
        """Learn that somebody else has brought a part of a gap."""
        self._ids.feed(first_id, last_id)
        self._fill(self._ids.closed)
        self.tell_repaired()

    def missing_of(self, gap: Gap) -> Sequence[tuple[int, int]]:
        """Return the id ranges of a gap that have not come yet, lowest first."""
        hole = Hole(gap.first_id, gap.last_id)
        return self._ids.missing_of(hole) if isinstance(self._ids, IdSequence) and hole in self._gaps else []

    def give_up(self, gap: Gap) -> None:
        """Call what is still missing of a gap lost. Should it come nevertheless, it is repaired."""
        hole = Hole(gap.first_id, gap.last_id)
        known = self._gaps.pop(hole, None)
        if known is None or not isinstance(self._ids, IdSequence):
            return
        # Without a part the hole was forgotten: had it been filled, the gap would not be known any more.
        parts = self._ids.split(hole) or [hole]
        became = settle(known, [(part.first_id, part.last_id) for part in parts])
        # What is lost is told first: the gap itself must not be called repaired before.
        for settled in sorted(became, key=lambda gap: gap.state is not GapState.LOST):
            if settled.state is GapState.LOST:
                self._gaps[Hole(settled.first_id, settled.last_id)] = settled
                self._report.lost += 1
            self._log(settled)
            self._tell_of(settled)

    def give_up_all(self) -> None:
        """Call everything lost that is missing and not called so yet."""
        for gap in [gap for gap in self._gaps.values() if gap.state is GapState.OPEN]:
            self.give_up(gap)

    def lose(self, dropped: DroppedRange) -> None:
        """Learn that ids which came could not be kept, and tell of the hole that they leave in the store.

        Of an order book nobody gives them again, so they are lost at once.
        """
        ids, last_id = self._ids, self._ids.last_id
        is_known = isinstance(ids, IdSequence) and last_id is not None and dropped.last_id <= last_id
        whole = Hole(dropped.first_id, dropped.last_id)
        for hole in (
            ids.lose(whole.first_id, whole.last_id) if isinstance(ids, IdSequence) and is_known else [whole]
        ):
            self._report.gaps += 1
            gap = Gap(
                instrument=self._instrument,
                ts_event=dropped.end,
                ts_recv=dropped.ts_recv,
                stream=self._stream,
                first_id=hole.first_id,
                last_id=hole.last_id,
                start=dropped.start,
                end=dropped.end,
                state=GapState.OPEN if is_known else GapState.LOST,
            )
            self._log(gap)
            self._tell_of(gap)
            if not is_known:
                self._report.lost += 1
                continue
            self._gaps[hole] = gap
            if self._stream is Stream.ORDERBOOK:
                self.give_up(gap)

    def _fresh_ids(self) -> IdSequence | KnownIds:
        by_one = self._stream is Stream.ORDERBOOK or self._instrument.venue in NUMBERED_BY_ONE
        return IdSequence() if by_one else KnownIds()

    def _is_anew(self, first_id: int, last_id: int, tick: Tick) -> bool:
        if tick.ts_event <= self._ts_event + ANEW_NS or self._ids.last_id is None:
            return False
        if isinstance(self._ids, KnownIds):
            return self._ids.knows(first_id, last_id)
        return last_id <= self._ids.last_id

    def _begin_anew(self, first_id: int) -> None:
        name = self._instrument.name
        log.warning("%s %s: the venue numbers anew, from %d on", name, self._stream, first_id)
        self.numbering += 1
        self.give_up_all()  # nobody can ask for the old numbers any more
        self._ids = self._fresh_ids()
        self._gaps.clear()
        self._seam = None

    def _open(self, hole: Hole, tick: Tick, before: int) -> None:
        """Tell of a hole that a tick shows, behind one that happened ``before``."""
        self._report.gaps += 1
        start, end = sorted((before, tick.ts_event))
        gap = Gap(
            instrument=self._instrument,
            ts_event=tick.ts_event,
            ts_recv=tick.ts_recv,
            stream=self._stream,
            first_id=hole.first_id,
            last_id=hole.last_id,
            start=start,
            end=end,
        )
        self._gaps[hole] = gap
        self._log(gap)
        self._tell_of(gap)
        if len(self._gaps) > 2 * IdSequence.MAX_HOLES:
            del self._gaps[next(iter(self._gaps))]

    def _log(self, gap: Gap) -> None:
        level, words = _SAID[gap.state]
        name = self._instrument.name
        log.log(level, "%s %s: ids %d to %d %s", name, self._stream, gap.first_id, gap.last_id, words)

    def _fill(self, holes: Iterable[Hole]) -> None:
        self._filled += [self._gaps.pop(hole) for hole in holes if hole in self._gaps]


def _ids_of(tick: Tick) -> tuple[int, int]:
    return matches_of(tick) if isinstance(tick, TradeTick) else covered_ids(tick)
