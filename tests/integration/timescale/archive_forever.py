"""Be the one who archives a database, and say so, until killed."""

import asyncio
import sys

from binance_proxy.adapters.timescale.store import open_timescale


async def archive(url: str) -> None:
    async with open_timescale(url) as store, store.closed_days.alone():
        print("alone", flush=True)
        await asyncio.Event().wait()


asyncio.run(archive(sys.argv[1]))
