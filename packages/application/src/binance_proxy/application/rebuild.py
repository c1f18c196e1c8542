"""What is newest in a store, and the order book rebuilt from it."""

from contextlib import aclosing

from binance_proxy.application.ports import MarketStore, Stored
from binance_proxy.domain.instrument import Instrument
from binance_proxy.domain.order_book import OrderBook
from binance_proxy.domain.tick import BookSnapshot, QuoteTick

END_OF_TIME = 2**62
"""ns since the epoch; in the year 2116."""


async def newest(store: MarketStore, kind: type[Stored], instrument: Instrument) -> Stored | None:
    """Return the newest stored event of a kind; `None` if there is none. Raises `StoreUnavailable`."""
    async with aclosing(store.scan(kind, instrument, 0, END_OF_TIME, newest_first=True)) as found:
        return await anext(found, None)


async def latest_book(store: MarketStore, instrument: Instrument) -> OrderBook | None:
    """Return the book as it was at the newest stored update; `None` if no snapshot was ever stored.

    The newest snapshot is taken, and every update behind it is applied.

    Raises:
        BookStale: An update behind the newest snapshot is missing.
        StoreUnavailable: The store is away.
    """
    snapshot = await newest(store, BookSnapshot, instrument)
    if snapshot is None:
        return None
    # Ids, not times, tell what lies behind a snapshot: a venue gives its snapshots no time.
    behind: list[QuoteTick] = []
    async with aclosing(store.scan(QuoteTick, instrument, 0, END_OF_TIME, newest_first=True)) as quotes:
        async for quote in quotes:
            if quote.last_update_id <= snapshot.last_update_id:
                break
            behind.append(quote)
    book = OrderBook(snapshot)
    for quote in reversed(behind):
        book.apply(quote)
    return book
