"""The time of this machine."""

import asyncio
import time

NAP_NS = 500_000_000
"""The longest sleep between two looks at the wall clock."""


class SystemClock:
    """The wall clock, which somebody may set while we sleep.

    `sleep_until` sleeps in naps and looks at the wall clock after each, since the loop's own timers follow a
    clock that is never set. Set forward past the goal, the sleeper wakes at the end of its nap: at most half
    a second late. Set back, it sleeps on until the wall clock has come to the goal a second time.
    """

    def now(self) -> int:
        """Return ns since the epoch, UTC. Runs backwards when the wall clock is set back."""
        return time.time_ns()

    async def sleep_until(self, ts: int) -> None:
        """Return once `now` has reached ``ts``; at once if it has already."""
        while (left := ts - time.time_ns()) > 0:  # noqa: ASYNC110  nobody sets an event when the clock is set
            await asyncio.sleep(min(left, NAP_NS) / 1e9)
