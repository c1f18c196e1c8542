"""The gap ledger: what is recorded of a stream, range by range, and what of it is missing."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import pairwise

from msgspec import Struct
from msgspec.structs import replace

from binance_proxy.domain.candle import SECOND_NS
from binance_proxy.domain.gap import Gap, GapState
from binance_proxy.domain.instrument import Instrument, Stream
from binance_proxy.domain.sequence import (
    NUMBERED_BY_ONE,
    Arrival,
    EveryId,
    IdSequence,
    covered_ids,
    is_another_run,
)
from binance_proxy.domain.tick import Tick, TradeTick


class CoverageState(StrEnum):
    """What is known of a range of ids."""

    COMPLETE = "complete"
    """Every id is here."""
    REPAIRED = "repaired"
    """Every id is here; they were missing for a while."""
    LOST = "lost"
    """Missing, and nobody can fill it any more."""
    OPEN = "open"
    """Missing, and not yet filled."""
    UNKNOWN = "unknown"
    """Not numbered by one: whether anything is missing cannot be told by ids."""
    UNRECORDED = "unrecorded"
    """Nothing was recorded then, so no ids are known."""


MISSING = frozenset({CoverageState.OPEN, CoverageState.LOST})

_BY_WEIGHT = (GapState.REPAIRED, GapState.LOST, GapState.OPEN)
"""Of gaps that overlap the last of these wins: what one lacks is missing, whatever another says."""


class Coverage(Struct, frozen=True, gc=False, kw_only=True):
    """A range of ids of one stream of one instrument, and what is known of it."""

    stream: Stream
    first_id: int
    last_id: int
    """Both ends included: trade ids, or update ids for the order book."""
    start: int
    """``ts_event`` of the first tick of the range in ns; of what is or was missing, of the tick before it."""
    end: int
    """``ts_event`` of the last tick of the range in ns; of what is or was missing, of the tick behind it."""
    state: CoverageState

    @property
    def ids(self) -> int:
        """How many ids it has."""
        return self.last_id - self.first_id + 1


class Recorded(Struct, frozen=True, gc=False):
    """Where the stored ticks of a stream begin and end."""

    first_id: int
    start: int
    """``ts_event`` of the first one, in ns."""
    last_id: int
    end: int
    """``ts_event`` of the last one, in ns."""


def ids_of(tick: Tick) -> tuple[int, int]:
    """Return the first and last id that a stored tick accounts for.

    Of a trade that is its own id. An aggregated one that stands in for single ones accounts for all of them.
    """
    if not isinstance(tick, TradeTick):
        return covered_ids(tick)
    if tick.last_match_id is None or tick.first_match_id != tick.trade_id:
        return tick.trade_id, tick.trade_id
    return tick.trade_id, tick.last_match_id


def is_numbered(instrument: Instrument, stream: Stream) -> bool:
    """Say whether a hole in a stream shows in its ids."""
    return stream is Stream.ORDERBOOK or instrument.venue in NUMBERED_BY_ONE


def coverage(
    stream: Stream, recorded: Recorded | None, gaps: Iterable[Gap], *, numbered: bool = True
) -> Sequence[Coverage]:
    """Return the ledger of a stream: ranges in the order of ids, that touch and do not overlap.

    They reach from the lowest to the highest id that is recorded or known to be missing. Where gaps overlap,
    open wins over lost, and lost over repaired.

    Args:
        stream: Which one; gaps of others are passed over.
        recorded: Where its ticks begin and end; `None` without any. If the ids at the end are below those at
            the beginning, the venue has numbered anew, and nothing can be told by them.
        gaps: In any order.
        numbered: False if the ids do not rise by one: what is not known to be missing is `unknown` then.
    """
    if recorded is not None and recorded.last_id < recorded.first_id:
        numbered = False
        recorded = Recorded(recorded.last_id, recorded.start, recorded.first_id, recorded.end)
    known = sorted((gap for gap in gaps if gap.stream is stream), key=lambda gap: gap.first_id)
    here = CoverageState.COMPLETE if numbered else CoverageState.UNKNOWN
    found: list[Coverage] = []
    for first_id, last_id, around in _pieces(recorded, known):
        top = max(around, key=lambda gap: _BY_WEIGHT.index(gap.state), default=None)
        if top is not None:
            state, start, end = CoverageState(top.state.value), top.start, top.end
        elif recorded is not None:
            state, start, end = here, recorded.start, recorded.end
        else:
            continue  # between two gaps of a stream of which nothing is stored, nothing is known
        if found and found[-1].state is state and found[-1].last_id == first_id - 1:
            last = found.pop()
            begun_at, start, end = last.first_id, min(start, last.start), max(end, last.end)
        else:
            begun_at = first_id
        found.append(
            Coverage(stream=stream, first_id=begun_at, last_id=last_id, start=start, end=end, state=state)
        )
    return [_between(found, at, here) for at in range(len(found))]


def _pieces(recorded: Recorded | None, gaps: Sequence[Gap]) -> Iterable[tuple[int, int, list[Gap]]]:
    """Cut the ids at every end of a gap; yield each piece with the gaps that it lies in, lowest first."""
    lowest = [gap.first_id for gap in gaps] + ([recorded.first_id] if recorded else [])
    behind = [gap.last_id + 1 for gap in gaps] + ([recorded.last_id + 1] if recorded else [])
    cuts = sorted({*lowest, *behind})
    around: list[Gap] = []
    next_gap = 0
    for first_id, next_id in pairwise(cuts):
        around = [gap for gap in around if gap.last_id >= first_id]
        while next_gap < len(gaps) and gaps[next_gap].first_id <= first_id:
            around.append(gaps[next_gap])
            next_gap += 1
        yield first_id, next_id - 1, around


def _between(found: Sequence[Coverage], at: int, here: CoverageState) -> Coverage:
    """Return a range; one that is here reaches from the end of the gap before it to the next one."""
    one = found[at]
    if one.state is not here:
        return one
    start = found[at - 1].end if at else one.start
    end = found[at + 1].start if at + 1 < len(found) else one.end
    return Coverage(
        stream=one.stream,
        first_id=one.first_id,
        last_id=one.last_id,
        start=start,
        end=max(start, end),
        state=one.state,
    )


class Absent(Struct, frozen=True, gc=False):
    """Ids that are missing in an answer."""

    first_id: int
    last_id: int
    state: CoverageState
    """`open` also if no gap tells of them yet."""
    start: int
    """``ts_event`` of the tick before, in ns."""
    end: int
    """``ts_event`` of the tick behind, in ns."""

    @property
    def ids(self) -> int:
        """How many ids are missing."""
        return self.last_id - self.first_id + 1


class Unrecorded(Struct, frozen=True, gc=False):
    """A time of which nothing was recorded, between the ticks around it or the ends of a range, in ns."""

    start: int
    end: int


def absent(seen: Sequence[Absent], gaps: Iterable[Gap]) -> Sequence[Absent]:
    """Return everything that is missing in a range: by what was seen while reading it, and by known gaps.

    Args:
        seen: Holes between the ticks that were read.
        gaps: Known ones that touch the range. Those that are repaired say nothing, nor do those of which any
            was seen to be missing. Where others overlap, open wins over lost.
    """
    gaps = [gap for gap in gaps if gap.state is not GapState.REPAIRED]
    found = []
    for hole in seen:
        lost = [gap for gap in gaps if gap.state is GapState.LOST]
        is_lost = any(gap.first_id <= hole.first_id and hole.last_id <= gap.last_id for gap in lost)
        found.append(
            Absent(
                hole.first_id,
                hole.last_id,
                CoverageState.LOST if is_lost else hole.state,
                hole.start,
                hole.end,
            )
        )
    unseen = [
        gap
        for gap in gaps
        if not any(hole.first_id <= gap.last_id and gap.first_id <= hole.last_id for hole in found)
    ]
    for first_id, last_id, around in _pieces(None, sorted(unseen, key=lambda gap: gap.first_id)):
        if not around:
            continue
        top = max(around, key=lambda gap: _BY_WEIGHT.index(gap.state))
        state, last = CoverageState(top.state.value), found[-1] if found else None
        if last is not None and last.state is state and last.last_id == first_id - 1:
            found[-1] = Absent(last.first_id, last_id, state, last.start, max(last.end, top.end))
        else:
            found.append(Absent(first_id, last_id, state, top.start, top.end))
    return sorted(found, key=lambda hole: (hole.first_id, hole.last_id))


class Skipped:
    """Finds holes in ticks that are read in the order of their time, which need not be that of their ids."""

    def __init__(self) -> None:
        self._ids: IdSequence = EveryId()
        self._opened: list[Absent] = []
        self._of_old: list[Absent] = []
        self._ts_event = 0

    @property
    def reached(self) -> tuple[int, int] | None:
        """The highest id of the numbering that it is in, and the latest ``ts_event``; `None` before any."""
        return None if self._ids.last_id is None else (self._ids.last_id, self._ts_event)

    def begin_at(self, reached: tuple[int, int]) -> None:
        """Go on where another has `reached`, so that a hole behind it is found."""
        last_id, self._ts_event = reached
        self._ids.feed(last_id, last_id)

    @property
    def holes(self) -> Sequence[Absent]:
        """What was skipped so far and did not come after all, by id; of each numbering for itself."""
        found = list(self._of_old)
        for first_id, last_id in self._ids.missing:
            at = bisect_right(self._opened, first_id, key=lambda hole: hole.first_id) - 1
            found.append(replace(self._opened[at], first_id=first_id, last_id=last_id))
        return found

    def take(self, tick: Tick) -> None:
        """Take the next tick. Ids that fall back show no hole."""
        first_id, last_id = ids_of(tick)
        ids = self._ids
        if ids.first_id is not None and ids.last_id is not None:
            falls_back = last_id <= ids.last_id and not any(
                first <= last_id and first_id <= last for first, last in ids.missing
            )
            is_later = tick.ts_event > self._ts_event + SECOND_NS  # too much for times that run backwards
            if (falls_back and is_later) or is_another_run(tick.instrument.venue, ids.last_id, first_id):
                self._of_old = list(self.holes)
                self._ids, self._opened = EveryId(), []
            elif first_id < ids.first_id:
                return
        if self._ids.feed(first_id, last_id) is Arrival.SKIPPED and self._ids.opened is not None:
            hole = self._ids.opened
            start, end = sorted((self._ts_event, tick.ts_event))
            self._opened.append(Absent(hole.first_id, hole.last_id, CoverageState.OPEN, start, end))
        self._ts_event = max(self._ts_event, tick.ts_event)
