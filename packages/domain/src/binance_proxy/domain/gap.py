"""Known holes in a stream."""

from collections.abc import Sequence
from enum import StrEnum

from msgspec.structs import replace

from binance_proxy.domain.instrument import Stream
from binance_proxy.domain.tick import Event


class GapState(StrEnum):
    """What became of a hole."""

    OPEN = "open"
    """Known, and not yet filled."""
    REPAIRED = "repaired"
    """Every missing id is here now."""
    LOST = "lost"
    """Nobody can fill it any more."""


FORWARD = (GapState.OPEN, GapState.LOST, GapState.REPAIRED)
"""A gap's state moves to the right only: what is lost may still turn up, what is repaired stays so."""


class Gap(Event, frozen=True, gc=False, kw_only=True):
    """A hole in one stream of one instrument.

    ``ts_event`` and ``ts_recv`` are those of the tick that showed the hole.
    """

    stream: Stream
    first_id: int
    """The first id that is missing: a trade id, or an update id for the order book."""
    last_id: int
    """The last id that is missing."""
    start: int
    """``ts_event`` of the last tick before the hole, in ns."""
    end: int
    """``ts_event`` of the first tick behind the hole, in ns."""
    state: GapState = GapState.OPEN


def settle(gap: Gap, missing: Sequence[tuple[int, int]]) -> Sequence[Gap]:
    """Return what a gap has become once nobody can give more than what has come of it by now.

    Args:
        gap: As it was found.
        missing: The id ranges within it that are still missing, lowest first, both ends included.

    Returns:
        The gap with its ``first_id``, which tells it from others: it ends where the first range ends if it
        begins with it, and is lost then; else it ends before the first range, and is repaired. Behind it a
        lost gap for each other range.
    """
    lost = [
        replace(gap, first_id=first, last_id=last, state=GapState.LOST)
        for first, last in missing
        if first != gap.first_id
    ]
    if missing and missing[0][0] == gap.first_id:
        return [replace(gap, last_id=missing[0][1], state=GapState.LOST), *lost]
    last_id = missing[0][0] - 1 if missing else gap.last_id
    return [replace(gap, last_id=last_id, state=GapState.REPAIRED), *lost]
