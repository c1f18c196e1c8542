"""Where events wait for a store."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from binance_proxy.application.ports.store import StoredEvent


class SpoolDepth(Struct, frozen=True, kw_only=True):
    """What waits in a `Spool`, and what it has done in this run. Counts are of events."""

    waiting: int = 0
    """In the spool now, those of earlier runs too."""
    size_bytes: int = 0
    """What they take up, with all that was ever set aside."""
    oldest: int | None = None
    """When the oldest of them was spooled, in ns since the epoch; `None` if none waits."""
    spooled: int = 0
    """Were put into the spool."""
    drained: int = 0
    """Were handed on to the store, those of earlier runs too."""
    drained_new: int = 0
    """Of these, how many the store did not have."""
    set_aside: int = 0
    """Could not be read any more, or the store would not take them; they are kept beside."""
    aside: int = 0
    """Are set aside in all, those of earlier runs too."""
    is_away: bool = False
    """Whether the store was away when it was last tried."""


class Spool(Protocol):
    """Where events wait, on disk, for a store that is away."""

    def depth(self) -> SpoolDepth:
        """Return what waits. Answers at once."""
        ...

    async def sift(self, events: Sequence[StoredEvent]) -> None:
        """Keep events of which a store has refused some; it will get the others.

        Raises:
            StoreFull: There is no room for them.
        """
        ...
