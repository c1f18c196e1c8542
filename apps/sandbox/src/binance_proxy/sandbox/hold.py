"""A feed that waits for its first client, and the time that it lives by."""

import asyncio
from collections.abc import Iterable

from binance_proxy.application.ports import Clock

SETTLED_S = 0.3
"""A client subscribes by several messages or connections: so long nothing more may come."""


class HeldClock:
    """A clock that stands still, and lets nobody wait, until it is released.

    A feed that paces itself by it can be read ahead of time, and is not late when it is released.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stood_still_at: int | None = clock.now()
        self._behind = 0
        self.due = 0
        """The time that was last waited for."""

    def now(self) -> int:
        """Return ns since the epoch, less the time that was held."""
        return self._clock.now() - self._behind if self._stood_still_at is None else self._stood_still_at

    async def sleep_until(self, ts: int) -> None:
        """Return once `now` has reached ``ts``; at once while the clock is held."""
        self.due = ts
        if self._stood_still_at is None:
            await self._clock.sleep_until(ts + self._behind)
        else:
            await asyncio.sleep(0)

    def release(self) -> None:
        """Let the time go on from where it stood."""
        if self._stood_still_at is not None:
            self._behind = self._clock.now() - self._stood_still_at
            self._stood_still_at = None


class Hold:
    """Waits until the first client has subscribed, and has asked for the books that it will follow.

    The books are those of the symbols whose ``@depth`` it subscribed to. A client that never asks for them
    has ``hold_s`` seconds from its first subscription.
    """

    def __init__(self, hold_s: float) -> None:
        self._hold_s = hold_s
        self._changed = asyncio.Event()
        self._followed: set[str] = set()
        self._asked: set[str] = set()
        self.has_begun = False
        """True once anything was subscribed to."""

    def subscribed(self, symbols: Iterable[str]) -> None:
        """Learn of a subscription, and of the symbols whose books it follows."""
        self.has_begun = True
        self._followed.update(symbols)
        self._changed.set()

    def asked(self, symbol: str) -> None:
        """Learn that the book of a symbol was answered."""
        self._asked.add(symbol)
        self._changed.set()

    async def released(self) -> None:
        """Return once the feed may be played."""
        while not self.has_begun:
            await self._next_change(None)
        loop = asyncio.get_running_loop()
        end = loop.time() + self._hold_s
        while (left := end - loop.time()) > 0:
            is_ready = self._followed <= self._asked
            if not await self._next_change(min(left, SETTLED_S) if is_ready else left) and is_ready:
                return

    async def _next_change(self, timeout_s: float | None) -> bool:
        """Return whether something changed in time."""
        self._changed.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True
