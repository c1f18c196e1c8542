"""Which ids of a stream are there, day by day, of ticks in the order of their times."""

from bisect import bisect_right, insort
from collections.abc import Iterator

from msgspec import Struct

from binance_proxy.application.missing import matches_of
from binance_proxy.domain.candle import DAY_NS, SECOND_NS
from binance_proxy.domain.instrument import Instrument, Stream
from binance_proxy.domain.sequence import NUMBERED_BY_ONE, Arrival, IdSequence, covered_ids, is_another_run
from binance_proxy.domain.tick import Tick, TradeTick

ANEW_NS = SECOND_NS
"""A tick so much later than all before whose id is none of the next: the venue has begun to number anew."""


class IdDay(Struct, gc=False):
    """The ids of one stream on one day."""

    there: int = 0
    missing: int = 0
    holes: int = 0
    """How many ranges are missing that lie on this day, or reach into it."""
    estimated: bool = False
    """A range is missing over midnight: its ids are shared out by time, for nobody can tell."""

    @property
    def share(self) -> float | None:
        """How much is there, between 0 and 1; `None` if nothing was to be."""
        whole = self.there + self.missing
        return self.there / whole if whole else None


class _Hole(Struct, frozen=True, gc=False, order=True):
    first_id: int
    last_id: int
    start: int
    end: int


class Covered:
    """Feeds on the ticks of one stream in order of time, and counts the ids of each day.

    Memory grows with the days and the holes, not with the ticks. Of more than `MAX_HOLES` holes the counted
    ones are settled: what came for them later than all that would still count as missing.
    """

    MAX_HOLES = 5_000

    def __init__(self, instrument: Instrument, stream: Stream, start: int, end: int) -> None:
        """Count what lies in ``start <= ts_event < end``."""
        self.days: dict[int, IdDay] = {}
        """By days since 1970; complete after `finish`. Empty if the venue's ids tell nothing."""
        self.tells = stream is Stream.ORDERBOOK or instrument.venue in NUMBERED_BY_ONE
        """Whether a number that lacks says that something is missing."""
        self._venue = instrument.venue
        self._start, self._end = start, end
        self._ids = IdSequence()
        self._ts = 0
        self._holes: list[_Hole] = []

    @property
    def missing(self) -> int:
        """How many ids of the range are missing, of the holes that were settled."""
        return sum(day.missing for day in self.days.values())

    def take(self, tick: Tick) -> None:
        """Take the next tick. One outside of the range only shows what is missing at its ends."""
        if not self.tells:
            return
        first_id, last_id = matches_of(tick) if isinstance(tick, TradeTick) else covered_ids(tick)
        new = self._feed(first_id, last_id, tick.ts_event)
        if new and self._start <= tick.ts_event < self._end:
            self._day(tick.ts_event // DAY_NS).there += new
        self._ts = max(self._ts, tick.ts_event)

    def finish(self) -> dict[int, IdDay]:
        """Count what is missing, and return the days."""
        self._settle()
        return self.days

    def _feed(self, first_id: int, last_id: int, ts: int) -> int:
        """Take ids, and return how many of them are new."""
        ids = self._ids
        if ids.last_id is None or first_id == ids.last_id + 1:
            ids.feed(first_id, last_id)
            return last_id - first_id + 1
        if self._is_anew(ids.last_id, first_id, last_id, ts):
            self._settle()
            self._ids = IdSequence()
            self._ids.feed(first_id, last_id)
            return last_id - first_id + 1
        before = self._there() if first_id <= ids.last_id else None
        if ids.feed(first_id, last_id) is Arrival.SKIPPED and ids.opened is not None:
            insort(self._holes, _Hole(ids.opened.first_id, ids.opened.last_id, self._ts, max(ts, self._ts)))
            if len(self._holes) > self.MAX_HOLES:
                self._settle()
        return last_id - first_id + 1 if before is None else self._there() - before

    def _is_anew(self, known: int, first_id: int, last_id: int, ts: int) -> bool:
        """Return whether the venue has begun to number anew."""
        if is_another_run(self._venue, known, first_id):
            return True
        return first_id <= known and ts > self._ts + ANEW_NS and not self._fills(first_id, last_id)

    def _there(self) -> int:
        """How many ids have come in this numbering."""
        ids = self._ids
        if ids.first_id is None or ids.last_id is None:
            return 0
        return ids.last_id - ids.first_id + 1 - sum(last - first + 1 for first, last in ids.missing)

    def _fills(self, first_id: int, last_id: int) -> bool:
        missing = any(first <= last_id and first_id <= last for first, last in self._ids.missing)
        return missing or (self._ids.last_id is not None and last_id > self._ids.last_id)

    def _settle(self) -> None:
        """Count what is missing, and take it as known."""
        for first, last in self._ids.missing:
            at = bisect_right(self._holes, first, key=lambda hole: hole.first_id) - 1
            hole = self._holes[at]
            for day, ids, part in self._shared(last - first + 1, hole.start, hole.end):
                one = self._day(day)
                one.missing += ids
                one.holes += 1
                one.estimated |= part
        whole = IdSequence()
        if self._ids.first_id is not None and self._ids.last_id is not None:
            whole.feed(self._ids.first_id, self._ids.last_id)
        self._ids, self._holes = whole, []

    def _shared(self, ids: int, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
        """Share ids out over the days of the range that lie between two times."""
        first_day, last_day = start // DAY_NS, end // DAY_NS
        inside = self._start <= start and end < self._end
        if first_day == last_day and inside:
            yield first_day, ids, False
            return
        length = max(end - start, 1)
        for day in range(max(first_day, self._start // DAY_NS), min(last_day, (self._end - 1) // DAY_NS) + 1):
            since = max(day * DAY_NS, self._start, start)
            until = min((day + 1) * DAY_NS, self._end, end)
            if until > since or (since == until == end):
                yield day, ids * (until - start) // length - ids * (since - start) // length, True

    def _day(self, day: int) -> IdDay:
        return self.days.setdefault(day, IdDay())
