"""What was recorded and could not be kept: nobody had room for it."""

from collections.abc import Iterator, Mapping

from msgspec import Struct

from binance_proxy.application.ports import StoredEvent
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Instrument, Stream
from binance_proxy.domain.sequence import NUMBERED_BY_ONE, covered_ids
from binance_proxy.domain.tick import BookSnapshot, QuoteTick, TradeTick

MOST_RANGES = 1_000
"""Ranges of one stream that are told apart; of more, the last one covers all that follows."""


class DroppedRange(Struct, gc=False):
    """Ids of one stream that came and were not kept, both ends included."""

    first_id: int
    last_id: int
    start: int
    """``ts_event`` of the first tick of the range, in ns."""
    end: int
    """``ts_event`` of the last one."""
    ts_recv: int
    """When the last one was received."""


class Dropped:
    """Remembers which ids of which stream were dropped, as ranges."""

    def __init__(self) -> None:
        self.events = 0
        """How many events were dropped, whole books too."""
        self._ranges: dict[tuple[Instrument, Stream], list[DroppedRange]] = {}

    def __bool__(self) -> bool:
        """Return whether anything was dropped of which a gap could tell."""
        return bool(self._ranges)

    def take(self, event: StoredEvent) -> bool:
        """Drop an event, and return true; false for a gap that has to be kept, as it tells of something else.

        A gap that is called repaired is dropped if what has filled it was: in the store it is open still.
        """
        if isinstance(event, Gap):
            if not self.lacks(event):
                return False
        elif isinstance(event, TradeTick):
            self._add(event, Stream.TRADES, event.trade_id, event.trade_id)
        elif isinstance(event, QuoteTick):
            self._add(event, Stream.ORDERBOOK, *covered_ids(event))
        else:
            assert isinstance(event, BookSnapshot)  # noqa: S101  there is no other kind
        self.events += 1
        return True

    def clear(self) -> Iterator[tuple[Instrument, Stream, DroppedRange]]:
        """Yield each range, and forget it."""
        ranges, self._ranges = self._ranges, {}
        for (instrument, stream), found in ranges.items():
            for one in found:
                yield instrument, stream, one

    @property
    def ranges(self) -> Mapping[tuple[Instrument, Stream], list[DroppedRange]]:
        """What was dropped, by stream, in the order in which it came."""
        return self._ranges

    def lacks(self, gap: Gap) -> bool:
        """Say whether a gap is called repaired of which a part was dropped."""
        if gap.state is not GapState.REPAIRED:
            return False
        found = self._ranges.get((gap.instrument, gap.stream), [])
        return any(one.first_id <= gap.last_id and gap.first_id <= one.last_id for one in found)

    def _add(self, tick: TradeTick | QuoteTick, stream: Stream, first_id: int, last_id: int) -> None:
        found = self._ranges.setdefault((tick.instrument, stream), [])
        newest = found[-1] if found else None
        by_one = stream is Stream.ORDERBOOK or tick.instrument.venue in NUMBERED_BY_ONE
        follows = newest is not None and (first_id == newest.last_id + 1 or not by_one)
        if newest is not None and (follows or len(found) >= MOST_RANGES):
            newest.first_id = min(newest.first_id, first_id)
            newest.last_id = max(newest.last_id, last_id)
            newest.start = min(newest.start, tick.ts_event)
            newest.end = max(newest.end, tick.ts_event)
            newest.ts_recv = tick.ts_recv
            return
        found.append(DroppedRange(first_id, last_id, tick.ts_event, tick.ts_event, tick.ts_recv))
