"""Has anything been missed? Pure objects that are fed ids and asked.

Two questions that must not be mixed: `SpotSequence` and `UsdmSequence` say whether an update may be applied
to a book; `IdSequence` says which ids of a stream have never arrived.
"""

from bisect import bisect_left, bisect_right
from enum import Enum
from typing import Protocol

from msgspec import Struct

from binance_proxy.domain.errors import TickRejected
from binance_proxy.domain.instrument import Market
from binance_proxy.domain.tick import QuoteTick


class Step(Enum):
    """What an update is to a book."""

    APPLY = "apply"
    OLD = "old"
    """The book contains it already: ignore it."""
    GAP = "gap"
    """Something before it is missing: the book must not be used until the next snapshot."""


class BookSequence(Protocol):
    """The rule by which updates follow a snapshot and each other."""

    last_update_id: int
    """The book contains every change up to and including this id."""

    def feed(self, tick: QuoteTick) -> Step:
        """Say what the update is to the book, and advance if it is to be applied."""
        ...


class SpotSequence:
    """Binance spot: update ids run without holes, so each update starts right behind the one before.

    Source: Binance Spot, "How to manage a local order book correctly", steps 4 to 7. Step 7 is taken as
    ``U <= id + 1``: a strict "lastUpdateId in [U, u]" would refuse the valid case in which the snapshot ends
    exactly where an event does.
    """

    def __init__(self, last_update_id: int) -> None:
        self.last_update_id = last_update_id

    def feed(self, tick: QuoteTick) -> Step:
        """Say what the update is to the book, and advance if it is to be applied."""
        if tick.last_update_id <= self.last_update_id:
            return Step.OLD
        if tick.first_update_id > self.last_update_id + 1:
            return Step.GAP
        self.last_update_id = tick.last_update_id
        return Step.APPLY


class UsdmSequence:
    """Binance USD-M futures: ids have holes, and each update names the last id of the one before (``pu``).

    The first update behind a snapshot is the one whose predecessor the snapshot contains.

    Source: Binance USD-M Futures, "How to manage a local order book correctly", steps 4 to 6.
    """

    def __init__(self, last_update_id: int) -> None:
        self.last_update_id = last_update_id
        self._chained = False

    def feed(self, tick: QuoteTick) -> Step:
        """Say what the update is to the book, and advance if it is to be applied."""
        if tick.last_update_id <= self.last_update_id:
            return Step.OLD
        previous = tick.previous_update_id
        if previous is None:
            return Step.GAP
        follows = previous == self.last_update_id if self._chained else previous <= self.last_update_id
        if not follows:
            return Step.GAP
        self.last_update_id = tick.last_update_id
        self._chained = True
        return Step.APPLY


def book_sequence(market: Market, last_update_id: int) -> BookSequence:
    """Return the rule of a market, starting behind a snapshot."""
    return UsdmSequence(last_update_id) if market is Market.USDM else SpotSequence(last_update_id)


def covered_ids(tick: QuoteTick) -> tuple[int, int]:
    """Return the first and last id that an update accounts for.

    Where the venue says what came before (USD-M), the ids between two updates belong to no update at all, and
    the later one accounts for them; so the ranges of consecutive updates touch in either market.
    """
    if tick.previous_update_id is None:
        return tick.first_update_id, tick.last_update_id
    return tick.previous_update_id + 1, tick.last_update_id


class Hole(Struct, frozen=True, gc=False):
    """Ids that were skipped, both ends included."""

    first_id: int
    last_id: int


class Arrival(Enum):
    """How ids stand to everything that arrived before them."""

    NEXT = "next"
    """Right behind the last, or the first of all."""
    SKIPPED = "skipped"
    """Behind a new hole."""
    LATE = "late"
    """Out of a hole that was known, or before the first that arrived."""
    SEEN = "seen"
    """Nothing in it is new."""


class IdSequence:
    """Which ids of one stream have arrived, whatever their order.

    Feed it the id range of each tick. It keeps the holes, not the ids, so its memory grows with what went
    wrong only. Of more than `MAX_HOLES` missing ranges the oldest holes are forgotten: they never close.
    """

    MAX_HOLES = 10_000

    def __init__(self) -> None:
        self.first_id: int | None = None
        """The lowest id that has arrived."""
        self.last_id: int | None = None
        """The highest id that has arrived."""
        self.opened: Hole | None = None
        """The hole that the last `feed` found, if it answered `Arrival.SKIPPED`."""
        self.closed: list[Hole] = []
        """The holes that the last `feed` filled completely, if it answered `Arrival.LATE`."""
        self._missing: list[tuple[int, int, Hole]] = []  # (first, last) still missing, of which hole; sorted

    @property
    def missing(self) -> list[tuple[int, int]]:
        """The id ranges that have not arrived, lowest first."""
        return [(first, last) for first, last, _ in self._missing]

    def feed(self, first_id: int, last_id: int) -> Arrival:
        """Take the ids of one tick, both ends included, and say how they arrived.

        Raises:
            TickRejected: The range ends before it begins. Nothing has changed.
        """
        if first_id > last_id:
            raise TickRejected(f"ids {first_id} to {last_id} run backwards")
        if self.last_id is None or self.first_id is None:
            self.first_id, self.last_id = first_id, last_id
            return Arrival.NEXT
        if first_id == self.last_id + 1:
            self.last_id = last_id
            return Arrival.NEXT
        if first_id > self.last_id:
            self.opened = Hole(self.last_id + 1, first_id - 1)
            self._missing.append((self.opened.first_id, self.opened.last_id, self.opened))
            self._forget()
            self.last_id = last_id
            return Arrival.SKIPPED
        filled = self._fill(first_id, last_id)
        if first_id < self.first_id:
            self.last_id = max(self.last_id, last_id)
            return self._begin_earlier(first_id, last_id)
        if last_id > self.last_id:
            self.last_id = last_id
            return Arrival.LATE if filled else Arrival.NEXT
        return Arrival.LATE if filled else Arrival.SEEN

    def expect(self, first_id: int, last_id: int) -> Hole:
        """Learn of a hole from before the first id, or below all holes that are known; return it.

        Everything between the hole and what is known is taken as having arrived.
        """
        hole = Hole(first_id, last_id)
        at = bisect_left(self._missing, first_id, key=lambda piece: piece[0])
        self._missing.insert(at, (first_id, last_id, hole))
        self.first_id = first_id if self.first_id is None else min(self.first_id, first_id)
        self.last_id = last_id if self.last_id is None else max(self.last_id, last_id)
        self._forget()
        return hole

    def lose(self, first_id: int, last_id: int) -> list[Hole]:
        """Learn that ids which had arrived are missing again; return the new holes, lowest first.

        What lies within a hole that is still known goes back into that one.
        """
        around = sorted(
            {
                (hole.first_id, hole.last_id)
                for _, _, hole in self._missing
                if hole.first_id <= last_id and first_id <= hole.last_id
            }
        )
        opened = []
        next_id = first_id
        for first, last in (*around, (last_id + 1, last_id + 1)):
            if first > next_id:
                opened.append(Hole(next_id, first - 1))
                self._put_back(next_id, first - 1, opened[-1])
            if first <= last_id:
                self._put_back(max(first, first_id), min(last, last_id), Hole(first, last))
            next_id = last + 1
        self._forget()
        return opened

    def _put_back(self, first_id: int, last_id: int, hole: Hole) -> None:
        """Let ids of a hole be missing, as far as they are not yet."""
        next_id = first_id
        for first, last, _ in [*self._missing, (last_id + 1, last_id + 1, hole)]:
            if last < next_id:
                continue
            if first > next_id and next_id <= last_id:
                end = min(first - 1, last_id)
                at = bisect_left(self._missing, next_id, key=lambda piece: piece[0])
                self._missing.insert(at, (next_id, end, hole))
            next_id = max(next_id, last + 1)

    def missing_of(self, hole: Hole) -> list[tuple[int, int]]:
        """Return the id ranges of a hole that have not arrived, lowest first."""
        return [(first, last) for first, last, its_hole in self._missing if its_hole == hole]

    def split(self, hole: Hole) -> list[Hole]:
        """Make a hole of each range that is left of one, and return them; each then closes by itself."""
        parts = [Hole(first, last) for first, last in self.missing_of(hole)]
        self._missing = [
            (first, last, Hole(first, last) if its_hole == hole else its_hole)
            for first, last, its_hole in self._missing
        ]
        return parts

    def _begin_earlier(self, first_id: int, last_id: int) -> Arrival:
        """Take ids from before the first one: a stream that began with a message overtaken by another."""
        between = Hole(last_id + 1, self.first_id - 1) if self.first_id is not None else None
        self.first_id = first_id
        if between is None or between.first_id > between.last_id:
            return Arrival.LATE
        self.opened = between
        self._missing.insert(0, (between.first_id, between.last_id, between))
        self._forget()
        return Arrival.SKIPPED

    def _fill(self, first_id: int, last_id: int) -> bool:
        """Take the ids out of the holes; true if any of them was missing."""
        start = bisect_left(self._missing, first_id, key=lambda piece: piece[1])
        end = bisect_right(self._missing, last_id, key=lambda piece: piece[0])
        touched = self._missing[start:end]
        self.closed = []
        if not touched:
            return False
        rest = []
        if touched[0][0] < first_id:
            rest.append((touched[0][0], first_id - 1, touched[0][2]))
        if touched[-1][1] > last_id:
            rest.append((last_id + 1, touched[-1][1], touched[-1][2]))
        self._missing[start:end] = rest
        # The pieces of one hole stand side by side, so whatever is left of the touched ones is right here.
        left = {hole for _, _, hole in self._missing[max(0, start - 1) : start + len(rest) + 1]}
        self.closed = [hole for hole in dict.fromkeys(hole for _, _, hole in touched) if hole not in left]
        self._forget()
        return True

    def _forget(self) -> None:
        """Forget the oldest holes, each as a whole, as far as there are too many pieces."""
        while len(self._missing) > self.MAX_HOLES:
            oldest = self._missing[0][2]
            del self._missing[: bisect_right(self._missing, oldest.last_id, key=lambda piece: piece[0])]


class EveryId(IdSequence):
    """An `IdSequence` that forgets no hole: where each has to be told."""

    MAX_HOLES = 2**40


NUMBERED_BY_ONE = frozenset({"binance", "simulated"})
"""Venues whose trade ids rise by exactly one. Those of others rise somehow, or are no numbers at all."""


SIMULATED = "simulated"
ANOTHER_RUN = 1_000_000
"""A simulated venue numbers from the time of its start in µs, so each run of it begins so far ahead at least
of the one before: nothing happened between them."""


def is_another_run(venue: str, known: int, first_id: int) -> bool:
    """Say whether an id so far ahead of a known one is of another run, and no sign of a hole."""
    return venue == SIMULATED and first_id - known > ANOTHER_RUN


class KnownIds:
    """Which of the newest ids have arrived, where a missing number says nothing.

    It answers like `IdSequence`, but never finds a hole. Of more than `KEPT` ids the oldest are forgotten.
    """

    KEPT = 100_000

    def __init__(self) -> None:
        self.last_id: int | None = None
        """The id that arrived last."""
        self.opened: Hole | None = None
        self.closed: list[Hole] = []
        self._ids: dict[int, None] = {}

    def knows(self, first_id: int, last_id: int) -> bool:
        """Return true if a tick with these ids has arrived."""
        return first_id in self._ids and last_id in self._ids

    def feed(self, first_id: int, last_id: int) -> Arrival:
        """Take the ids of one tick and say whether they are new. Raises nothing."""
        if self.knows(first_id, last_id):
            return Arrival.SEEN
        self.last_id = last_id
        self._ids[first_id] = self._ids[last_id] = None
        while len(self._ids) > self.KEPT:
            del self._ids[next(iter(self._ids))]
        return Arrival.NEXT
