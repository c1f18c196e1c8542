"""A process that appends batch after batch until it is killed; it prints the number of each that was kept."""

import asyncio
import sys

from binance_proxy.adapters.timescale.store import open_timescale
from binance_proxy.application.ports import StoredEvent
from contract.market_store import gap, quote, snapshot, trade

BATCHES = 400


def batch(number: int) -> list[StoredEvent]:
    """Return the events of one batch, the same in every process."""
    ids = range(number * 200, number * 200 + 200)
    return [*map(trade, ids), *map(quote, ids), snapshot(number), gap(number)]


async def append_all(url: str) -> None:
    """Append every batch, three at a time, in order."""
    waiting = iter(range(BATCHES))
    async with open_timescale(url) as store:

        async def work() -> None:
            for number in waiting:
                await store.append(batch(number))
                print(number, flush=True)

        await asyncio.gather(*(work() for _ in range(3)))


if __name__ == "__main__":
    asyncio.run(append_all(sys.argv[1]))
