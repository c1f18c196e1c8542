"""A cache in the memory of one process."""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from binance_proxy.application.flights import CacheCounts, Flight, Flights

OVERHEAD_BYTES = 200
"""What an entry takes beside its key and its value, about."""


class MemoryCache:
    """A `Cache` for one process: what one keeps, the others do not see.

    It never holds more than ``limit_bytes``: what was not asked for the longest goes first, and a value that
    does not fit is not kept. With a limit of 0 it keeps nothing at all, and those who ask for the same at
    the same time still wait for one.
    """

    def __init__(self, limit_bytes: int, now_s: Callable[[], float] = time.monotonic) -> None:
        self.counts = CacheCounts()
        self._limit_bytes = limit_bytes
        self._now_s = now_s
        self._flights = Flights(self.counts)
        self._kept: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._held_bytes = 0

    async def get(self, key: str) -> bytes | None:
        """Return what is kept there; `None` if nothing is, or no more."""
        return self._look(key)

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        """Keep a value for so long at most, in place of what was there."""
        self._flights.part(key)
        self._keep(key, value, ttl_s)

    async def drop(self, key: str) -> None:
        """Keep nothing there any more."""
        self._flights.part(key)
        self._remove(key)

    async def once(self, key: str, ttl_s: float, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return what is kept there, or make it and keep it."""
        if (kept := self._look(key)) is not None:
            return kept

        async def search(flight: Flight) -> bytes:
            # It may have waited for another that failed, and meanwhile somebody kept it.
            if (kept := self._peek(key)) is not None:
                flight.kept = True
                return kept
            made = await make()
            self.counts.made += 1
            if self._flights.is_current(key, flight):
                self._keep(key, made, ttl_s)
            return made

        return await self._flights.share(key, search)

    def status(self) -> dict[str, object]:
        """Return how the cache is, as ``bridge.status`` tells it."""
        return {"use": "memory", "bytes": self._held_bytes, **self.counts.as_dict()}

    def _look(self, key: str) -> bytes | None:
        value = self._peek(key)
        if value is None:
            self.counts.misses += 1
        else:
            self.counts.hits += 1
        return value

    def _peek(self, key: str) -> bytes | None:
        if (kept := self._kept.get(key)) is None:
            return None
        value, until_s = kept
        if self._now_s() >= until_s:
            self._remove(key)
            return None
        self._kept.move_to_end(key)
        return value

    def _keep(self, key: str, value: bytes, ttl_s: float) -> None:
        self._remove(key)
        size = _size(key, value)
        if ttl_s <= 0 or size > self._limit_bytes:
            return
        while self._held_bytes + size > self._limit_bytes:
            self._remove(next(iter(self._kept)))
        self._kept[key] = value, self._now_s() + ttl_s
        self._held_bytes += size

    def _remove(self, key: str) -> None:
        if (kept := self._kept.pop(key, None)) is not None:
            self._held_bytes -= _size(key, kept[0])


def _size(key: str, value: bytes) -> int:
    return len(key) + len(value) + OVERHEAD_BYTES
