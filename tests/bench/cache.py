"""Answers out of the cache in Valkey: against a bare valkey-py GET of the same bytes from the same server."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from valkey.asyncio import Valkey

from bench.turns import best_of
from binance_proxy.adapters.valkey.cache import ValkeyCache
from valkeys import Running, running_valkey

CALLS = 2_000
LONG_S = 3_600.0
SIZES = {"a spread, 200 bytes": 200, "1,000 candles, 100 kB": 100_000}
WAITS = 100


async def bench(rounds: int) -> None:
    """Print the ratios."""
    with TemporaryDirectory(prefix="bench-") as name:
        async with running_valkey(Path(name)) as server, server.cache() as cache, server.cache() as other:
            bare = Valkey.from_url(server.url)
            print(f"cache: {CALLS:,} answers out of the embedded Valkey, one after another")
            for what, size in SIZES.items():
                await bare.set("bare", bytes(size))
                await cache.put("k", bytes(size), LONG_S)
                sides: dict[str, Callable[[], Awaitable[float]]] = {
                    "bare": partial(_bare, bare),
                    "once": partial(_once, cache),
                }
                best = await best_of(rounds, sides)
                speed, each_us = best["bare"] / best["once"], best["once"] / CALLS * 1e6
                print(f"    `once`, {what:<24} {speed:.2f} of the speed of GET, {each_us:.0f} µs")
            await bare.aclose()
            waited_ms = [await _wait(server, cache, other) * 1e3 for _ in range(WAITS)]
            waited_ms.sort()
            print(
                "    from made in one process to answered in another"
                f"   p50 {waited_ms[WAITS // 2]:.1f} ms, p99 {waited_ms[WAITS * 99 // 100]:.1f} ms"
            )


async def _bare(client: Valkey) -> float:
    for _ in range(CALLS):
        await client.get("bare")
    return 0


async def _make() -> bytes:
    raise AssertionError


async def _once(cache: ValkeyCache) -> float:
    for _ in range(CALLS):
        await cache.once("k", LONG_S, _make)
    return 0


async def _wait(server: Running, cache: ValkeyCache, other: ValkeyCache) -> float:
    """Return the seconds from the end of one's making to the answer of another who waits."""
    server.raw.flushall()
    began, made_at = asyncio.Event(), 0.0

    async def make() -> bytes:
        nonlocal made_at
        began.set()
        await asyncio.sleep(0.1)
        made_at = time.perf_counter()
        return bytes(1_000)

    making = asyncio.create_task(cache.once("wait", LONG_S, make))
    await began.wait()
    await other.once("wait", LONG_S, _make)
    took = time.perf_counter() - made_at
    await making
    return took
