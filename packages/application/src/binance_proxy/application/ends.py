"""The two ends of what is stored."""

from contextlib import aclosing

from binance_proxy.application.ports import MarketStore, Stored
from binance_proxy.domain.instrument import Instrument

END_OF_TIME = 2**62
"""ns since the epoch; in the year 2116."""


async def newest(
    store: MarketStore, kind: type[Stored], instrument: Instrument, before: int = END_OF_TIME
) -> Stored | None:
    """Return the newest stored event of a kind before a time; `None` if there is none.

    Raises:
        StoreUnavailable: The store is away.
    """
    async with aclosing(store.scan(kind, instrument, 0, before, newest_first=True)) as found:
        return await anext(found, None)


async def oldest(
    store: MarketStore, kind: type[Stored], instrument: Instrument, start: int = 0
) -> Stored | None:
    """Return the first stored event of a kind from a time on; `None` if there is none.

    Raises:
        StoreUnavailable: The store is away.
    """
    async with aclosing(store.scan(kind, instrument, start, END_OF_TIME)) as found:
        return await anext(found, None)
