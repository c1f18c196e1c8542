"""A clock that stands still until it is told to move."""

import asyncio


class ManualClock:
    """A clock for tests. It moves by `set` and `advance` only, or, with ``auto``, to whatever is slept for.

    With ``auto`` nobody ever waits: a sleeper moves the clock to its own goal and lets the other tasks run
    once. Without it a sleeper waits until somebody else has moved the clock far enough.
    """

    def __init__(self, now: int = 0, *, auto: bool = True) -> None:
        self.auto = auto
        self._now = now
        self._sleepers: list[tuple[int, asyncio.Future[None]]] = []

    @property
    def sleeping_until(self) -> int | None:
        """The earliest time that anybody sleeps for, or `None`."""
        return min((ts for ts, _ in self._sleepers), default=None)

    def now(self) -> int:
        """Return ns since the epoch, UTC."""
        return self._now

    def set(self, ts: int) -> None:
        """Move to a time, also an earlier one, and wake those who slept for it."""
        self._now = ts
        for goal, sleeper in self._sleepers:
            if goal <= ts and not sleeper.done():
                sleeper.set_result(None)

    def advance(self, duration_ns: int) -> None:
        """Move forward and wake those who slept for it."""
        self.set(self._now + duration_ns)

    async def sleep_until(self, ts: int) -> None:
        """Return once `now` has reached ``ts``; at once if it has already."""
        if self._now >= ts:
            return
        if self.auto:
            self.set(ts)
            await asyncio.sleep(0)
        while self._now < ts:  # it may have been set back before the sleeper ran
            entry = (ts, asyncio.get_running_loop().create_future())
            self._sleepers.append(entry)
            try:
                await entry[1]
            finally:
                self._sleepers.remove(entry)
