"""The caches keep the promises of their port: in memory, in Valkey, and in a Valkey that is away."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from binance_proxy.adapters.memory.cache import MemoryCache
from binance_proxy.adapters.valkey.cache import ValkeyCache, open_valkey_cache
from contract.cache import AwayContract, CacheContract
from valkeys import running_valkey


class MovableClock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class MemoryWorld:
    def __init__(self) -> None:
        self.clock = MovableClock()
        self.cache = self.other = MemoryCache(10_000_000, self.clock)

    async def pass_time(self) -> None:
        self.clock.now_s += 0.001
        await asyncio.sleep(0)


@dataclass
class ValkeyWorld:
    cache: ValkeyCache
    other: ValkeyCache = field(repr=False)

    async def pass_time(self) -> None:
        await asyncio.sleep(0.002)


class TestMemoryCache(CacheContract):
    @pytest.fixture
    async def world(self) -> MemoryWorld:
        return MemoryWorld()


class TestValkeyCache(CacheContract):
    @pytest.fixture
    async def world(self, tmp_path: Path) -> AsyncIterator[ValkeyWorld]:
        async with running_valkey(tmp_path) as server, server.cache() as cache, server.cache() as other:
            yield ValkeyWorld(cache, other)


class TestNoValkey(AwayContract):
    """There is no server at the address."""

    @pytest.fixture
    async def world(self, tmp_path: Path) -> AsyncIterator[ValkeyWorld]:
        url = f"unix://{tmp_path}/nothing"
        async with open_valkey_cache(url, "test", patience_s=0.25, lease_s=2, fresh=True) as cache:
            yield ValkeyWorld(cache, cache)


class TestFrozenValkey(AwayContract):
    """There is one that accepts connections and says nothing."""

    @pytest.fixture
    async def world(self, tmp_path: Path) -> AsyncIterator[ValkeyWorld]:
        async with running_valkey(tmp_path) as server, server.cache(patience_s=0.25) as cache:
            await cache.put("k", b"before", 3_600)
            server.freeze()
            yield ValkeyWorld(cache, cache)
