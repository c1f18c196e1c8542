"""Tracked pairs and instruments, in memory."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

from binance_proxy.application.ports import StoreRejected, TrackedPair
from binance_proxy.domain.instrument import Instrument, Market, Stream, is_symbol

DEFAULT_PAIRS = (TrackedPair(symbol="ETH/USDT"), TrackedPair(symbol="SOL/USDT"))


class MemoryRegistry:
    """A `PairRegistry` and `InstrumentRegistry` that lasts as long as the object."""

    def __init__(self, pairs: Sequence[TrackedPair] = DEFAULT_PAIRS) -> None:
        self._pairs = {(pair.symbol, pair.market): pair for pair in pairs}
        self._listeners: set[asyncio.Event] = set()
        self._instruments: dict[tuple[str, Market, str], Instrument] = {}

    async def pairs(self) -> Sequence[TrackedPair]:
        """Return the tracked pairs by symbol: at first ETH/USDT and SOL/USDT."""
        return [self._pairs[name] for name in sorted(self._pairs)]

    async def changes(self) -> AsyncGenerator[None]:
        """Yield at the beginning, and whenever the tracked pairs may have changed."""
        changed = asyncio.Event()
        self._listeners.add(changed)
        try:
            while True:
                changed.clear()
                yield
                await changed.wait()
        finally:
            self._listeners.remove(changed)

    async def put(self, pair: TrackedPair, *, instead_of: TrackedPair | None = None) -> bool:
        """Track a pair, or change what is wanted of it; false if something else is tracked than was said.

        Raises:
            StoreRejected: The symbol is none such as ETH/USDT.
        """
        if not is_symbol(pair.symbol):
            raise StoreRejected(f"{pair.symbol!r} is not a symbol such as ETH/USDT.")
        if instead_of is not None and self._pairs.get((instead_of.symbol, instead_of.market)) != instead_of:
            return False
        streams = tuple(stream for stream in Stream if stream in pair.streams)
        self._pairs[pair.symbol, pair.market] = TrackedPair(
            symbol=pair.symbol, market=pair.market, enabled=pair.enabled, streams=streams
        )
        self._tell()
        return True

    async def remove(self, symbol: str, market: Market) -> bool:
        """Track a pair no more; return whether it was tracked."""
        removed = self._pairs.pop((symbol, market), None)
        self._tell()
        return removed is not None

    def _tell(self) -> None:
        for changed in self._listeners:
            changed.set()

    async def instruments(self) -> Sequence[Instrument]:
        """Return every instrument that was ever registered, by name."""
        return sorted(self._instruments.values(), key=lambda instrument: instrument.name)

    async def register(self, instrument: Instrument) -> Instrument:
        """Make an instrument known, and return it as it is recorded."""
        return self._instruments.setdefault(
            (instrument.venue, instrument.market, instrument.symbol), instrument
        )
