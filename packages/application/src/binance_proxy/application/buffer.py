"""Events on their way to a store that may be slower than the market."""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from binance_proxy.application.ports import StoredEvent
from binance_proxy.domain.tick import BookSnapshot, QuoteTick


def weight(event: StoredEvent) -> int:
    """Return what an event takes up: one, and one for each level in it."""
    if isinstance(event, QuoteTick | BookSnapshot):
        return 1 + len(event.bids) + len(event.asks)
    return 1


class StoreBuffer:
    """A bounded queue that is emptied in batches.

    ``put`` never waits and never refuses. Once the queue is full, whoever fills it is expected to wait for
    `room` before it reads on; so a full queue slows its reader down and loses nothing.
    """

    def __init__(self, limit: int) -> None:
        """Take the weight, in events and levels, from which on the queue is full."""
        self._limit = limit
        self._events: deque[StoredEvent] = deque()
        self._closing = asyncio.Event()
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self.weight = 0
        """Of all that waits now."""

    def __len__(self) -> int:
        return len(self._events)

    @property
    def is_full(self) -> bool:
        """True if the reader should wait for `room`."""
        return self.weight >= self._limit

    def put(self, event: StoredEvent) -> None:
        """Add an event."""
        self._events.append(event)
        self.weight += weight(event)
        if not self._filled.is_set():
            self._filled.set()

    async def room(self) -> None:
        """Wait until the queue is not full."""
        while self.is_full:
            self._emptied.clear()
            await self._emptied.wait()

    async def take(self, limit: int, age_s: float) -> Sequence[StoredEvent]:
        """Return the next events in order, of a weight of about ``limit``.

        Waits up to ``age_s`` for a batch to fill after its first event. An empty answer means that the
        queue was closed and everything has been taken.
        """
        while True:
            while not self._events and not self._closing.is_set():
                self._filled.clear()
                await self._filled.wait()
            if self.weight < limit and not self._closing.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), age_s)
            batch = self._next(limit)
            if batch or self._closing.is_set():  # else another taker was faster
                return batch

    def _next(self, limit: int) -> list[StoredEvent]:
        batch: list[StoredEvent] = []
        taken = 0
        while self._events and taken < limit:
            event = self._events.popleft()
            taken += weight(event)
            batch.append(event)
        self.weight -= taken
        self._emptied.set()
        return batch

    def close(self) -> None:
        """Let takers have the rest, and then nothing more."""
        self._closing.set()
        self._filled.set()
