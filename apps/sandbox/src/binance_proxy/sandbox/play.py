"""The feed, played into the venue: read ahead while it is held, and no faster than the clients read."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from binance_proxy.application.ports import MarketFeed
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.tick import BookSnapshot, MarketEvent
from binance_proxy.sandbox.door import Door
from binance_proxy.sandbox.hold import HeldClock, Hold
from binance_proxy.sandbox.venue import Venue

READ_AHEAD = 20_000
"""Events that are looked through for the books that a held feed begins with."""
BREATH = 512
"""After so many events the clients get a turn, also if the feed never waits."""
PATIENCE_S = 5.0
"""A client that reads nothing for so long is not waited for."""


class Player:
    """Plays one feed once.

    A held feed waits for its first client, and later for clients that cannot keep up, because a recording
    has time. Another feed waits for nobody: it plays on, as a market does.
    """

    def __init__(self, feed: MarketFeed, instruments: Sequence[Instrument], venue: Venue, door: Door) -> None:
        self._feed = feed
        self._instruments = instruments
        self._venue = venue
        self._door = door
        self._played = 0
        self._ahead: deque[tuple[int, MarketEvent]] = deque()
        self.is_ready = asyncio.Event()
        """Set once the venue has the books that it begins with."""
        self.is_held = False
        """Whether the feed waits for the first client."""

    async def play(self, hold: Hold | None, clock: HeldClock | None) -> None:
        """Play all of the feed; first wait until the hold is released, if there is one.

        Raises:
            FeedRejected: The feed cannot be read any further.
        """
        async with aclosing(self._feed.stream(self._instruments)) as events:
            if hold is not None:
                await self._read_ahead(events, clock)
                self.is_held = True
                self.is_ready.set()
                await hold.released()
                self.is_held = False
            if clock is not None:
                clock.release()
            self.is_ready.set()
            while self._ahead:
                due, event = self._ahead.popleft()
                if clock is not None:
                    await clock.sleep_until(due)
                await self._take(event, hold)
            async for event in events:
                await self._take(event, hold)
        self._venue.end()

    async def _read_ahead(self, events: AsyncGenerator[MarketEvent], clock: HeldClock | None) -> None:
        """Give the venue the first snapshot of each instrument, and keep what was read for later."""
        missing = set(self._instruments)
        async for event in events:
            self._ahead.append((0 if clock is None else clock.due, event))
            if isinstance(event, BookSnapshot) and event.instrument in missing:
                missing.discard(event.instrument)
                self._venue.open_with(event)
            if not missing or len(self._ahead) >= READ_AHEAD:
                return

    async def _take(self, event: MarketEvent, hold: Hold | None) -> None:
        """Let an event happen, ask for a book if one is missing, and give the clients their turn."""
        self._venue.take(event)
        while self._venue.bookless:
            self._feed.resync(self._venue.bookless.pop())
        self._played += 1
        if self._played % BREATH == 0:
            await self._let_clients_read(hold)

    async def _let_clients_read(self, hold: Hold | None) -> None:
        await asyncio.sleep(0)
        while hold is not None and (behind := [one for one in self._door.sessions if one.is_behind]):
            await behind[0].catch_up(PATIENCE_S)
