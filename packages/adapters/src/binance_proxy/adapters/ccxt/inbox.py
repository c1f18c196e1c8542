"""What was received and not yet read."""

import asyncio
from collections import deque
from collections.abc import Sequence

from binance_proxy.domain.tick import MarketEvent


class Inbox:
    """A queue from several watchers to one reader.

    When it is full the watchers ask ccxt no more. ccxt itself reads on: it keeps so many trades of each pair
    as it was told, and of a book the newest state, so that updates in between become one. What a watcher had
    under way still fits in, so there may be one batch for each watcher above the limit.
    """

    def __init__(self, limit: int) -> None:
        """Hold ``limit`` batches."""
        self._limit = limit
        self._batches: deque[Sequence[MarketEvent]] = deque()
        self._filled, self._drained = asyncio.Event(), asyncio.Event()
        self._error: BaseException | None = None

    def __len__(self) -> int:
        return len(self._batches)

    def put(self, batch: Sequence[MarketEvent]) -> None:
        """Add events; never waits."""
        if batch:
            self._batches.append(batch)
            self._filled.set()

    def fail(self, error: BaseException) -> None:
        """Let the reader meet an error behind all that came before."""
        self._error = self._error or error
        self._filled.set()

    async def room(self) -> None:
        """Return once it is not full."""
        while len(self._batches) >= self._limit:
            self._drained.clear()
            await self._drained.wait()

    async def take(self) -> Sequence[MarketEvent]:
        """Return the oldest batch as soon as there is one; raise what `fail` was given once there is none."""
        while not self._batches:
            if self._error is not None:
                raise self._error
            self._filled.clear()
            await self._filled.wait()
        self._drained.set()
        return self._batches.popleft()
