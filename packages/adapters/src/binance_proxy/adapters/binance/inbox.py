"""Where everything waits that came over the connections, until the reader of the feed takes it."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol


class Pausable(Protocol):
    """A source of messages that can be made to wait."""

    def pause(self) -> None:
        """Bring no more for now."""
        ...

    def resume(self) -> None:
        """Go on."""
        ...


class Inbox:
    """One queue, in order of arrival.

    Bounded: once ``limit`` entries wait, all sources are paused, and the venue has to wait; they are resumed
    when half of it has been read. Nothing is dropped here.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: deque[Any] = deque()
        self._sources: dict[Pausable, None] = {}
        self._waiter: asyncio.Future[None] | None = None
        self.is_paused = False
        """True while the sources have to wait."""
        self.brought = 0
        """How many entries were ever put in."""
        self.take: Callable[[], Any] = self._entries.popleft
        """Return the oldest entry; raise `IndexError` if there is none."""

    @property
    def taken(self) -> int:
        """How many entries were ever taken out."""
        return self.brought - len(self._entries)

    def put(self, entry: object) -> None:
        """Add an entry."""
        self.brought += 1
        self._entries.append(entry)
        if self._waiter is not None and not self._waiter.done():  # the reader may just be cancelled
            self._waiter.set_result(None)
        if len(self._entries) >= self._limit and not self.is_paused:
            self.is_paused = True
            for source in self._sources:
                source.pause()

    async def filled(self) -> None:
        """Return once there is an entry; lets paused sources go on if there is room."""
        self.make_room()
        if not self._entries:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def make_room(self) -> None:
        """Let paused sources go on if half of the inbox has been read."""
        if self.is_paused and 2 * len(self._entries) <= self._limit:
            self.is_paused = False
            for source in self._sources:
                source.resume()

    def attach(self, source: Pausable) -> None:
        """Let a source be paused with the others."""
        self._sources[source] = None
        if self.is_paused:
            source.pause()

    def detach(self, source: Pausable) -> None:
        """Forget a source."""
        self._sources.pop(source, None)
