"""Events on their way to a store that may be slower than the market."""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from binance_proxy.application.ports import StoredEvent
from binance_proxy.domain.tick import BookSnapshot, QuoteTick

_WITH_LEVELS = (QuoteTick, BookSnapshot)


def weight(event: StoredEvent) -> int:
    """Return what an event takes up: one, and one for each level in it."""
    if isinstance(event, _WITH_LEVELS):
        return 1 + len(event.bids) + len(event.asks)
    return 1


class StoreBuffer:
    """A bounded queue of batches.

    ``put`` never waits and never refuses. Once the queue is full, whoever fills it is expected to wait for
    `room` before it reads on; so a full queue slows its reader down and loses nothing.
    """

    def __init__(self, *, limit: int, batch: int) -> None:
        """Take the weight from which on the queue is full, and the weight of a batch."""
        self._limit = limit
        self._batch_limit = batch
        self._full_batches: deque[tuple[int, list[StoredEvent]]] = deque()
        self._batch: list[StoredEvent] = []
        self._batch_weight = 0
        self._events = 0
        self._weight = 0
        self._closed = False
        self._filled = asyncio.Event()
        self._ready = asyncio.Event()
        self._emptied = asyncio.Event()

    def __len__(self) -> int:
        """Return how many events wait."""
        return self._events

    @property
    def is_full(self) -> bool:
        """True if the reader should wait for `room`."""
        return self._weight >= self._limit

    def put(self, event: StoredEvent) -> None:
        """Add an event."""
        heavy = weight(event)
        self._batch.append(event)
        self._batch_weight += heavy
        self._weight += heavy
        self._events += 1
        if self._batch_weight >= self._batch_limit:
            self._full_batches.append((self._batch_weight, self._batch))
            self._batch, self._batch_weight = [], 0
            self._ready.set()
        if self._events == 1:
            self._filled.set()

    async def room(self) -> None:
        """Wait until the queue is not full."""
        while self.is_full:
            self._emptied.clear()
            await self._emptied.wait()

    async def take(self, age_s: float) -> Sequence[StoredEvent]:
        """Return the next batch, in order.

        Waits up to ``age_s`` for a batch to fill, from when there is a first event for it. An empty answer
        means that the queue was closed and everything has been taken.
        """
        while True:
            while not self._events and not self._closed:
                self._filled.clear()
                await self._filled.wait()
            if not self._full_batches and not self._closed:
                self._ready.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(age_s):
                        await self._ready.wait()
            batch = self._next()
            if batch or self._closed:  # else another taker was faster
                return batch

    def _next(self) -> list[StoredEvent]:
        if self._full_batches:
            taken, batch = self._full_batches.popleft()
        else:
            taken, batch = self._batch_weight, self._batch
            self._batch, self._batch_weight = [], 0
        self._weight -= taken
        self._events -= len(batch)
        self._emptied.set()
        return batch

    def close(self) -> None:
        """Let takers have the rest, and then nothing more."""
        self._closed = True
        self._filled.set()
        self._ready.set()
