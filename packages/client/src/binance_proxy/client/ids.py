"""Which trade ids have come, and which are missing between them."""

from bisect import bisect_right
from itertools import pairwise

from msgspec import Struct

NUMBERED_BY_ONE = frozenset({"binance", "simulated"})
"""Venues whose trade ids rise by exactly one, so that a missing number is a missing trade."""
ANOTHER_RUN = 1_000_000
"""A simulated venue begins so far ahead at least each time that it is started: none is missing between."""


class Stretch(Struct):
    """Ids that have come, one behind the other."""

    first_id: int
    last_id: int
    start: int
    """``ts_event`` of the first of them; ns since the epoch, UTC."""
    end: int
    """``ts_event`` of the last of them."""


class SeenIds:
    """The ids that have come, as stretches. Of more than `MOST` stretches the oldest are forgotten."""

    MOST = 10_000

    def __init__(self) -> None:
        self._stretches: list[Stretch] = []

    @property
    def newest(self) -> Stretch | None:
        """The stretch with the highest ids; `None` before the first."""
        return self._stretches[-1] if self._stretches else None

    def __contains__(self, trade_id: int) -> bool:
        at = self._at(trade_id)
        return at >= 0 and trade_id <= self._stretches[at].last_id

    def add(self, trade_id: int, ts_event: int) -> bool:
        """Take an id; return false if it had come before."""
        stretches = self._stretches
        at = self._at(trade_id)
        before = stretches[at] if at >= 0 else None
        if before is not None and trade_id <= before.last_id:
            return False
        behind = stretches[at + 1] if at + 1 < len(stretches) else None
        follows = before is not None and before.last_id + 1 == trade_id
        precedes = behind is not None and behind.first_id - 1 == trade_id
        if before is not None and follows:
            before.last_id, before.end = trade_id, ts_event
            if behind is not None and precedes:
                before.last_id, before.end = behind.last_id, behind.end
                del stretches[at + 1]
        elif behind is not None and precedes:
            behind.first_id, behind.start = trade_id, ts_event
        else:
            stretches.insert(at + 1, Stretch(trade_id, trade_id, ts_event, ts_event))
            if len(stretches) > self.MOST:
                del stretches[0]
        return True

    def holes(self, venue: str, most: int) -> list[tuple[Stretch, Stretch]]:
        """Return the newest so many pairs of stretches between which ids are missing, oldest first."""
        if venue not in NUMBERED_BY_ONE:
            return []
        newest = self._stretches[-most - 1 :]
        return [
            (one, other) for one, other in pairwise(newest) if are_missing(venue, one.last_id, other.first_id)
        ]

    def missing(self, venue: str, first_id: int, last_id: int) -> list[tuple[int, int]]:
        """Return the ranges of ids within these, both ends included, that have not come."""
        if venue not in NUMBERED_BY_ONE:
            return []
        found = []
        at = max(0, self._at(first_id))
        next_id = first_id
        for stretch in self._stretches[at:]:
            if stretch.first_id > last_id:
                break
            if stretch.first_id > next_id and are_missing(venue, next_id - 1, stretch.first_id):
                found.append((next_id, stretch.first_id - 1))
            next_id = max(next_id, stretch.last_id + 1)
        if next_id <= last_id and are_missing(venue, next_id - 1, last_id + 1):
            found.append((next_id, last_id))
        return found

    def _at(self, trade_id: int) -> int:
        """Return the place of the last stretch that begins at or before an id; -1 if none does."""
        stretches = self._stretches
        if stretches and trade_id >= stretches[-1].first_id:
            return len(stretches) - 1
        return bisect_right(stretches, trade_id, key=lambda stretch: stretch.first_id) - 1


def are_missing(venue: str, known: int, next_id: int) -> bool:
    """Say whether an id ahead of a known one shows that trades are missing between them."""
    if next_id <= known + 1 or venue not in NUMBERED_BY_ONE:
        return False
    return not (venue == "simulated" and next_id - known > ANOTHER_RUN)
