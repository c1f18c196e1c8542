"""The cache in Valkey: one for all processes, and no harm when it is away."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar

from valkey.commands.core import AsyncScript

from binance_proxy.adapters.valkey import scripts
from binance_proxy.adapters.valkey.link import Away, Link
from binance_proxy.application.flights import CacheCounts, Flight, Flights

VERSION = 1
"""Of what lies under a key. Bridges of another version do not read it."""
LONGEST_TTL_MS = 366 * 86_400_000
LARGEST_BYTES = 16 * 1024 * 1024
"""A larger value is not kept: it would hold up everybody else at the server."""
FIRST_LOOK_S = 0.002
LONGEST_LOOK_S = 0.01
"""Between two looks for what another process is making; pauses grow by a quarter from the first to this.

Being told by the server (pub/sub) is quicker, and needs a connection that stands, and is made anew and looked
behind after every outage. Whoever waits here waits for work of many times these pauses.
"""

Answer = TypeVar("Answer")


class Lease(NamedTuple):
    """The right to make what belongs under a key."""

    word: str
    """Nobody else has the same."""
    mark: bytes
    """What was valid when the lease was taken, and so before anything was worked out."""


class ValkeyCache:
    """A `Cache` for all processes that use the same server and namespace.

    Under a key lies a value behind the mark that was valid when it was kept, and beside it, while one makes
    a value, that one's lease. The mark is a random word of the namespace. A value behind another mark counts
    as none, so that removing the mark forgets everything at once, even what a slow server will still be told
    to keep. That is done after every outage (see `Link`).

    A maker keeps its value only while it has the lease, and whoever writes under the key ends that: what was
    being made before is not kept over what is newer.
    """

    def __init__(self, url: str, namespace: str, *, patience_s: float, lease_s: float) -> None:
        self.counts = CacheCounts()
        self._prefix = f"bridge:{VERSION}:{namespace}:"
        self._mark_key = f"{self._prefix}mark"
        self._mark = b""
        self._lease_s = lease_s
        self._link = Link(url, self._mark_key, patience_s)
        self._flights = Flights(self.counts)
        self._behind: set[asyncio.Task[object]] = set()
        client = self._link.client
        self._learn = client.register_script(scripts.LEARN)
        self._take = client.register_script(scripts.TAKE)
        self._keep = client.register_script(scripts.KEEP)
        self._renew = client.register_script(scripts.RENEW)
        self._release = client.register_script(scripts.RELEASE)

    async def get(self, key: str) -> bytes | None:
        """Return what is kept there; `None` if nothing is, or no more, or the server is away."""
        try:
            kept = await self._look(key)
        except Away:
            self.counts.away += 1
            return None
        if kept is None:
            self.counts.misses += 1
        else:
            self.counts.hits += 1
        return kept

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        """Keep a value for so long at most, in place of what was there."""
        if ttl_s <= 0 or len(value) > LARGEST_BYTES:
            await self.drop(key)
            return
        await self._write(key, self._put(key, value, ttl_s))

    async def drop(self, key: str) -> None:
        """Keep nothing there any more."""
        await self._write(key, self._drop(key))

    async def once(self, key: str, ttl_s: float, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return what is kept there, or make it and keep it."""
        return await self._flights.share(key, lambda flight: self._search(key, ttl_s, make, flight))

    async def forget(self) -> None:
        """Keep nothing any more, under no key. Done later if the server is away."""
        with contextlib.suppress(Away):
            await self._link.forget()

    async def close(self) -> None:
        """End what is under way, and close all connections."""
        if self._behind:
            await asyncio.wait(self._behind, timeout=self._lease_s)
        for task in self._behind:
            task.cancel()
        await self._link.close()

    def status(self) -> dict[str, object]:
        """Return how the cache is, as ``bridge.status`` tells it."""
        return {"use": "valkey", "reachable": self._link.reachable, **self.counts.as_dict()}

    async def _search(
        self, key: str, ttl_s: float, make: Callable[[], Awaitable[bytes]], flight: Flight
    ) -> bytes:
        try:
            kept = await self._look(key)
            if kept is not None:
                self.counts.hits += 1
                flight.kept = True
                return kept
            self.counts.misses += 1
            found = await self._wait_or_lease(key)
            if isinstance(found, bytes):
                self.counts.waited += 1
                return found
        except Away:
            self.counts.away += 1
            made = await make()
            self.counts.made += 1
            return made
        async with self._leased(key, found):
            made = await make()
            self.counts.made += 1
            with contextlib.suppress(Away):  # the others in this process may still have it
                flight.shared = await self._to_the_end(self._publish(key, made, ttl_s, found))
            return made

    async def _wait_or_lease(self, key: str) -> bytes | Lease:
        """Return what another makes, or the lease once it is ours to make."""
        pause_s = FIRST_LOOK_S
        word = secrets.token_hex(8)
        while True:
            lease = Lease(word, await self._known_mark())
            taking = self._start(
                self._run(self._take, key, lease.mark, lease.word, _milliseconds(self._lease_s))
            )
            try:
                taken = await asyncio.shield(taking)
            except asyncio.CancelledError:
                self._start(self._give_back(key, lease, taking))
                raise
            if isinstance(taken, bytes):
                return taken[len(lease.mark) :]
            if taken == 1:
                return lease
            if taken == 0:
                await asyncio.sleep(pause_s)
                pause_s = min(1.25 * pause_s, LONGEST_LOOK_S)
            else:
                self._mark = b""

    @asynccontextmanager
    async def _leased(self, key: str, lease: Lease) -> AsyncIterator[None]:
        """Renew a lease while it is needed. If the maker fails, end it, so that whoever waits goes on."""
        renewing = self._start(self._renew_on(key, lease))
        try:
            yield
        except BaseException:
            self._start(self._give_back(key, lease, renewing))
            raise
        finally:
            renewing.cancel()

    async def _renew_on(self, key: str, lease: Lease) -> None:
        renewed: object = 1
        while renewed:
            await asyncio.sleep(self._lease_s / 3)
            with contextlib.suppress(Away):
                renewed = await self._run(self._renew, key, lease.word, _milliseconds(self._lease_s))

    async def _give_back(self, key: str, lease: Lease, before: asyncio.Task[Answer]) -> None:
        await asyncio.wait({before})
        with contextlib.suppress(Away):
            await self._run(self._release, key, lease.word)

    async def _publish(self, key: str, made: bytes, ttl_s: float, lease: Lease) -> bool:
        """Keep what was made under a lease, and return whether nothing was written meanwhile."""
        if ttl_s <= 0 or len(made) > LARGEST_BYTES:
            return await self._run(self._release, key, lease.word) == 1
        # The mark of the lease, not of now: what was made before everything was forgotten is forgotten too.
        stored = lease.mark + made
        return await self._run(self._keep, key, lease.mark, stored, _milliseconds(ttl_s), lease.word) == 1

    async def _put(self, key: str, value: bytes, ttl_s: float) -> None:
        while True:
            mark = await self._known_mark()
            if await self._run(self._keep, key, mark, mark + value, _milliseconds(ttl_s), "") == 1:
                return
            self._mark = b""

    async def _drop(self, key: str) -> None:
        _, value, lease = self._keys(key)
        await self._link.run(lambda: self._link.client.delete(value, lease))

    async def _write(self, key: str, writing: Coroutine[Any, Any, None]) -> None:
        try:
            await self._to_the_end(writing)
        except Away:
            self.counts.away += 1
        finally:
            self._flights.part(key)

    async def _look(self, key: str) -> bytes | None:
        mark_key, value_key, _ = self._keys(key)
        mark, stored = await self._link.run(lambda: self._link.client.mget(mark_key, value_key))
        self._mark = mark or b""
        if stored is None or not mark or not stored.startswith(mark):
            return None
        return bytes(stored[len(mark) :])

    async def _known_mark(self) -> bytes:
        if not self._mark:
            fresh = secrets.token_bytes(16)
            self._mark = await self._link.run(lambda: self._learn([self._mark_key], [fresh]))
        return self._mark

    async def _run(self, script: AsyncScript, key: str, *arguments: bytes | str | int) -> bytes | int:
        """Return what the script returns: a number, or bytes.

        Raises:
            Away: The server is.
        """
        answer: bytes | int = await self._link.run(lambda: script(self._keys(key), arguments))
        return answer

    def _keys(self, key: str) -> list[str]:
        return [self._mark_key, f"{self._prefix}value:{key}", f"{self._prefix}lease:{key}"]

    async def _to_the_end(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Await something that goes on if the caller is cancelled: nobody knows what half a write did."""
        return await asyncio.shield(self._start(work))

    def _start(self, work: Coroutine[Any, Any, Answer]) -> asyncio.Task[Answer]:
        task = asyncio.create_task(work)
        self._behind.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Answer]) -> None:
        self._behind.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits for it has it; if nobody does any more, it is no news


def _milliseconds(seconds: float) -> int:
    return max(1, min(int(seconds * 1_000), LONGEST_TTL_MS))


@asynccontextmanager
async def open_valkey_cache(
    url: str, namespace: str, *, patience_s: float, lease_s: float, fresh: bool
) -> AsyncIterator[ValkeyCache]:
    """Use the Valkey at ``url``, reachable or not; ``fresh`` forgets what earlier runs kept there."""
    cache = ValkeyCache(url, namespace, patience_s=patience_s, lease_s=lease_s)
    try:
        if fresh:
            await cache.forget()
        yield cache
    finally:
        await cache.close()
