"""Which pairs are wanted, and in which units instruments are recorded."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from msgspec import Struct

from binance_proxy.domain.instrument import Instrument, Market, Stream


class TrackedPair(Struct, frozen=True, kw_only=True):
    """A pair that somebody wants recorded, and what of it."""

    symbol: str
    market: Market = Market.SPOT
    enabled: bool = True
    streams: tuple[Stream, ...] = (Stream.TRADES, Stream.ORDERBOOK)


class PairRegistry(Protocol):
    """Which pairs somebody wants recorded."""

    async def pairs(self) -> Sequence[TrackedPair]:
        """Return the tracked pairs by symbol: at first ETH/USDT and SOL/USDT.

        Raises:
            StoreUnavailable: The store is away.
        """
        ...

    def changes(self) -> AsyncGenerator[None]:
        """Yield whenever the tracked pairs may have changed, whoever changed them.

        Yields once at the beginning, and once after whatever kept it from noticing a change: whoever reads
        the pairs each time misses none. Many changes may be told as one. Never ends, and never raises; a
        registry that is away is waited for. Read it under `contextlib.aclosing`.
        """
        ...

    async def put(self, pair: TrackedPair, *, instead_of: TrackedPair | None = None) -> bool:
        """Track a pair, or change what is wanted of it: exactly these streams, enabled or not; return true.

        With ``instead_of`` it does so only if that is what is tracked now, and otherwise returns false: then
        somebody else was quicker, and the pairs have to be read again.

        Raises:
            StoreUnavailable: The store is away.
            StoreRejected: The symbol is none such as ETH/USDT.
        """
        ...

    async def remove(self, symbol: str, market: Market) -> bool:
        """Track a pair no more; return whether it was tracked. What was recorded of it stays.

        Raises:
            StoreUnavailable: The store is away.
        """
        ...


class InstrumentRegistry(Protocol):
    """In which units each instrument is recorded."""

    async def instruments(self) -> Sequence[Instrument]:
        """Return every instrument that was ever registered, by name."""
        ...

    async def register(self, instrument: Instrument) -> Instrument:
        """Make an instrument known, and return it as it is recorded.

        The first registration of a venue, market and symbol fixes precisions and time resolution; every
        later one gets those back.

        Raises:
            StoreUnavailable: The store is away.
        """
        ...
