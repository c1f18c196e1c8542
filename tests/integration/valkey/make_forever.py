"""A process that begins to make a value and never ends: `make_forever.py URL LEASE_S`."""

import asyncio
import sys

from binance_proxy.adapters.valkey.cache import open_valkey_cache


async def make() -> bytes:
    print("making", flush=True)
    await asyncio.Event().wait()
    return b""


async def main(url: str, lease_s: float) -> None:
    async with open_valkey_cache(url, "test", patience_s=10, lease_s=lease_s, fresh=False) as cache:
        await cache.once("k", 3_600, make)


asyncio.run(main(sys.argv[1], float(sys.argv[2])))
