"""Known holes in a stream."""

from enum import StrEnum

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
