"""The time."""

from typing import Protocol


class Clock(Protocol):
    """The time, real or not."""

    def now(self) -> int:
        """Return ns since the epoch, UTC."""
        ...

    async def sleep_until(self, ts: int) -> None:
        """Return once `now` has reached ``ts``; at once if it has already."""
        ...
