"""Single flight: of many in one process who want the same at the same time, one works it out."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass


@dataclass
class CacheCounts:
    """What a `Cache` has done since it was opened."""

    hits: int = 0
    """Answered by what was kept."""
    misses: int = 0
    """Asked for, and nothing was kept."""
    made: int = 0
    """Made by `Cache.once`."""
    waited: int = 0
    """Answered by what another was making already, in this process or another."""
    away: int = 0
    """Calls that had to do without the server."""

    def as_dict(self) -> dict[str, object]:
        """Return the counts by name, as ``bridge.status`` tells them."""
        return asdict(self)


class Flight:
    """One search for a value, which others in the process wait for too."""

    def __init__(self) -> None:
        self.landed: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        """The value, or `None`: whoever waits has to try again."""
        self.kept = False
        """Whether the value was kept, so that nobody had to make it."""
        self.shared = True
        """Whether those who wait may have the value too."""


class Flights:
    """The searches of a cache that are going on in this process, one a key at most that may be joined."""

    def __init__(self, counts: CacheCounts) -> None:
        self._counts = counts
        self._flights: dict[str, Flight] = {}

    async def share(self, key: str, search: Callable[[Flight], Awaitable[bytes]]) -> bytes:
        """Wait for the search that goes on, or begin one.

        If it fails or is cancelled, that is for its own caller alone; one of those who waited begins anew.
        """
        waited = False
        while flight := self._flights.get(key):
            waited = True
            # A caller that goes away must not take the others' future with it.
            found = await asyncio.shield(flight.landed)
            if found is not None:
                if flight.kept:
                    self._counts.hits += 1
                else:
                    self._counts.waited += 1
                return found
        flight = self._flights[key] = Flight()
        found = None
        try:
            if waited:
                await asyncio.sleep(
                    0
                )  # let the others who waited join, even if the search never waits itself
            found = await search(flight)
            return found
        finally:
            if self._flights.get(key) is flight:
                del self._flights[key]
            flight.landed.set_result(found if flight.shared else None)

    def is_current(self, key: str, flight: Flight) -> bool:
        """Say whether nothing was written under the key since the search began."""
        return self._flights.get(key) is flight

    def part(self, key: str) -> None:
        """Let nobody else join the search that goes on: something was written that it may not have seen."""
        self._flights.pop(key, None)
