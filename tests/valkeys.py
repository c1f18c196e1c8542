"""A real Valkey for tests, and what can be done to it."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import valkey

from binance_proxy.adapters.embedded.valkey import open_valkey
from binance_proxy.adapters.valkey.cache import ValkeyCache, open_valkey_cache

PATIENCE_S = 60.0


class Running:
    """A server that can be frozen and killed, and caches that use it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.raw = valkey.Valkey.from_url(url)
        self.pid = self.raw.info("server")["process_id"]

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    async def kill(self) -> None:
        """Kill the server, and return when the next one is there."""
        killed = self.pid
        os.kill(killed, signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE_S
        while self.pid == killed:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
            try:
                self.pid = self.raw.info("server")["process_id"]
            except valkey.ValkeyError:
                continue

    @asynccontextmanager
    async def cache(
        self, namespace: str = "test", *, patience_s: float = 10.0, lease_s: float = 30.0, fresh: bool = False
    ) -> AsyncIterator[ValkeyCache]:
        """Open a cache as a process of its own would, with the patience that a busy machine needs."""
        async with open_valkey_cache(
            self.url, namespace, patience_s=patience_s, lease_s=lease_s, fresh=fresh
        ) as cache:
            yield cache


@asynccontextmanager
async def running_valkey(folder: Path, limit_bytes: int = 64 * 1024**2) -> AsyncIterator[Running]:
    async with open_valkey(folder, limit_bytes=limit_bytes, owner="test") as server:
        running = Running(server.url)
        try:
            yield running
        finally:
            running.raw.close()
            running.thaw()


async def until(true: Callable[[], object]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(PATIENCE_S):
        while not true():  # noqa: ASYNC110 - what it waits for sets no event
            await asyncio.sleep(0.005)
