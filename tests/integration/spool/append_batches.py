"""A process that appends 60 batches through a spool until it is killed.

Its store is away at first, and comes back behind batch 40. It prints ``kept N`` for each batch that was
accepted, and ``stored N`` for each that the store behind has got.
"""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from binance_proxy.adapters.memory.store import MemoryStore
from binance_proxy.adapters.spool.settings import SpoolSettings
from binance_proxy.adapters.spool.store import SpooledStore, open_spool
from binance_proxy.application.ports import StoredEvent, StoreFull, StoreUnavailable
from contract.market_store import gap, quote, trade

BATCHES = 60
BACK_FROM = 40
EACH = 30


def batch(number: int) -> list[StoredEvent]:
    """Return the events of one batch, the same in every process."""
    ids = range(number * EACH, (number + 1) * EACH)
    return [*map(trade, ids), quote(number), gap(number)]


def say(word: str, number: int) -> None:
    os.write(1, f"{word} {number}\n".encode())


class Behind(MemoryStore):
    """A store that is away until it is told to be back."""

    def __init__(self) -> None:
        super().__init__()
        self.is_back = False

    async def append(self, events: Sequence[StoredEvent]) -> int:
        if not self.is_back:
            raise StoreUnavailable("the database is away")
        new = await super().append(events)
        for number in sorted({event.trade_id // EACH for event in events if hasattr(event, "trade_id")}):
            say("stored", number)
        return new


async def append_all(folder: Path) -> None:
    behind = Behind()
    settings = SpoolSettings(longest_pause_s=0.005)
    async with open_spool(folder, settings, "a test") as file:
        store = SpooledStore(behind, file, settings)
        async with store.running():
            for number in range(BATCHES):
                behind.is_back = number >= BACK_FROM
                try:
                    await store.append(batch(number))
                except StoreFull:
                    say("full", number)
                else:
                    say("kept", number)
            behind.is_back = True
            await store.drained()
    say("end", BATCHES)


if __name__ == "__main__":
    asyncio.run(append_all(Path(sys.argv[1])))
